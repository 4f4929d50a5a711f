"""Weights from palettes of 2ⁿ values, for Core ML and Core AI, and which of them need more bits.

A palette is found by Lloyd's algorithm in one dimension. Weights are float16, so at most 65,536 different values have
to be grouped, however large the tensor is: the exact grouping that coremltools' own k-means looks for costs minutes a
model, this one a second.

Trained channels are of very different sizes, and few values cannot represent them all. Where palettes of 6 or 4 bits
for every weight miss the budget, the weights that are too sensitive have palettes of 8 bits, and those that are too
sensitive for these stay in float16 (:mod:`mobileclip_kit.exporting.mixed_bits`). This is measured in torch, on a copy
of the tower. The choice is then carried out in torch as well: weights are replaced by the values of their palettes
before the conversion, and the converters' own passes find these few values again.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from mobileclip_kit.arrays import Ids, Pixels, Vectors
from mobileclip_kit.errors import ExportError
from mobileclip_kit.exporting.mixed_bits import MixedTower, fit_budget, inputs_of
from mobileclip_kit.exporting.precisions import Precision
from mobileclip_kit.exporting.samples import ImageInputs
from mobileclip_kit.exporting.sensitivity import Sensitivity
from mobileclip_kit.exporting.towers import TowerJob

# Smaller tensors (biases, norms, positions of short texts) are no saving and carry accuracy.
LEAST_ELEMENTS = 2048
_LLOYD_ROUNDS = 100
_BATCH = 8
_HALF = 16
# float16 rounds by at most 2⁻¹¹ where it does not lose small or large values.
_ROUNDING = 2e-3


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
    for _ in range(_LLOYD_ROUNDS):
        borders = np.concatenate([[0], np.searchsorted(values, (palette[1:] + palette[:-1]) / 2), [len(values)]])
        members = count[borders[1:]] - count[borders[:-1]]
        sums = total[borders[1:]] - total[borders[:-1]]
        moved = np.where(members > 0, sums / np.maximum(members, 1), palette)
        if np.allclose(moved, palette, rtol=1e-6, atol=0):
            break
        palette = np.sort(moved)
    nearest = np.searchsorted((palette[1:] + palette[:-1]) / 2, values)
    return palette.astype(weight.dtype), nearest[inverse.ravel()].astype(np.uint8)


def choose_palettes(job: TowerJob, module: Any, *, channels: int) -> tuple[dict[str, int] | None, tuple[str, ...]]:
    """The weights that need more bits than a precision has.

    Args:
        job: Says which precision and which budget.
        module: The tower in its exported form; it is copied.
        channels: So many output channels have a palette of their own; 0 for one palette a tensor.

    Returns:
        The bits of each of these weights by name, and what to tell of them; None when all can have the precision's.

    Raises:
        ExportError: No choice keeps the budget in a file that is smaller than one with 8 bits.
    """
    given = inputs_of(job)
    rows = given.pixels if isinstance(given, ImageInputs) else given.ids
    try:
        bits, kept = fit_budget(PaletteTower(job.options.row, module, rows, channels), job)
    except ExportError:
        if not job.options.keep_failed:
            raise
        return None, ()  # verification says what is missing
    return ({name: number for name, number in bits.items() if number != job.options.row.weight_bits} or None), kept


def set_palettes(module: Any, row: Precision, more: Mapping[str, int], *, channels: int) -> None:
    """Replace a tower's weights by the values of their palettes, in place.

    Args:
        module: The tower in its exported form.
        row: The precision.
        more: The bits of the weights that have more than the precision, from :func:`choose_palettes`.
        channels: As there.
    """
    fold_batch_norms(module)
    with torch.no_grad():
        for name, weight in large_weights(module).items():
            weight.copy_(palettized(weight, more.get(name, row.weight_bits), channels))


def large_weights(module: nn.Module) -> dict[str, nn.Parameter]:
    """The weights that precisions reduce, by name."""
    named = module.named_parameters()
    return {name: weight for name, weight in named if weight.ndim > 1 and weight.numel() > LEAST_ELEMENTS}


def palettized(weight: Tensor, bits: int, channels: int) -> Tensor:
    """A weight as it is stored, in float32: with so many bits, or in float16 where that can hold it.

    Args:
        weight: Output channels first.
        bits: 16 for float16.
        channels: So many have a palette of their own, where they divide the weight's and it has fewer than 8 bits; 256
            values for each group would be as large as the weights of 16 depthwise channels.
    """
    values = in_half(weight.detach()).numpy()
    if bits == _HALF:
        return torch.from_numpy(values).float()
    found = []
    for group in np.split(values, _palette_count(len(values), bits, channels)):
        palette, indices = find_palette(group, bits)
        found.append(palette[indices].reshape(group.shape))
    return torch.from_numpy(np.concatenate(found)).float()


def _palette_count(own: int, bits: int, channels: int) -> int:
    """Palettes of a weight of so many channels, see :func:`palettized`."""
    return own // channels if channels and bits < 8 and own % channels == 0 else 1


def in_half(weight: Tensor) -> Tensor:
    """A weight in float16, or as it is where its values leave float16's range; converters keep those in float32."""
    half = weight.half()
    return half if float((half.float() - weight).norm()) <= _ROUNDING * float(weight.norm()) else weight


