"""The pages' measured figures are those of benchmarks/results."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("readme_figures", ROOT / "benchmarks" / "readme_figures.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["readme_figures"] = module
    spec.loader.exec_module(module)
    return module


figures = load()


@pytest.mark.parametrize("page", figures.PAGES, ids=lambda page: page.name)
def test_pages_say_what_the_results_say(page: Path) -> None:
    """Run `python benchmarks/readme_figures.py` after new results."""
    _, changes = figures.fill(page.read_text(encoding="utf-8"), ROOT / "benchmarks" / "results")
    assert changes == []


def test_the_measured_tables_hold_no_figure_by_hand() -> None:
    """Every cell with milliseconds, megabytes or a share of the measured section comes from a file."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    measured = text[text.index("## Measured") : text.index("## Commands")]
    bare = re.sub(r"<!-- =.*?<!-- = -->", "", measured)
    rows = [line for line in bare.splitlines() if line.startswith("|")]
    assert not [line for line in rows if re.search(r"\d+\.\d+|\d+ (ms|MB|%)", line)]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    document = {"rows": [{"kind": "a", "ms": 2.0}, {"kind": "b c", "ms": 3.25, "bytes": 12_600_000}], "share": 0.741}
    (tmp_path / "x.json").write_text(json.dumps(document))
    return tmp_path


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ("x:rows[kind=b c].ms .1f", "3.2"),
        ("x:rows[0].ms .2f", "2.00"),
        ("x:share .0%", "74 %"),
        ("x:rows[1].bytes .1f M", "12.6"),
        ("x:rows[0].ms / rows[1].ms .2f", "0.62"),
        ("x:1 - rows[0].ms / rows[1].ms .0%", "38 %"),
        ("x:share .1f pp", "74.1"),
    ],
)
def test_figures_are_written(results: Path, asked: str, text: str) -> None:
    written, changes = figures.fill(f"so: <!-- ={asked} -->old<!-- = --> ms", results)
    assert written == f"so: <!-- ={asked} -->{text}<!-- = --> ms"
    assert len(changes) == 1
    assert figures.fill(written, results) == (written, [])


@pytest.mark.parametrize("asked", ["y:share .1f", "x:nothing .1f", "x:rows[7].ms .1f", "x:rows[kind=z].ms .1f"])
def test_a_figure_that_nobody_measured_is_an_error(results: Path, asked: str) -> None:
    with pytest.raises(figures.FigureError):
        figures.fill(f"<!-- ={asked} -->1<!-- = -->", results)
