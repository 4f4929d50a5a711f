"""Slopes of curves, and what a resumed walk keeps."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from tests.benchmarks.scripts import load_script

growth = load_script("growth")


def test_a_slope_is_the_exponent_of_the_last_step() -> None:
    points = [{"n": 10, "ms": 7.0, "s": 1.0}, {"n": 100, "ms": 2.0, "s": 3.0}, {"n": 1000, "ms": 20.0, "s": 3.0}]
    found = growth.slopes({"vectors": points})
    assert found == {"vectors ms": pytest.approx(1.0), "vectors s": 0.0}


def test_one_point_has_no_slope_and_failures_are_left_out() -> None:
    found = growth.slopes({"batch": [{"n": 1, "ms": 2.0}, {"n": 2, "failure": "no memory"}], "threads": []})
    assert found == {"batch ms": None}


def test_points_that_failed_are_walked_again(tmp_path: Path) -> None:
    curves = {"images": [{"n": 10, "index_s": 1.0}, {"n": 100, "failure": "killed"}]}
    (tmp_path / "growth.json").write_text(json.dumps({"curves": curves}))
    assert growth.kept(tmp_path / "growth.json")["images"] == [{"n": 10, "index_s": 1.0}]
    assert growth.kept(tmp_path / "none.json") == {"vectors": [], "images": [], "batch": [], "threads": []}


def test_a_walk_is_written_and_drawn_after_each_point(tmp_path: Path) -> None:
    chosen = argparse.Namespace(out=tmp_path / "growth.json", export=Path("export"))
    curves = {name: [] for name in growth.CURVES} | {"batch": [{"n": 1, "image_ms": 2.0}]}
    growth.write(chosen, curves)
    assert json.loads(chosen.out.read_text())["curves"]["batch"] == [{"n": 1, "image_ms": 2.0}]
    assert (tmp_path / "growth.png").stat().st_size > 1000


def test_drawn_images_differ(tmp_path: Path) -> None:
    """Equal ones would be taken for copies, which an index encodes once."""
    growth.draw(tmp_path, 70)
    contents = {path.read_bytes() for path in tmp_path.rglob("*.jpg")}
    assert len(contents) == 70
