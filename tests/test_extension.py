"""The examples of docs/architecture.md for a new data source and a new command, carried out as they are printed."""

from __future__ import annotations

import json
import re
import sys
import types
from pathlib import Path

import pytest
from PIL import Image

from mobileclip_kit.cli import entry
from mobileclip_kit.data import sources

PAGE = Path(__file__).parents[1] / "docs" / "architecture.md"


def example(title: str) -> list[str]:
    """The Python blocks of a section, 30 lines at most."""
    section = PAGE.read_text(encoding="utf-8").split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]
    blocks = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    assert sum(len(block.splitlines()) for block in blocks) <= 30
    return blocks


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("a.jpg", "b.jpg"):
        Image.new("RGB", (8, 8), "red").save(tmp_path / name)
    return tmp_path


def test_a_data_source_is_added(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, row = example("Adding a data source")
    added = dict(vars(sources))
    exec(module, added)
    exec(f"ROWS = (\n{row})", added)
    monkeypatch.setattr(sources, "SOURCES", (*added["ROWS"], *sources.SOURCES))
    (photos / "some.txt").write_text("b.jpg\nc.jpg\n")
    skipped: list[sources.Skipped] = []
    assert [pair.key for pair in sources.open_source(photos / "some.txt", skipped)] == ["b.jpg"]
    assert "c.jpg" in [skip.item for skip in skipped]


def test_a_command_is_added(photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    module, row = example("Adding a command")
    added = types.ModuleType("mobileclip_kit.cli.count")
    exec(module, vars(added))
    monkeypatch.setitem(sys.modules, added.__name__, added)
    monkeypatch.setattr(entry, "COMMANDS", {**entry.COMMANDS, **eval(f"{{{row}}}")})
    with pytest.raises(SystemExit) as left:
        entry.main(["count", str(photos), "--json"])
    assert left.value.code == 0 and json.loads(capsys.readouterr().out) == {"images": 2}
