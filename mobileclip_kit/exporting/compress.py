"""Smaller Core ML weights: palettes of 2ⁿ values, or int8 with a scale for each channel.

Activations stay float16; the phone expands the weights when it computes. A palette is found by Lloyd's algorithm in one
dimension. Weights are float16, so at most 65,536 different values have to be grouped, however large the tensor is: the
exact grouping that coremltools' own k-means looks for costs minutes a model, this one a second.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.errors import ExportError
from mobileclip_kit.exporting.folder import Precision
from mobileclip_kit.exporting.metadata import first_line, quiet_converters

PALETTE_BITS: dict[str, int] = {"palette8": 8, "palette6": 6, "palette4": 4}
COMPRESSED: tuple[Precision, ...] = ("palette8", "palette6", "palette4", "int8")

# Smaller tensors (biases, norms, positions of short texts) are no saving and carry accuracy.
_LEAST_ELEMENTS = 2048
_ROUNDS = 100


def compress_weights(model: Any, precision: Precision) -> Any:
    """A copy of a Core ML model whose large weights are compressed.

    Args:
        model: coremltools' ``MLModel``.
        precision: One of :data:`COMPRESSED`.

    Raises:
        ExportError: coremltools refuses.
    """
    import coremltools.optimize.coreml as optimize

    try:
        with quiet_converters():
            if precision == "int8":
                config = optimize.OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=_LEAST_ELEMENTS)
                return optimize.linear_quantize_weights(model, optimize.OptimizationConfig(global_config=config))
            bits = PALETTE_BITS[precision]
            palettes = optimize.OpPalettizerConfig(
                mode="custom",
                lut_function=lambda weight: find_palette(weight, bits),
                weight_threshold=_LEAST_ELEMENTS,
            )
            return optimize.palettize_weights(model, optimize.OptimizationConfig(global_config=palettes))
    except Exception as error:  # coremltools raises whatever its passes meet
        raise ExportError(f"coremltools cannot compress the weights to {precision}: {first_line(error)}") from error


def find_palette(weight: NDArray[Any], bits: int) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """The 2ⁿ values that a tensor is replaced by, and which of them each element takes.

    Lloyd's algorithm (1957) on the sorted distinct values and their counts; starts from equal shares of the elements.

    Args:
        weight: Any shape, float16 or float32.
        bits: n, 1…8.

    Returns:
        The palette, ``(2ⁿ,)`` ascending, and the flat indices into it, ``(weight.size,)`` uint8.
    """
    values, inverse, counts = np.unique(weight.astype(np.float64), return_inverse=True, return_counts=True)
    total = np.concatenate([[0.0], np.cumsum(values * counts)])
    count = np.concatenate([[0], np.cumsum(counts)])
    size = 1 << bits
    middles = (np.arange(size) + 0.5) / size * count[-1]
    palette = values[np.searchsorted(count[1:], middles, side="left").clip(max=len(values) - 1)]
    # Equal shares put most entries at the centre; the range's ends are what large weights need.
    palette = np.unique(np.concatenate([palette, np.linspace(values[0], values[-1], size)]))
    palette = palette[np.linspace(0, len(palette) - 1, size).round().astype(int)]
    for _ in range(_ROUNDS):
        borders = np.concatenate([[0], np.searchsorted(values, (palette[1:] + palette[:-1]) / 2), [len(values)]])
        members = count[borders[1:]] - count[borders[:-1]]
        sums = total[borders[1:]] - total[borders[:-1]]
        moved = np.where(members > 0, sums / np.maximum(members, 1), palette)
        if np.allclose(moved, palette, rtol=1e-6, atol=0):
            break
        palette = np.sort(moved)
    nearest = np.searchsorted((palette[1:] + palette[:-1]) / 2, values)
    return palette.astype(weight.dtype), nearest[inverse.ravel()].astype(np.uint8)
