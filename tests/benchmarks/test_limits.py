"""Shares of bounds, from rates that are written down here."""

from __future__ import annotations

from typing import Any

import pytest

from tests.benchmarks.scripts import load_script

limits = load_script("limits")


def rate(median: float, low: float, high: float) -> dict[str, Any]:
    return {"unit": "GMAC/s", "median": median, "low": low, "high": high}


RATES = {
    "path": rate(30, 20, 40),
    "numpy float32 products": rate(50, 40, 60),
    "torch float32 products": rate(60, 50, 80),
    "onnxruntime int8 products": rate(55, 50, 60),
}


def test_a_share_is_of_the_best_that_was_measured() -> None:
    """Where float32 is faster than the int8 product, it bounds int8 as well."""
    for bound in ("float32 products", "int8 products"):
        found = limits.share(RATES, "path", bound)
        assert found["measured_by"] == "torch float32 products"
        assert found["share"] == 0.5
        assert (found["share_low"], found["share_high"]) == (20 / 80, 40 / 50)


def test_a_bound_with_one_measurement_is_that() -> None:
    assert limits.share(RATES, "path", "numpy float32 products")["limit"] == 50


def test_the_tokenizers_parts_add_up() -> None:
    """At 10 texts a second a text takes 100 ms; its parts 20, 10 and 50."""
    parts = {"cleaning texts": 50, "word splitting": 100, "joining pieces of new words": 20}
    rates = {"tokenizer, new words": rate(10, 9, 11), **{name: rate(each, each, each) for name, each in parts.items()}}
    found = limits.tokenizer_shares(rates)
    assert found == pytest.approx({"cleaning": 0.2, "splitting": 0.1, "joining": 0.5, "rest": 0.2})
