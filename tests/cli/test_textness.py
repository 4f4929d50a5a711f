"""``mckit textness`` from a user's side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mobileclip_kit.runtime.encoder import Encoder
from mobileclip_kit.scenes.folder import SceneSet, write_scenes
from mobileclip_kit.spec import ImageSpec, ModelSpec, TextSpec
from mobileclip_kit.textness.vector import Textness
from tests.cli.test_index import run
from tests.indexing.fakes import draw

DIM = 5


class EdgeEncoder(Encoder):
    """Knows the mean colour of an image and how many sharp edges it has: enough to tell words from none."""

    runtime = "fake"

    def __init__(self, model_hash: str) -> None:
        image = ImageSpec(height=48, width=48)
        super().__init__(
            ModelSpec(name="edges", embedding_dim=DIM, image=image, text=TextSpec(), model_hash=model_hash)
        )
        self.model_path = model_hash

    def _run_images(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Mean colour, one, edges: ``(n, 5)``."""
        wide = pixels.astype(np.float64) / 255
        edges = np.abs(np.diff(wide, axis=2)).mean(axis=(1, 2, 3)) * 20
        ones = np.ones(len(wide))
        return self._unit(np.column_stack([wide.mean(axis=(1, 2)), ones, edges]))

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Some vector for each text: ``(n, 5)``."""
        return self._unit(np.array([[len(text) % 3, len(text) % 5, 1, 1, 0.2] for text in texts], np.float64))

    def _unit(self, rows: NDArray[np.float64]) -> NDArray[np.float32]:
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(autouse=True)
def edge_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def fake_open(place: str, **_: object) -> EdgeEncoder:
        return EdgeEncoder(place)

    # The importer first: patched second, it would be imported with the fake and keep it.
    monkeypatch.setattr("mobileclip_kit.search.models.open_encoder", fake_open)
    monkeypatch.setattr("mobileclip_kit.runtime.open.open_encoder", fake_open)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number in range(30):
        draw(tmp_path / "photos" / f"{number}.png", (number * 8, 128, 255 - number * 8), size=60)
    return tmp_path / "photos"


def test_fit_search_and_grid(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "broken.png").write_bytes(b"x")
    out, err = run(
        capsys, "textness", "fit", photos, "-m", "edges", "-o", tmp_path / "t.json", "--copies", "2", "--json"
    )
    document = json.loads(out)
    assert document["norm"] == 1
    assert document["accuracy"] > 0.9
    assert (document["images"], document["pairs"]) == (30, 60)
    assert [failure["item"] for failure in document["failed"]] == [str(photos / "broken.png")]
    assert "broken.png" in err
    run(capsys, "textness", "fit", photos, "-m", "edges", "-o", tmp_path / "t.json", code=1)
    again, _ = run(capsys, "textness", "fit", photos, "-m", "edges", "-o", tmp_path / "t.json", "--force")
    assert "held out" in again and "AUC" in again

    worded = Image.open(draw(photos / "word.png", (120, 128, 135), size=60))
    worded.paste((255, 255, 255), (5, 20, 9, 40))
    worded.paste((0, 0, 0), (20, 20, 24, 40))
    worded.save(photos / "word.png")
    run(capsys, "index", photos, "-m", "edges", "-o", tmp_path / "i")
    places = []
    for scale in ("-1", "0", "1"):
        out, _ = run(capsys, "search", tmp_path / "i", "a thing", "-k", "40", "--json",
                     "--textness", scale, "--textness-vector", tmp_path / "t.json")  # fmt: skip
        names = [hit["item"] for hit in json.loads(out)["results"][0]["hits"]]
        places.append(names.index("word.png"))
    assert places[0] == 30, "avoided"
    assert places[2] == 0, "preferred"

    vector = ("--textness-vector", tmp_path / "t.json")
    out, _ = run(
        capsys, "textness", "grid", tmp_path / "i", "a", "-k", "3", *vector, "-o", tmp_path / "g.png", "--json"
    )
    rows = json.loads(out)["rows"]
    widest = rows[4]["scale"]
    assert 0 < widest < 2, "few images of two kinds: scores differ little, words change them much"
    assert [row["scale"] for row in rows] == pytest.approx([-widest, -widest / 2, 0, widest / 2, widest])
    assert rows[4]["hits"][0]["item"] == "word.png"
    with Image.open(tmp_path / "g.png") as sheet:
        assert sheet.height > 5 * 150
    out, _ = run(capsys, "textness", "grid", tmp_path / "i", "a", "-k", "3", *vector, "-o", tmp_path / "r.png", "--raw",
                 "--json")  # fmt: skip
    assert [(row["scale"], row["raw"]) for row in json.loads(out)["rows"][4:7]] == [
        (widest, False), (-2, True), (-1, True)
    ]  # fmt: skip
    np.save(tmp_path / "q.npy", EdgeEncoder("edges").encode_texts(["a"]))
    given = ["-k", "3", *vector, "--query-vectors", tmp_path / "q.npy", "-o", tmp_path / "h.png", "--json"]
    out, _ = run(capsys, "textness", "grid", tmp_path / "i", "a title", *given)
    assert json.loads(out)["rows"] == rows
    out, _ = run(capsys, "textness", "grid", tmp_path / "i", "a", "-k", "100", *vector, "-o", tmp_path / "all.png")
    assert "all.png: 5 rows of 31 hits for 'a'." in out
    run(capsys, "textness", "grid", tmp_path / "i", "a", *vector, "-o", tmp_path / "g.gif", code=2)
    _, err = run(capsys, "search", tmp_path / "i", "a", "--textness", "1", code=2)
    assert "textness fit" in err


def test_a_missing_folder_is_noticed_before_anything_is_encoded(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mobileclip_kit.runtime.open.open_encoder", lambda *_, **__: pytest.fail("opened"))
    given = ["textness", "fit", photos, "-m", "edges", "--text-images", tmp_path / "gone", "-o", tmp_path / "t.json"]
    _, err = run(capsys, *given, code=1)
    assert "gone does not exist" in err


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (["--seed", "-5"], "'-5' is not a whole number from 0 on"),
        *((["--l2", value], "it must be above 0 and at most 1,000,000") for value in ("inf", "nan", "1e308", "0")),
    ],
)
def test_numbers_out_of_range_are_refused(option: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, err = run(capsys, "textness", "fit", "photos", "-m", "edges", "-o", "t.json", *option, code=2)
    assert said in err


def test_accuracy_at_chance_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    for name, rows in {"c": 40, "t": 40}.items():
        np.save(tmp_path / f"{name}.npy", rng.standard_normal((rows, 64)))
    given = ["--clean-vectors", tmp_path / "c.npy", "--text-vectors", tmp_path / "t.npy", "-o", tmp_path / "t.json"]
    out, err = run(capsys, "textness", "fit", *given, "--l2", "1000", "--json")
    document = json.loads(out)
    assert document["chance"] == 0.5
    told = [method for method, accuracy in document["accuracies"].items() if accuracy <= 0.5]
    assert err.count("warning: The") == len(told)
    assert set(document) >= {"balanced_accuracy", "auc"}


def test_a_model_without_texts_is_refused_before_the_scenes_are_encoded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    blind = EdgeEncoder("edges")
    blind.spec = replace(blind.spec, text=None)
    monkeypatch.setattr("mobileclip_kit.runtime.open.open_encoder", lambda *_, **__: blind)
    Textness(model="m", model_hash="edges", directions={"probe": np.eye(DIM, dtype=np.float32)[0]}).save(
        tmp_path / "t.json"
    )
    given = ["textness", "eval", tmp_path, "-m", "edges", "--textness-vector", tmp_path / "t.json"]
    _, err = run(capsys, *given, code=1)
    assert "both towers" in err
    assert "--query-vectors" not in err


def test_vectors_made_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clean = np.random.default_rng(0).standard_normal((40, DIM))
    np.save(tmp_path / "c.npy", clean)
    np.save(tmp_path / "t.npy", clean + [0, 0, 0, 0, 3])
    given = ["--clean-vectors", tmp_path / "c.npy", "--text-vectors", tmp_path / "t.npy"]
    out, _ = run(capsys, "textness", "fit", *given, "-o", tmp_path / "t.json", "--json")
    assert json.loads(out)["pair_accuracies"]["mean_difference"] == 1
    assert json.loads((tmp_path / "t.json").read_text())["model_hash"].startswith("vectors:")
    (tmp_path / "names.txt").write_text("\n".join(map(str, range(40))))
    index = ["--from-vectors", tmp_path / "c.npy", "--names", tmp_path / "names.txt", "-m", "edges"]
    run(capsys, "index", *index, "-o", tmp_path / "i")
    run(capsys, "textness", "fit", *given, "--for-index", tmp_path / "i", "-o", tmp_path / "u.json")
    assert json.loads((tmp_path / "u.json").read_text())["model_hash"] == "edges"
    run(capsys, "textness", "fit", *given[:2], "-o", tmp_path / "v.json", code=2)
    run(capsys, "textness", "fit", "-o", tmp_path / "v.json", code=2)


def test_eval_on_drawn_scenes(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "textness", "fit", photos, "-m", "edges", "-o", tmp_path / "t.json")
    (tmp_path / "scenes").mkdir()
    write_scenes(tmp_path / "scenes", SceneSet(items=160, seed=1, size=48, split="gallery"), workers=1)
    asked = ["textness", "eval", tmp_path / "scenes", "-m", "edges", "--textness-vector", tmp_path / "t.json"]
    out, _ = run(capsys, *asked, "--json")
    document = json.loads(out)
    scales = [row["scale"] for row in document["scales"]]
    assert scales == sorted(scales)
    assert {step / 4 for step in range(-12, 13)} | {-0.05, 0.95} <= set(scales)
    assert all(0 <= row["typographic_error_rate"] <= 1 for row in document["scales"])
    assert (
        set(document) >= {"accuracy", "norm", "projection", "best", "scales_on_images"} and document["photos"] is None
    )
    assert [row["scale"] for row in document["scales_on_images"]] == scales
    out, _ = run(capsys, *asked, "--plot", tmp_path / "scales.png", "--photos", photos)
    assert "projection" in out and "On the image vectors instead" in out
    assert "Your 30 photos, 1270 everyday texts:" in out
    assert "right-in-ten by +0.0 points" in out or "right-in-ten by -" in out
    assert f"--json prints all {len(scales)} scales" in out and "\n-2.25 " not in out and "\n-0.25 " in out
    with Image.open(tmp_path / "scales.png") as plot:
        assert plot.size == (780, 1040)
    run(capsys, *asked, "--plot", tmp_path / "scales.png", code=1)
    run(capsys, *asked, "--plot", tmp_path / "scales.gif", code=2)
    _, err = run(capsys, "textness", "eval", photos, "-m", "edges", "--textness-vector", tmp_path / "t.json", code=1)
    assert "not synthetic scenes" in err
    _, err = run(capsys, *asked[:3], "-m", "other", *asked[5:], code=1)
    assert "belongs to the model" in err


def test_drawn_pairs_bring_their_own_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pairs").mkdir()
    write_scenes(tmp_path / "pairs", SceneSet(items=60, seed=1, size=48, split="pairs"), workers=1)
    out, _ = run(capsys, "textness", "fit", tmp_path / "pairs", "-m", "edges", "-o", tmp_path / "t.json", "--json")
    document = json.loads(out)
    assert (document["images"], document["source"]) == (30, "pairs of synthetic scenes")
    (tmp_path / "pairs" / "scenes.json").write_text(json.dumps({"items": 60, "seed": 1, "size": 48, "split": "pairs"}))
    lines = (tmp_path / "pairs" / "truth.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "pairs" / "truth.jsonl").write_text("".join(lines[1:]))
    _, err = run(capsys, "textness", "fit", tmp_path / "pairs", "-m", "edges", "-o", tmp_path / "u.json", code=1)
    assert "not pairs" in err
