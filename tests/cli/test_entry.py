"""What `mckit` says when it is interrupted or memory runs out; found by benchmarks/robustness.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.shell_completion import BashComplete

from mobileclip_kit.cli import entry
from mobileclip_kit.cli.entry import main


def raised(monkeypatch: pytest.MonkeyPatch, error: BaseException, place: str, *arguments: str) -> int:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(place, fail)
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    return int(stop.value.code or 0)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("can't start new thread"),
        ImportError("/lib/x.so: failed to map segment from shared object"),
        ImportError("x.so: cannot create shared object descriptor: Cannot allocate memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: not enough memory: you tried to"),
    ],
)
def test_memory_that_runs_out_is_one_sentence(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert raised(monkeypatch, error, "mobileclip_kit.checking.check_path", "check", str(tmp_path), "--json") == 1
    said = capsys.readouterr()
    assert said.err.startswith("error: There is not enough memory.")
    assert json.loads(said.out)["error"]["kind"] == "MemoryError"


def test_other_defects_keep_their_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no sentence"):
        raised(monkeypatch, RuntimeError("no sentence"), "mobileclip_kit.checking.check_path", "check", str(tmp_path))


def test_an_interrupt_before_the_command_begins_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert raised(monkeypatch, KeyboardInterrupt(), f"{entry.__name__}.settle_waiting", "cache") == 1
    assert capsys.readouterr().err.startswith("error: Interrupted.")


@pytest.mark.parametrize(
    "words",
    [
        "search",
        "search photos.index",
        "index",
        "export",
        "index --model",
        "distill --data",
        "cache merge",
        "tag --labels",
    ],
)
def test_the_shell_completes_file_names_where_a_path_may_stand(words: str) -> None:
    (item,) = BashComplete(entry.mckit, {}, "mckit", "_MCKIT_COMPLETE").get_completions(words.split(), "ph")
    assert (item.type, item.value) == ("file", "ph")
