"""Atomic writing: either the old thing or the new one, never half of one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mobileclip_kit.errors import DataError, OutputError
from mobileclip_kit.files import atomic_file, atomic_folder, read_json, sha256_of_file, size_bytes, write_json


def test_folder_appears_only_when_complete(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with atomic_folder(out) as staging:
        (staging / "model.json").write_text("{}")
        assert not out.exists()
    assert [child.name for child in out.iterdir()] == ["model.json"]
    assert [child.name for child in out.parent.iterdir()] == ["out"]


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
    with pytest.raises(OutputError, match="exists already.*--force"), atomic_folder(out):
        pass
    assert (out / "model.json").read_text() == "two"


def test_force_never_replaces_somebody_elses_folder(tmp_path: Path) -> None:
    """``-o ~/Images --force`` must not cost anybody their images."""
    (tmp_path / "holiday.jpg").write_bytes(b"image")
    with pytest.raises(OutputError, match="did not make"), atomic_folder(tmp_path, force=True):
        pass
    assert (tmp_path / "holiday.jpg").read_bytes() == b"image"


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
        "    os.utime(staging, (0, 0))\n"
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


def test_a_working_writers_folder_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with atomic_folder(out) as first:
        os.utime(first, (0, 0))
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
