"""The measured figures of the pages are those of benchmarks/results."""

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
    sys.path.insert(0, str(ROOT / "benchmarks"))  # for harness
    spec.loader.exec_module(module)
    sys.path.remove(str(ROOT / "benchmarks"))
    return module


figures = load()


@pytest.mark.parametrize("page", figures.PAGES, ids=lambda page: page.name)
def test_pages_say_what_the_results_say(page: Path) -> None:
    """Run `python benchmarks/readme_figures.py` after new results."""
    text = page.read_text(encoding="utf-8")
    assert "<!-- figures: " in text
    assert figures.fill(text, ROOT / "benchmarks" / "results") == text


def test_every_block_stands_on_a_page() -> None:
    written = "".join(page.read_text(encoding="utf-8") for page in figures.PAGES)
    assert set(re.findall(r"<!-- figures: ([\w-]+) -->", written)) == set(figures.BLOCKS)


def test_every_measured_figure_of_the_readme_comes_from_a_file() -> None:
    """Outside of blocks and commands, the README has no fraction and no number with a unit of measurement."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    bare = re.sub(
        r"<!-- figures: .*?<!-- end -->|```.*?```|`[^`]*`|Python 3\.\d+|arXiv [\d.]+", "", text, flags=re.DOTALL
    )
    assert re.findall(r"\d+\.\d+|\d+ ?(?:ms|s|MB|GB|%|points|times)\b|\d+%", bare) == []


@pytest.mark.parametrize("page", figures.PAGES, ids=lambda page: page.name)
def test_table_rows_can_be_read_in_the_source(page: Path) -> None:
    rows = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    assert [row for row in rows if len(row) > 160] == []


@pytest.fixture
def results(tmp_path: Path) -> Path:
    document = {
        "rows": [{"kind": "a", "ms": 2.0, "none": None}, {"kind": "b c", "ms": 3.25, "bytes": 12_600_000}],
        "share": 0.741,
        "below": -0.4,
        "name": "onnx-fp32",
    }
    (tmp_path / "x.json").write_text(json.dumps(document))
    return tmp_path


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ("x:rows[kind=b c].ms .1f", "3.2"),
        ("x:rows[kind=a;ms=2.0].ms .1f", "2.0"),
        ("x:rows[0].ms .2f", "2.00"),
        ("x:share .0%", "74%"),
        ("x:rows[1].bytes .1f M", "12.6"),
        ("x:rows[0].ms / rows[1].ms .2f", "0.62"),
        ("x:share .1f pp", "74.1"),
        ("x:below .2f", "−0.40"),
        ("x:rows[0].none .2f", "–"),
        ("x:name s", "onnx-fp32"),
    ],
)
def test_figures_are_written(results: Path, asked: str, text: str) -> None:
    blocks = {"one": f"so: {{{asked}}} ms"}
    page = "before\n<!-- figures: one -->\nold\n<!-- end -->\nafter\n"
    written = figures.fill(page, results, blocks)
    assert written == f"before\n<!-- figures: one -->\nso: {text} ms\n<!-- end -->\nafter\n"
    assert figures.fill(written, results, blocks) == written


@pytest.mark.parametrize(
    "asked",
    [
        "y:share .1f",
        "x:nothing .1f",
        "x:rows[7].ms .1f",
        "x:rows[kind=z].ms .1f",
        "x:rows[kind=a;ms=3].ms .1f",
        "x:name .1f",
    ],
)
def test_a_figure_that_nobody_measured_is_an_error(results: Path, asked: str) -> None:
    with pytest.raises(figures.FigureError):
        figures.fill("<!-- figures: one -->\n<!-- end -->", results, {"one": f"{{{asked}}}"})


def test_an_unknown_block_is_an_error(results: Path) -> None:
    with pytest.raises(figures.FigureError, match="two"):
        figures.fill("<!-- figures: two -->\n<!-- end -->", results, {"one": ""})
