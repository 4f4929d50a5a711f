"""The textness vector on disk and in a query."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mobileclip_kit.errors import DataError, ShapeError, UsageError
from mobileclip_kit.textness.vector import Textness

ACROSS = Textness(
    model="m",
    model_hash="aa",
    directions={"probe": np.array([1, 0], np.float32), "mean_difference": np.array([0.6, 0.8], np.float32)},
    report={"accuracy": 0.9},
)
UP = np.array([[0, 1]], np.float32)


def test_a_scale_moves_a_query_as_by_hand() -> None:
    np.testing.assert_allclose(ACROSS.apply(UP, -0.75), [[-0.6, 0.8]], atol=1e-7)
    np.testing.assert_allclose(ACROSS.apply(UP, 1, "mean_difference"), np.array([[0.6, 1.8]]) / np.sqrt(3.6), atol=1e-7)
    np.testing.assert_array_equal(ACROSS.apply(UP, 0), UP)


def test_it_comes_back_from_disk(tmp_path: Path) -> None:
    ACROSS.save(tmp_path / "t.json")
    back = Textness.load(tmp_path / "t.json")
    assert (back.model, back.model_hash, back.method, back.report) == ("m", "aa", "probe", {"accuracy": 0.9})
    for method, direction in ACROSS.directions.items():
        np.testing.assert_array_equal(back.directions[method], direction)
    document = json.loads((tmp_path / "t.json").read_text())
    assert document["vector"] == [1, 0]
    assert document["norm"] == 1


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), 1e9])
def test_scales_that_are_no_scales_are_refused(scale: float) -> None:
    with pytest.raises(UsageError, match="scale"):
        ACROSS.apply(UP, scale)


def test_a_query_that_is_used_up_is_refused() -> None:
    with pytest.raises(UsageError, match="nothing"):
        ACROSS.apply(np.array([[1, 0]], np.float32), -1)


def test_other_widths_and_methods_are_refused() -> None:
    with pytest.raises(ShapeError):
        ACROSS.apply(np.ones((1, 3), np.float32), 1)
    with pytest.raises(UsageError, match="no direction"):
        Textness(model="m", model_hash="a", directions={"probe": ACROSS.vector}).direction("mean_difference")


@pytest.mark.parametrize(
    "change",
    [
        {"format_version": 2},
        {"kind": "index"},
        {"accuracies_": {"probe": 1.0}},
        {"directions": {}},
        {"directions": {"probe": [2, 0]}},
        {"directions": {"probe": ["x"]}},
        {"model_hash": None, "directions": None},
        {"accuracy": "high"},
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, change: dict[str, object]) -> None:
    ACROSS.save(tmp_path / "t.json")
    document = json.loads((tmp_path / "t.json").read_text())
    (tmp_path / "t.json").write_text(json.dumps({**document, **change}))
    with pytest.raises(DataError, match="t.json"):
        Textness.load(tmp_path / "t.json")
