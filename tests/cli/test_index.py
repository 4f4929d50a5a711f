"""``mckit index`` and ``mckit search`` from a user's side."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mobileclip_kit.cli import main
from tests.index.vectors import unit_rows
from tests.indexing.fakes import COLOURS, DIM, ColourEncoder, draw


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name, colour in COLOURS.items():
        draw(tmp_path / "photos" / f"{name}.png", colour)
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no image")
    return tmp_path / "photos"


@pytest.fixture(autouse=True)
def colour_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def fake_open(place: str, **_: object) -> ColourEncoder:
        return ColourEncoder(model_hash=place, model_path=place)

    # The importer first: patched second, it would be imported with the fake and keep it.
    monkeypatch.setattr("mobileclip_kit.search.models.open_encoder", fake_open)
    monkeypatch.setattr("mobileclip_kit.runtime.open.open_encoder", fake_open)


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path, code: int = 0) -> tuple[str, str]:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert left.value.code == code, captured.err
    assert "Traceback" not in captured.err
    return captured.out, captured.err


def test_index_then_search(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = run(capsys, "index", photos, "--model", "colours", "-o", tmp_path / "i", "--json")
    document = json.loads(out)
    assert document["index"] == str(tmp_path / "i")
    assert (document["items"], document["added"], document["updated"], document["removed"]) == (3, 3, 0, 0)
    assert [failure["item"] for failure in document["failed"]] == ["broken.jpg"]
    assert document["images_per_s"] > 0

    out, err = run(capsys, "index", photos, "--model", "colours", "-o", tmp_path / "i")
    assert "3 images (nothing changed); 1 without a vector" in out
    assert "broken.jpg" in err

    out, _ = run(capsys, "search", tmp_path / "i", "red", "a green thing", "-k", "2", "--json")
    document = json.loads(out)
    assert [(result["query"], result["hits"][0]["item"]) for result in document["results"]] == [
        ("red", "red.png"),
        ("a green thing", "green.png"),
    ]
    assert [hit["rank"] for hit in document["results"][0]["hits"]] == [1, 2]
    assert document["latency_ms"] > 0

    out, _ = run(capsys, "search", tmp_path / "i", "x" * 10_000, "--image", photos / "blue.png")
    assert "blue.png" in out
    assert max(map(len, out.splitlines())) < 100
    out, _ = run(capsys, "search", tmp_path / "i", "--like", "red.png", "--json")
    assert "red.png" not in [hit["item"] for hit in json.loads(out)["results"][0]["hits"]]


def test_filters_take_any_day_and_any_way_to_write_a_folder(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw(photos / "trips" / "brick.png", (200, 30, 20))
    run(capsys, "index", photos, "--model", "colours", "-o", tmp_path / "i")

    def hits(*options: str | Path) -> list[str]:
        out, _ = run(capsys, "search", tmp_path / "i", "red", *options, "--json")
        return [hit["item"] for hit in json.loads(out)["results"][0]["hits"]]

    assert len(hits("--since", "1500-01-01", "--until", "9000-01-01")) == 4
    assert hits("--until", "1500-01-01") == []
    for folder in ("trips", "./trips/", photos / "trips", photos / "." / "x" / ".." / "trips"):
        assert hits("--folder", folder) == ["trips/brick.png"]
    assert len(hits("--folder", ".")) == len(hits("--folder", "")) == 4
    _, err = run(capsys, "search", tmp_path / "i", "red", "--folder", "trip", code=1)
    assert "'trip'" in err


def test_another_model_is_refused_until_forced(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "index", photos, "--model", "colours", "-o", tmp_path / "i")
    out, _ = run(capsys, "index", photos, "--model", "other", "-o", tmp_path / "i", "--json", code=1)
    assert json.loads(out)["error"]["kind"] == "ModelMismatchError"
    run(capsys, "search", tmp_path / "i", "red", "--model", "other", code=1)
    out, _ = run(capsys, "index", photos, "--model", "other", "-o", tmp_path / "i", "--force", "--json")
    assert json.loads(out)["added"] == 3


def test_vectors_made_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "v.npy", unit_rows(3, DIM))
    np.save(tmp_path / "q.npy", unit_rows(3, DIM)[1:])
    (tmp_path / "names.txt").write_text("a\nb\nc\n")
    given = ("--from-vectors", tmp_path / "v.npy", "--names", tmp_path / "names.txt")
    out, _ = run(capsys, "index", *given, "-o", tmp_path / "i", "--json")
    assert json.loads(out)["items"] == 3
    out, _ = run(capsys, "search", tmp_path / "i", "--query-vectors", tmp_path / "q.npy", "--json")
    assert [result["hits"][0]["item"] for result in json.loads(out)["results"]] == ["b", "c"]
    _, err = run(capsys, "search", tmp_path / "i", "red", code=1)
    assert "--query-vectors" in err
    run(capsys, "index", *given, "-o", tmp_path / "i", code=1)


def test_a_query_may_begin_with_a_minus_sign(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "index", photos, "--model", "colours", "-o", tmp_path / "i")
    arguments = ("-red", "--like", "green.png", "-k2", "blue", "-k", "1", "--template", "-{}", "--json", "--", "--blue")
    document = json.loads(run(capsys, "search", tmp_path / "i", *arguments)[0])
    assert [result["query"] for result in document["results"]] == ["-red", "blue", "--blue"]
    assert all(len(result["hits"]) == 1 for result in document["results"])
    said = run(capsys, "search", tmp_path / "i", "red", "--topp", "3", code=2)[1]
    assert re.search("No such option:? '?--topp", said)  # as the version of click says it
    assert "requires an argument" in run(capsys, "search", tmp_path / "i", "red", "-k", code=2)[1]
    _, err = run(capsys, "search", "a dog", code=2)
    assert "'a dog' is no index, and no mckit.toml names one: mckit search INDEX 'a dog'." in err
    assert "Nothing to look for" in run(capsys, "search", tmp_path / "i", code=2)[1]


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("index -o i", "--model"),
        ("index photos -o i", "--model"),
        ("index --from-vectors v.npy -o i", "--names"),
        ("index --from-vectors v.npy --names n -o i --shard 1/2", "--shard belongs to the indexing of a FOLDER"),
        ("index --from-vectors v.npy --names n -o i -m c --ray", "--ray belongs to the indexing of a FOLDER, not to"),
        ("index --from-clip-retrieval e -o i --prune", "--prune belongs to the indexing of a FOLDER, not to --from-c"),
        ("index --from-vectors v.npy --names n -o i --device cpu", "--device says where a model runs, and --from-vec"),
        ("index --from-clip-retrieval e --names n.txt -o i", "--names"),
        ("index --from-clip-retrieval e --from-vectors v.npy -o i", "--from-vectors and --from-clip-retrieval"),
        ("index photos -m c --kind tree -o i", "'tree'"),
        ("search i", "INDEX"),
        ("search i red --query-vectors q.npy", "--query-vectors"),
        ("search i red -k 0", "'-k'"),
        ("search i red --since 2025-01-01 --until 2020-01-01", "until 2020-01-01"),
        ("search i red --since 2025-01-01 --until 2025-01-01", "until 2025-01-01"),
        ("search i red --until 0001-01-01", "0001-01-01"),
        ("merge -o i", "mckit merge part1.index part2.index -o photos.index"),
    ],
)
def test_wrong_calls_leave_with_2_and_a_sentence_about_what_is_wrong(
    line: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, err = run(capsys, *line.split(), code=2)
    assert named in err.splitlines()[-1]


@pytest.mark.skipif(os.name == "nt" or os.uname().sysname == "Darwin", reason="names must be UTF-8 there")
def test_any_name_can_be_printed_and_read_back(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [os.fsdecode(b"bad\xff.png"), "line\nbreak.png"]
    for name in names:
        draw(photos / name, (220, 20, len(name)))
    run(capsys, "index", photos, "--model", "colours", "-o", tmp_path / "i")
    out, _ = run(capsys, "search", tmp_path / "i", "red", "--json")
    assert set(names) <= {hit["item"] for hit in json.loads(out)["results"][0]["hits"]}
    out, _ = run(capsys, "search", tmp_path / "i", "red")
    assert "line\\nbreak.png" in out
    for name in ("line\\nbreak.png", "bad\\udcff.png"):  # as the hits show them
        out, err = run(capsys, "search", tmp_path / "i", "--like", name)
        assert "red.png" in out
        assert name not in "".join(out.splitlines()[2:])  # the item itself is no hit
    _, err = run(capsys, "search", tmp_path / "i", "--like", "linebreak.png", code=1)
    assert "Did you mean 'line\\nbreak.png'" in err


def test_a_search_with_torch_names_the_export_that_opens_sooner(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "my student"
    model.mkdir()
    monkeypatch.chdir(tmp_path)
    run(capsys, "index", photos, "--model", model, "-o", "i")
    assert "ONNX" not in run(capsys, "search", "i", "red")[1]
    monkeypatch.setattr(ColourEncoder, "runtime", "torch")
    _, err = run(capsys, "search", "i", "red")
    assert "`mckit export 'my student' --format onnx -o 'my student-onnx-fp32'` once, and `--model" in err
    assert "ONNX" not in run(capsys, "search", "i", "--like", "red.png")[1]


def test_files_of_the_same_content_are_one_hit_unless_each_is_asked_for(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(6):
        (photos / f"red copy {number}.png").write_bytes((photos / "red.png").read_bytes())
    run(capsys, "index", photos, "--model", "colours", "-o", tmp_path / "i")
    ask = ("search", tmp_path / "i", "red", "-k", "2")
    lines = run(capsys, *ask)[0].splitlines()
    assert lines[2].endswith("red copy 0.png  (and 6 copies)") and "red" not in lines[3]
    hits = json.loads(run(capsys, *ask, "--json")[0])["results"][0]["hits"]
    assert [len(hit["copies"]) for hit in hits] == [6, 0]
    hits = json.loads(run(capsys, *ask, "--copies", "--json")[0])["results"][0]["hits"]
    assert [hit["item"] for hit in hits] == ["red copy 0.png", "red copy 1.png"]


def test_what_is_not_looked_at_and_vectors_that_are_alike_are_told(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / ".thumbnails").mkdir()
    (photos / "scan").write_bytes(b"\xff\xd8\xff\xe0" + bytes(20))
    (photos / "Makefile").write_bytes(b"all:")
    out, err = run(capsys, "index", photos, "--model", "colours", "-o", tmp_path / "i", "--json")
    assert "hidden, not looked into: .thumbnails\n" in err
    assert "images without a suffix such as .jpg, left out: scan\n" in err
    assert err.count("broken.jpg") == 1
    assert json.loads(out)["passed"] == [".thumbnails", "scan"]
    assert json.loads(out)["warnings"] == []
    for number in range(20):
        draw(photos / f"grey{number}.png", (99, 99, 100 + number))
    for name in COLOURS:
        (photos / f"{name}.png").unlink()
    _, err = run(capsys, "index", photos, "--model", "colours", "-o", tmp_path / "grey")
    assert "warning: The vectors of the images are nearly equal (mean cosine of two images 0.99" in err


def test_searching_vectors_imports_neither_torch_nor_a_runtime(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from mobileclip_kit.cli import main\n"
        "for arguments in (sys.argv[1].split('|'), sys.argv[2].split('|')):\n"
        "    try:\n        main(arguments)\n"
        "    except SystemExit as left:\n        assert left.code == 0\n"
        "print(sorted({'torch', 'onnxruntime', 'open_clip', 'timm', 'matplotlib', 'scipy'} & set(sys.modules)))"
    )
    np.save(tmp_path / "v.npy", unit_rows(3, DIM))
    (tmp_path / "names.txt").write_text("a\nb\nc\n")
    index = f"index|--from-vectors|{tmp_path}/v.npy|--names|{tmp_path}/names.txt|-o|{tmp_path}/i"
    ask = f"search|{tmp_path}/i|--query-vectors|{tmp_path}/v.npy"
    done = subprocess.run([sys.executable, "-c", code, index, ask], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_search_imports_no_more_than_it_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each of these takes 10 to 50 ms of a second: an image decoder, and what numpy and the hub load for few calls."""
    np.save(tmp_path / "v.npy", unit_rows(3, DIM))
    (tmp_path / "names.txt").write_text("a\nb\nc\n")
    given = ("--from-vectors", tmp_path / "v.npy", "--names", tmp_path / "names.txt")
    run(capsys, "index", *given, "-o", tmp_path / "i")
    code = (
        "import sys\nfrom mobileclip_kit.cli import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "except SystemExit as left:\n    assert left.code == 0\n"
        "print(sorted({'PIL.Image', 'numpy.ma', 'logging', 'socket', 'faiss'} & set(sys.modules)))"
    )
    ask = ["search", str(tmp_path / "i"), "--query-vectors", str(tmp_path / "v.npy")]
    done = subprocess.run([sys.executable, "-c", code, *ask], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_parts_are_made_merged_written_out_and_read_back(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pyarrow")
    for number in (1, 2):
        run(capsys, "index", photos, "-m", "c", "--shard", f"{number}/2", "-o", tmp_path / f"part{number}")
    out, err = run(capsys, "merge", tmp_path / "part1", tmp_path / "part2", "-o", tmp_path / "all", "--json")
    assert json.loads(out)["items"] == 3
    assert "broken.jpg" in err
    out, _ = run(capsys, "dump", tmp_path / "all", "-o", tmp_path / "out", "--json")
    assert json.loads(out) == {"out": str(tmp_path / "out"), "format": "clip-retrieval", "items": 3, "left_out": []}
    out, _ = run(capsys, "index", "--from-clip-retrieval", tmp_path / "out", "-o", tmp_path / "back")
    assert "3 images (3 added" in out
    assert out.endswith("Hits have no confidence: 3 images are too few to calibrate it; 100 are needed.\n")
    out, _ = run(capsys, "search", tmp_path / "back", "--like", "red.png", "--json")
    assert len(json.loads(out)["results"][0]["hits"]) == 2
    run(capsys, "merge", tmp_path / "part1", "-o", tmp_path / "all", code=1)
    run(capsys, "dump", tmp_path / "all", "-o", tmp_path / "out", code=1)


def test_a_kind_is_asked_for_measured_and_kept(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, _ = run(capsys, "index", photos, "-m", "c", "-o", tmp_path / "i", "--kind", "hnsw")
    assert "Search: hnsw. It was asked for. Recall@10 1.000 against the exact scan with 256 texts" in out
    out, _ = run(capsys, "index", photos, "-m", "c", "-o", tmp_path / "i", "--json")
    assert json.loads(out)["search"]["kind"] == "hnsw"
    out, _ = run(capsys, "search", tmp_path / "i", "red", "-k", "1", "--json")
    assert json.loads(out)["results"][0]["hits"][0]["item"] == "red.png"


def test_forgetting_most_of_a_library_has_to_be_confirmed(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(capsys, "index", photos, "-m", "c", "-o", tmp_path / "i")
    for name in ("red", "green"):
        (photos / f"{name}.png").unlink()
    _, err = run(capsys, "index", photos, "-m", "c", "-o", tmp_path / "i", code=1)
    assert "--prune" in err
    monkeypatch.setattr("sys.stdin", Answers("n\n"))
    run(capsys, "index", photos, "-m", "c", "-o", tmp_path / "i", code=1)
    monkeypatch.setattr("sys.stdin", Answers("y\n"))
    out, _ = run(capsys, "index", photos, "-m", "c", "-o", tmp_path / "i")
    assert "2 removed" in out


class Answers(io.StringIO):
    """A terminal at which somebody has typed ahead."""

    def isatty(self) -> bool:
        return True
