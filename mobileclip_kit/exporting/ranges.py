"""Ranges of activations, observed on calibration inputs: what 8 bits are spread over.

Three ways to choose a range. ``minmax`` takes everything that was seen, and a fifth more at each end: a value that no
calibration input had is cut off, and one cut in a late product can turn the whole vector. ``percentile`` leaves the
outermost values out, so that one rare giant does not coarsen all others. ``entropy`` looks for the range whose 8-bit
steps keep the most information about the values: the least Kullback-Leibler divergence between their histogram before
and after (Migacz, "8-bit inference with TensorRT", GTC 2017; there with one threshold for ``[-t, t]``, here both ends
of an asymmetric range shrink together).

Inputs pass twice where a histogram is needed: the first pass finds its ends, so that memory stays bounded however many
inputs there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, get_args

import numpy as np
import onnx
from numpy.typing import NDArray

from mobileclip_kit.errors import ExportError, UsageError
from mobileclip_kit.exporting.onnx import Feeds, copy_message
from mobileclip_kit.exporting.request import CalibrationMethod
from mobileclip_kit.progress import track
from mobileclip_kit.runtime.onnx import open_session

Range = tuple[float, float]

METHODS: tuple[CalibrationMethod, ...] = get_args(CalibrationMethod)
# Of all values, so many per cent lie within the range that ``percentile`` chooses.
PERCENTILE = 99.99
# What minmax leaves for inputs not seen. A quickstart's student, calibrated on 200 images, had on 400 unseen ones a
# least cosine of 0.9896 without it, 0.9930 with a tenth and 0.9952 with a fifth; the mean fell from 0.9990 to 0.9988.
HEADROOM = 1.2
_BINS = 2048
_LEVELS = 256
# entropy tries ranges down to this share of everything that was seen.
_LEAST_SHARE = 0.2
_SHARES = 41


def observe_ranges(
    model: onnx.ModelProto, tensors: Iterable[str], rows: Feeds, *, method: CalibrationMethod = "minmax"
) -> dict[str, Range]:
    """The range of each tensor over some inputs; it always holds 0.

    Args:
        model: A float32 graph.
        tensors: Names of activations in it.
        rows: Inputs, as a session takes them.
        method: See the module.

    Raises:
        UsageError: No such method.
        ExportError: An activation is not finite.
    """
    if method not in METHODS:
        raise UsageError(f"Calibration knows {', '.join(METHODS)}, not {method!r}.")
    names = sorted(set(tensors))
    if not names:
        return {}
    run = activation_runner(model, names)
    seen: dict[str, Range] = {}
    for row in track(rows, "calibrate", "inputs"):
        for name, values in zip(names, run(row), strict=True):
            low, high = float(values.min()), float(values.max())
            if not np.isfinite([low, high]).all():
                raise ExportError(f"The activation {name} is not finite on a calibration input.")
            before = seen.get(name, (0.0, 0.0))
            seen[name] = (min(before[0], low), max(before[1], high))
    if method == "minmax":
        inputs = {value.name for value in model.graph.input}
        return {
            name: ends if name in inputs else (ends[0] * HEADROOM, ends[1] * HEADROOM) for name, ends in seen.items()
        }
    counts = {name: np.zeros(_BINS, np.int64) for name in names}
    for row in rows:
        for name, values in zip(names, run(row), strict=True):
            counts[name] += np.histogram(values, _BINS, range=_wide(seen[name]))[0]
    choose = _within_percentile if method == "percentile" else _least_divergence
    return {name: choose(counts[name], _wide(seen[name])) for name in names}


def activation_runner(
    model: onnx.ModelProto, names: Sequence[str]
) -> Callable[[Mapping[str, NDArray[Any]]], list[NDArray[Any]]]:
    """Executes a graph and gives the named activations."""
    inputs = {value.name for value in model.graph.input}
    watched = copy_message(model)
    del watched.graph.output[:]
    made = [name for name in names if name not in inputs]
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in made)
    session = open_session(watched.SerializeToString()) if made else None

    def run(row: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        found = dict(row) | (dict(zip(made, session.run(made, dict(row)), strict=True)) if session else {})
        return [found[name] for name in names]

    return run


def _wide(ends: Range) -> Range:
    """A range that a histogram can be cut from: a constant zero has none."""
    low, high = ends
    return (low, high) if high > low else (low, low + 1e-6)


def _within_percentile(counts: NDArray[np.int64], ends: Range) -> Range:
    """The narrowest range of whole bins that leaves half of the rest out at each end."""
    edges = np.linspace(*ends, len(counts) + 1)
    share = np.cumsum(counts) / counts.sum()
    outside = (1 - PERCENTILE / 100) / 2
    first = int(np.searchsorted(share, outside, side="right"))
    last = int(np.searchsorted(share, 1 - outside, side="left"))
    return min(0.0, float(edges[first])), max(0.0, float(edges[min(last, len(counts) - 1) + 1]))


def _least_divergence(counts: NDArray[np.int64], ends: Range) -> Range:
    edges = np.linspace(*ends, len(counts) + 1)
    middles = (edges[1:] + edges[:-1]) / 2
    best, least = ends, np.inf
    for share in np.linspace(1, _LEAST_SHARE, _SHARES):
        low, high = ends[0] * share, ends[1] * share
        found = _divergence(counts, middles, low, high)
        if found < least:
            best, least = (low, high), found
    return best


def _divergence(counts: NDArray[np.int64], middles: NDArray[np.float64], low: float, high: float) -> float:
    """Kullback-Leibler divergence, in nats, between a histogram clipped to a range and its 8-bit version."""
    inside = (middles >= low) & (middles <= high)
    kept = counts[inside].astype(np.float64)
    if kept.sum() == 0:
        return float(np.inf)
    clipped = kept.copy()
    # What lies outside is moved to the ends, as saturation does; the 8-bit version knows nothing of it.
    clipped[0] += counts[middles < low].sum()
    clipped[-1] += counts[middles > high].sum()
    levels = np.rint((middles[inside] - low) / (high - low) * (_LEVELS - 1)).astype(int)
    sums = np.bincount(levels, weights=kept, minlength=_LEVELS)
    filled = np.bincount(levels, weights=clipped > 0, minlength=_LEVELS)
    spread = np.where(clipped > 0, (sums / np.maximum(filled, 1))[levels], 0.0)
    first, second = clipped / clipped.sum(), spread / max(spread.sum(), 1e-30)
    known = first > 0
    return float((first[known] * np.log(first[known] / np.maximum(second[known], 1e-12))).sum())
