"""Atomic writing: either the old thing or the new one, never half of one."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mobileclip_kit import formats
from mobileclip_kit.errors import DataError, MckitError, OutputError
from mobileclip_kit.files import (
    atomic_file,
    atomic_folder,
    quiet_native_stderr,
    read_json,
    sha256_of_file,
    size_bytes,
    write_json,
)
from mobileclip_kit.images import load_image
from mobileclip_kit.index.npy import load_matrix, read_names
from mobileclip_kit.inspection import inspect_path
from mobileclip_kit.textness.vector import Textness


def test_folder_appears_only_when_complete(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with atomic_folder(out) as staging:
        (staging / "model.json").write_text("{}")
        assert not out.exists()
    assert [child.name for child in out.iterdir()] == ["model.json"]
    assert [child.name for child in out.parent.iterdir()] == ["out"]


def test_silence_of_overlapping_threads_ends_with_the_last_one() -> None:
    before, first, second = os.fstat(2), quiet_native_stderr(), quiet_native_stderr()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert os.path.samestat(os.fstat(2), os.stat(os.devnull))
    second.__exit__(None, None, None)
    assert os.path.samestat(os.fstat(2), before)


def test_failure_leaves_the_old_folder_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with atomic_folder(out) as staging:
        (staging / "model.json").write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_folder(out, force=True) as staging:
        (staging / "model.json").write_text("new")
        raise KeyboardInterrupt
    assert (out / "model.json").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_existing_folder_is_refused_without_force_and_replaced_with_it(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for text in ("one", "two"):
        with atomic_folder(out, force=True) as staging:
            (staging / "model.json").write_text(text)
    with pytest.raises(OutputError, match="exists already.*force=True"), atomic_folder(out):
        pass
    assert (out / "model.json").read_text() == "two"


def test_force_never_replaces_somebody_elses_folder(tmp_path: Path) -> None:
    """``-o ~/Photos --force`` must not cost anybody their images."""
    (tmp_path / "holiday.jpg").write_bytes(b"image")
    with pytest.raises(OutputError, match="did not make"), atomic_folder(tmp_path, force=True):
        pass
    assert (tmp_path / "holiday.jpg").read_bytes() == b"image"


def test_force_replaces_only_the_kind_that_is_made(tmp_path: Path) -> None:
    """``mckit export student -o student --force`` must not cost anybody their model, a project folder its photos."""
    student, project, file = tmp_path / "student", tmp_path / "project", tmp_path / "letter.txt"
    for path in (student / "model.json", project / "textness.json", project / "holiday.jpg", file):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    for folder, message in ((student, "is a model folder"), (project, "did not make"), (file, "is a file")):
        with pytest.raises(OutputError, match=message), atomic_folder(folder, force=True, kinds=("export.json",)):
            pass
    for folder in (student, project):
        with pytest.raises(OutputError, match="is a (model )?folder"), atomic_file(folder, force=True):
            pass
    assert (student / "model.json").exists() and (project / "holiday.jpg").exists() and file.is_file()


def test_file_is_kept_when_its_writer_fails(tmp_path: Path) -> None:
    out = tmp_path / "a.json"
    write_json(out, {"a": 1})
    with pytest.raises(ValueError), atomic_file(out) as staging:
        staging.write_text("half")
        raise ValueError
    assert read_json(out) == {"a": 1}
    assert [child.name for child in tmp_path.iterdir()] == ["a.json"]


def test_what_a_killed_writer_left_goes_with_the_next_one(tmp_path: Path) -> None:
    """SIGKILL leaves no time to clean up; the lock ends with the process."""
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from mobileclip_kit.files import atomic_folder\n"
        "with atomic_folder(Path(sys.argv[1])) as staging:\n"
        "    (staging / 'model.json').write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    out = tmp_path / "out"
    done = subprocess.run([sys.executable, "-c", script, str(out)])
    assert done.returncode == -9
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".out.") and left.suffix == ".part"
    with atomic_folder(out):
        assert not left.exists()
    assert [child.name for child in tmp_path.iterdir()] == ["out"]


REPLACE_AND_DIE = """
import os, signal, sys
from pathlib import Path
from mobileclip_kit import files

def die_after(rename):
    def call(*names):
        rename(*names)
        os.kill(os.getpid(), signal.SIGKILL)
    return call

if "twice" in sys.argv:
    from mobileclip_kit import renames
    renames._exchange_call = lambda: None
with files.atomic_folder(Path(sys.argv[1]), force=True) as staging:
    (staging / "model.json").write_text("new")
    os.replace, os.rename = die_after(os.replace), die_after(os.rename)
