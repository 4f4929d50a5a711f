"""Replacing a cache: the old one stays whole until the new one is complete."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mobileclip_kit.cache.folder import TeacherCache, cache_folders
from mobileclip_kit.cache.writer import CacheWriter, cache_place
from mobileclip_kit.cli.entry import main
from mobileclip_kit.errors import CacheError
from tests.cache.test_cache import DESCRIPTION, draw, random_vectors, write_vectors

OTHER = replace(DESCRIPTION, teacher="other")


def fill(path: Path, keys: str, *, die: bool = False) -> int:
    """Add what is missing of the keys; how many that was."""
    with CacheWriter(path, OTHER) as writer:
        wanted = [key for key in keys if not writer.holds(key, key)]
        for key in wanted:
            writer.add([key], [key], np.full((1, 1, 4), 2.0, np.float32))
            writer.flush()
            if die:
                os.kill(os.getpid(), signal.SIGKILL)
        return len(wanted)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    with CacheWriter(tmp_path / "c", DESCRIPTION) as writer:
        writer.add(list("abc"), list("abc"), np.ones((3, 1, 4), np.float32))
    return tmp_path / "c"


def staged(cache: Path) -> list[Path]:
    return list(cache.parent.glob(".*.staged"))


def is_old(cache: Path) -> bool:
    opened = TeacherCache.open(cache)
    return opened.keys == list("abc") and opened.description.teacher == "t"


def interrupt(cache: Path, keys: str, made_of: str) -> None:
    with pytest.raises(KeyboardInterrupt), cache_place(cache, {"keys": made_of}, force=True) as place:
        fill(place, keys)
        raise KeyboardInterrupt


def test_the_new_cache_takes_the_old_ones_place_when_it_is_complete(cache: Path) -> None:
    with cache_place(cache, {}, force=True) as place:
        assert fill(place, "ab") == 2
        assert is_old(cache)
    assert TeacherCache.open(cache).keys == ["a", "b"]
    assert [path.name for path in cache.parent.iterdir()] == ["c"]


def test_an_interrupted_replacement_is_continued_by_the_same_command_alone(cache: Path) -> None:
    interrupt(cache, "a", made_of="ab")
    assert is_old(cache)
    with cache_place(cache, {"keys": "ab"}, force=True) as place:
        assert fill(place, "ab") == 1
    interrupt(cache, "xyz", made_of="xyz")
    with cache_place(cache, {"keys": "cd"}, force=True) as place:
        assert fill(place, "cd") == 2
    assert TeacherCache.open(cache).keys == ["c", "d"]
    assert not staged(cache)


def test_what_an_interrupted_replacement_left_goes_with_the_next_run(cache: Path) -> None:
    interrupt(cache, "a", made_of="a")
    assert len(staged(cache)) == 1
    assert cache_folders(cache.parent) == [cache]
    with cache_place(cache, {"keys": "a"}, force=False) as place, CacheWriter(place, DESCRIPTION):
        pass
    assert is_old(cache) and not staged(cache)


def test_damaged_work_is_begun_anew(cache: Path) -> None:
    interrupt(cache, "ab", made_of="ab")
    (staged(cache)[0] / "shards" / "00000.npy").write_bytes(b"half")
    with cache_place(cache, {"keys": "ab"}, force=True) as place:
        assert fill(place, "ab") == 2
    assert TeacherCache.open(cache).keys == ["a", "b"]


def test_nobody_writes_a_cache_that_is_being_replaced(cache: Path) -> None:
    with cache_place(cache, {}, force=True) as place:
        fill(place, "a")
        with pytest.raises(CacheError, match="Another process is writing"):
            CacheWriter(cache, DESCRIPTION)
        with pytest.raises(CacheError, match="Another process"), cache_place(cache, {}, force=True):
            pass


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_a_killed_replacement_leaves_the_old_cache_and_is_continued(cache: Path) -> None:
    code = (
        "from pathlib import Path; import sys\n"
        "from mobileclip_kit.cache.writer import cache_place\n"
        "from tests.cache.test_replacing import fill\n"
        "with cache_place(Path(sys.argv[1]), {}, force=True) as place: fill(place, 'ab', die=True)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(cache)], cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == -signal.SIGKILL
    assert is_old(cache)
    with cache_place(cache, {}, force=True) as place:
        assert fill(place, "ab") == 1
    assert not staged(cache)


def imported(tmp_path: Path, names: Sequence[str], *options: str) -> int:
    given = write_vectors(tmp_path, random_vectors(len(names)), names)
    call = ["cache", "import", "--images", str(draw(tmp_path / "images", 3)), "-o", str(tmp_path / "c"), *options]
    with pytest.raises(SystemExit) as stop:
        main([*call, "--vectors", str(given["vectors"]), "--names", str(given["names"]), "--json"])
    assert isinstance(stop.value.code, int)
    return stop.value.code


def test_force_that_fails_leaves_the_old_cache(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert imported(tmp_path, ["00.png", "01.png"]) == 0
    capsys.readouterr()
    (tmp_path / "bank.txt").write_text("one\ntwo\n")
    np.save(tmp_path / "bank.npy", np.ones((3, 4), np.float32))
    bank = ("--bank", str(tmp_path / "bank.txt"), "--bank-vectors", str(tmp_path / "bank.npy"))
    assert imported(tmp_path, ["02.png"], "--force", *bank) == 1  # three vectors for two texts
    assert json.loads(capsys.readouterr().out)["error"]["kind"] == "DataError"
    assert TeacherCache.open(tmp_path / "c").keys == ["00.png", "01.png"]
    assert imported(tmp_path, ["02.png"], "--force") == 0
    assert TeacherCache.open(tmp_path / "c").keys == ["02.png"]
    assert not staged(tmp_path / "c")