class _Calls(TorchFunctionMode):
    """Counts the calls that read each tensor and compute another; tensors must outlive the count."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: Counter[int] = Counter()

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute, and count; shapes and sizes are not computed from values."""
        result = function(*args, **(kwargs or {}))
        if any(isinstance(each, Tensor) for each in tree_leaves(result)):
            self.readers.update({id(each) for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)})
        return result


@torch.no_grad()
def fold_batch_norms(module: Any) -> None:
    """Move batch norms into the convolutions whose results they alone read, in place, as converters do.

    Args:
        module: A tower with an ``example``.
    """
    results: dict[int, tuple[nn.Conv2d, Tensor]] = {}
    pairs: list[tuple[nn.Conv2d, Any, Tensor]] = []
    calls: Counter[nn.Module] = Counter()

    def note(part: Any, given: tuple[Tensor, ...], result: Tensor) -> None:
        calls[part] += 1
        results[id(result)] = part, result  # a result that is kept has its number to itself

    def meet(part: Any, given: tuple[Tensor, ...]) -> None:
        calls[part] += 1
        if id(given[0]) in results:
            pairs.append((results[id(given[0])][0], part, given[0]))

    parts = list(module.modules())
    hooks = [part.register_forward_hook(note) for part in parts if isinstance(part, nn.Conv2d)]
    hooks += [part.register_forward_pre_hook(meet) for part in parts if isinstance(part, nn.BatchNorm2d)]
    counted = _Calls()
    if len(hooks) > sum(isinstance(part, nn.Conv2d) for part in parts):
        with counted:
            module(module.example)
    for hook in hooks:
        hook.remove()
    for convolution, norm, result in pairs:
        if counted.readers[id(result)] > 1 or calls[convolution] > 1 or calls[norm] > 1:
            continue  # the residual branch beside the norm, or another call, reads the convolution as it was
        convolution.weight, convolution.bias = fuse_conv_bn_weights(
            convolution.weight, convolution.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        norm.reset_running_stats()
        norm.running_var.fill_(1 - norm.eps)
        if norm.affine:
            nn.init.ones_(norm.weight)
            nn.init.zeros_(norm.bias)


class PaletteTower(MixedTower):
    """A tower whose weights have palettes, executed by torch.

    Args:
        row: The precision.
        module: The tower in its exported form; it is copied.
        rows: Inputs of the kind that the model will meet.
        channels: See :func:`choose_palettes`.
    """

    kinds = ("8 bits", "float16")

    def __init__(self, row: Precision, module: Any, rows: Pixels | Ids, channels: int) -> None:
        super().__init__(row, rows)
        self._module, self._channels = copy.deepcopy(module), channels
        fold_batch_norms(self._module)
        self._weights = large_weights(self._module)
        self._whole = {name: weight.detach().clone() for name, weight in self._weights.items()}
        self._palettes: dict[tuple[str, int], Tensor] = {}
        self._current = dict.fromkeys(self._weights, 0)

    @property
    def products(self) -> dict[str, tuple[str, str]]:
        """The weights, each with the kind of module that holds it."""
        kinds = {name: type(self._module.get_submodule(name.rpartition(".")[0])).__name__ for name in self._weights}
        return {name: (kind, name) for name, kind in kinds.items()}

    def form(self, kept: Collection[Sensitivity], *, trial: bool = False) -> dict[str, int]:
        """The bits of each weight."""
        in_half = {entry.node for entry in kept if entry.bits == 8}
        in_eight = {entry.node for entry in kept}
        return {
            name: _HALF if name in in_half else 8 if name in in_eight else self.row.weight_bits
            for name in self._weights
        }

    def run(self, form: dict[str, int] | None, rows: Pixels | Ids) -> Vectors:
        """See :meth:`MixedTower.run`."""
        with torch.no_grad():
            for name, bits in (form or dict.fromkeys(self._weights, 0)).items():
                if bits != self._current[name]:
                    self._weights[name].copy_(self._stored(name, bits) if bits else self._whole[name])
                    self._current[name] = bits
            given = torch.from_numpy(rows)
            if given.ndim == 4:
                given = given.permute(0, 3, 1, 2) / 255
            parts = torch.split(given, _BATCH)  # type: ignore[no-untyped-call]
            vectors: Vectors = torch.cat([self._module(part) for part in parts]).numpy()
        return vectors

    def worth(self, entry: Sensitivity) -> float:
        """Loss by bit: a vocabulary has half of a text tower's weights, and would decide the size alone."""
        more = (_HALF if entry.bits == 8 else 8) - entry.bits
        return entry.loss / (self._whole[entry.node].numel() * more)

    def size(self, form: dict[str, int]) -> int:
        """Bytes of the weights and their palettes."""
        return sum(self._whole[name].numel() * bits // 8 + self._palette_bytes(name, bits)
                   for name, bits in form.items())  # fmt: skip

    def _palette_bytes(self, name: str, bits: int) -> int:
        count = _palette_count(len(self._whole[name]), bits, self._channels)
        return 0 if bits == _HALF else count * 2 * 2**bits

    def _stored(self, name: str, bits: int) -> Tensor:
        if (name, bits) not in self._palettes:
            self._palettes[name, bits] = in_half(palettized(self._whole[name], bits, self._channels))
        return self._palettes[name, bits]