"""


def replace_and_die(out: Path, *how: str) -> int:
    """Replace a folder in a process that is killed after its first rename, if it needs one."""
    with atomic_folder(out) as staging:
        (staging / "model.json").write_text("old")
    return subprocess.run([sys.executable, "-c", REPLACE_AND_DIE, str(out), *how]).returncode


@pytest.mark.skipif(not sys.platform.startswith(("linux", "darwin")), reason="no exchange of two names")
def test_a_kill_while_a_folder_is_replaced_leaves_one_of_the_two(tmp_path: Path) -> None:
    replace_and_die(tmp_path / "out")
    assert (tmp_path / "out" / "model.json").read_text() in ("old", "new")


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_a_kill_between_two_renames_is_undone_by_the_next_run(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert replace_and_die(out, "twice") == -9
    assert not out.exists()
    with pytest.raises(OutputError, match="exists already"), atomic_folder(out):
        pass
    assert (out / "model.json").read_text() == "old"
    assert not list(tmp_path.glob(".out.*.old"))


def test_an_old_folder_goes_where_the_new_one_is_in_its_place(tmp_path: Path) -> None:
    """Killed after both renames."""
    left, other = tmp_path / ".out.x1.old", tmp_path / ".out.mine.old"
    for folder, name in ((left, "model.json"), (other, "letter.txt"), (tmp_path / "out", "model.json")):
        folder.mkdir()
        (folder / name).touch()
    with atomic_folder(tmp_path / "out", force=True) as staging:
        (staging / "model.json").write_text("new")
    assert not left.exists()
    assert (other / "letter.txt").exists()


def test_without_an_exchange_of_names_a_folder_is_replaced_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mobileclip_kit.renames._exchange_call", lambda: None)
    for text in ("one", "two"):
        with atomic_folder(tmp_path / "out", force=True) as staging:
            (staging / "model.json").write_text(text)
    assert (tmp_path / "out" / "model.json").read_text() == "two"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(not sys.platform.startswith(("linux", "darwin")), reason="no exchange of two names")
def test_a_reader_never_misses_a_folder_that_is_replaced(tmp_path: Path) -> None:
    out, missed, stop = tmp_path / "out", [0, 0], threading.Event()
    with atomic_folder(out) as staging:
        (staging / "model.json").touch()

    def look() -> None:
        while not stop.is_set():
            missed[not (out / "model.json").exists()] += 1

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for _ in range(40):
            with atomic_folder(out, force=True) as staging:
                (staging / "model.json").touch()
    finally:
        stop.set()
        reader.join()
    assert missed[0] > 100 and missed[1] == 0


def test_what_is_installed_is_on_the_disk_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut after the rename must not leave a name with empty files."""
    synced: list[str] = []

    def record(handle: int) -> None:
        synced.append(os.path.basename(os.readlink(f"/proc/self/fd/{handle}")))

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("no /proc")
    monkeypatch.setattr(os, "fsync", record)
    with atomic_folder(tmp_path / "out") as staging:
        (staging / "sub").mkdir()
        (staging / "sub" / "weights").touch()
    assert synced == ["weights", "sub", staging.name, tmp_path.name]
    write_json(tmp_path / "a.json", {})
    assert synced[4].startswith(".a.json.") and synced[5:] == [tmp_path.name]


def test_a_folder_that_another_process_made_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="exists already"), atomic_folder(tmp_path / "out") as staging:
        (staging / "model.json").write_text("late")
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "model.json").write_text("early")
    assert (tmp_path / "out" / "model.json").read_text() == "early"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_working_writers_folder_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with atomic_folder(out) as first:
        with atomic_folder(out):
            assert first.exists()
        # The same folder under the name of another destination is nobody's business here.
        with atomic_folder(tmp_path / "ou"), atomic_folder(tmp_path / "out.b"):
            assert first.exists()
        out.rmdir()


def test_other_destinations_leftovers_stay(tmp_path: Path) -> None:
    """``.out.b.xyz.part`` belongs to ``out.b``, not to ``out``."""
    other = tmp_path / ".out.b.xyz.part"
    other.mkdir()
    os.utime(other, (0, 0))
    with atomic_folder(tmp_path / "out"):
        assert other.exists()


def test_json_refuses_nan(tmp_path: Path) -> None:
    """NaN is not JSON; a reader in another language would choke on it."""
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"), [(None, "does not exist"), (b"{", "not valid JSON"), (b"[1]", "holds a JSON list"),
                             (b"\xff\xfe{", "not valid JSON")],
)  # fmt: skip
def test_unreadable_json_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_json(path)
    assert "a.json" in str(caught.value)


def test_hash_and_size(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a").write_bytes(b"abc")
    (tmp_path / "b").write_bytes(b"de")
    # The published SHA-256 test vector for "abc" (FIPS 180-2, appendix B.1).
    assert sha256_of_file(tmp_path / "sub" / "a").startswith("ba7816bf8f01cfea414140de5dae2223")
    assert size_bytes(tmp_path) == 5


@pytest.mark.parametrize(
    "content", ["[" * 100_000, '{"a":' * 100_000, '{"a": ' + "9" * 5000 + "}"], ids=["list", "object", "digits"]
)
def test_json_that_python_does_not_read_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(DataError, match=r"a\.json is not valid JSON"):
        read_json(tmp_path / "a.json")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """Opening a pipe that nobody writes to never returns."""
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    readers = (
        read_json,
        load_image,
        load_matrix,
        read_names,
        Textness.load,
        lambda path: formats.read(path, object),
        inspect_path,
    )
    for read in readers:
        with pytest.raises(MckitError, match="pipe"):
            read(pipe)


@pytest.mark.parametrize("old", ["0.5", "a b", "true"])
def test_a_sealed_file_that_was_changed_is_refused(tmp_path: Path, old: str) -> None:
    path = tmp_path / "a.json"
    document = {"number": 0.5, "text": "a b", "flag": True, "list": [1, {"x": None}]}
    write_json(path, {**document, "list": (1, {"x": None})}, sealed=True)
    assert read_json(path) == document
    path.write_text(path.read_text().replace(old, {"0.5": "0.75", "a b": "a c", "true": "false"}[old]))
    with pytest.raises(DataError, match=r"a\.json was changed") as refused:
        read_json(path)
    assert "content_sha256" in (refused.value.hint or "")


@pytest.mark.parametrize("sealed", [False, True])
def test_names_that_are_not_utf8_are_kept(tmp_path: Path, sealed: bool) -> None:
    """A training lists the images that it skipped; it must not fail at its end by the name of one."""
    document = {"skipped": [os.fsdecode(b"caf\xe9.png"), "é \\udce9"]}
    write_json(tmp_path / "training.json", document, sealed=sealed)
    assert read_json(tmp_path / "training.json") == document


def test_a_file_without_a_seal_is_read(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"number": 1})
    assert read_json(tmp_path / "a.json") == {"number": 1}
