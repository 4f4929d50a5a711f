"""Weights in fewer bits, for Core ML and Core AI, and which of them need more.

Weights come from palettes (:mod:`mobileclip_kit.exporting.palettes`), or are integers: int8 with a scale for each
output channel, int4 with one for each 32 inputs of a channel.

Trained channels are of very different sizes, and few values cannot represent them all. Where a precision of 6 or 4
bits for every weight misses the budget, the weights that are too sensitive have 8 bits, and those that are too
sensitive for these stay in float16 (:mod:`mobileclip_kit.exporting.mixed_bits`). This is measured in torch, on a copy
of the tower. The choice is then carried out in torch as well: weights are replaced by the values that they are stored
as before the conversion, and the converters' own passes find these values again. :func:`only_found` lets them leave
other weights as they are.
"""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from mobileclip_kit.arrays import Ids, Pixels, Vectors
from mobileclip_kit.exporting.mixed_bits import MixedTower, fit_budget, inputs_of, rows_of
from mobileclip_kit.exporting.onnx_weights import HALF_ROUNDING
from mobileclip_kit.exporting.palettes import palette_count, palettized
from mobileclip_kit.exporting.precisions import Precision
from mobileclip_kit.exporting.sensitivity import Sensitivity
from mobileclip_kit.exporting.towers import TowerJob

# Smaller tensors (biases, norms) are no saving and carry accuracy.
LEAST_ELEMENTS = 2048
# Inputs of an output channel that share a scale in 4 bits.
BLOCK = 32
_BATCH = 8
_HALF = 16
# float16 moves an element that is a number of steps by less than this share; most others are farther off.
_FOUND, _NEARLY_ALL = 2**-8, 0.99
_WORDS = re.compile(r"[._]")
# Words in the names of tables of positions.
_POSITIONS = frozenset({"pos", "position", "positions", "positional", "posemb"})


def choose_bits(job: TowerJob, module: Any, *, channels: int = 0) -> tuple[dict[str, int] | None, tuple[str, ...]]:
    """The weights that need more bits than a precision has.

    Args:
        job: Says which precision and which budget.
        module: The tower in its exported form; it is copied.
        channels: So many output channels have a palette of their own; 0 for one palette a tensor.

    Returns:
        The bits of each of these weights by name, and what to tell of them; None when all can have the precision's.

    Raises:
        ExportError: No choice keeps the budget, or not in a file that is smaller than one with 8 bits.
    """
    tower = ReducedTower(job.options.row, module, rows_of(inputs_of(job)), channels)
    bits, kept = fit_budget(tower, job)
    return ({name: number for name, number in bits.items() if number != job.options.row.weight_bits} or None), kept


def set_weights(module: Any, row: Precision, more: Mapping[str, int], *, channels: int = 0) -> None:
    """Replace a tower's weights by the values that they are stored as, in place.

    Args:
        module: The tower in its exported form.
        row: The precision.
        more: The bits of the weights that have more than the precision, from :func:`choose_bits`.
        channels: As there.
    """
    fold_batch_norms(module)
    with torch.no_grad():
        for name, weight in large_weights(module).items():
            axis = channel_axis(module, name)
            weight.copy_(stored(weight, row, more.get(name, row.weight_bits), axis=axis, channels=channels))


def large_weights(module: nn.Module) -> dict[str, nn.Parameter]:
    """The weights that precisions reduce, by name: those of products and look-ups.

    Positions are added to tokens. Their tables are small, and what they lose stays in the residual stream.
    """
    large = {name: weight for name, weight in module.named_parameters()
             if weight.ndim > 1 and weight.numel() > LEAST_ELEMENTS}  # fmt: skip
    return {name: weight for name, weight in large.items() if not _POSITIONS & set(_WORDS.split(_last_two(name)))}


def _last_two(name: str) -> str:
    return ".".join(name.split(".")[-2:])


def channel_axis(module: nn.Module, name: str) -> int:
    """Which axis of a weight holds its output channels: the last one of a tower's own matrix, ``x @ matrix``."""
    owner, _, last = name.rpartition(".")
    raw = type(module.get_submodule(owner)).__module__.partition(".")[0] != "torch" and last != "weight"
    return 1 if raw and module.get_parameter(name).ndim == 2 else 0


def stored(weight: Tensor, row: Precision, bits: int, *, axis: int = 0, channels: int = 0) -> Tensor:
    """A weight as a file holds it, in float32: with so many bits, or in float16 where that can hold it.

    Args:
        weight: Of two or more dimensions.
        row: Whether it has palettes or is integers.
        bits: 16 for float16.
        axis: Of its output channels.
        channels: See :func:`choose_bits`.
    """
    values = in_half(weight.detach())
    if bits == _HALF:
        return values.float()
    if row.name.startswith("palette"):
        return torch.from_numpy(palettized(values.numpy(), bits, channels)).float()
    return torch.from_numpy(in_steps(values.transpose(0, axis).numpy(), bits)).transpose(0, axis).float()


def in_steps(weight: NDArray[Any], bits: int) -> NDArray[Any]:
    """A weight whose elements are multiples of a step, as many at each side of 0.

    Args:
        weight: Output channels first, float16 or float32; so are the steps.
        bits: 8 for a step in each channel, 4 for one in each block of :data:`BLOCK` inputs.
    """
    length = BLOCK if bits < 8 else weight.shape[1]
    blocks = weight.reshape(len(weight), -1, length, *weight.shape[2:]).astype(np.float64)
    most = (1 << bits - 1) - 1
    largest = np.abs(blocks).max(tuple(range(2, blocks.ndim)), keepdims=True)
    nearest = (largest / most).astype(weight.dtype)
    # The largest element has the largest number then, by which the step can be found again.
    step = np.where(nearest.astype(np.float64) * most > largest, np.nextafter(nearest, weight.dtype.type(0)), nearest)
    made: NDArray[Any] = _numbers(blocks, step.astype(np.float64), most) * step
    return made.reshape(weight.shape).astype(weight.dtype)


def _numbers(blocks: NDArray[np.float64], step: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    numbers: NDArray[np.float64] = np.divide(blocks, step, out=np.zeros_like(blocks), where=step > 0)
    return np.rint(numbers).clip(-most, most)


def only_found(compute: Callable[..., Any]) -> Callable[..., Any]:
    """A converter's function for steps and integers of one weight, which leaves a weight that does not consist of them.

    Args:
        compute: Of a weight, a type, a scheme, and the sides of the blocks with a step of their own; gives integers,
            steps, and something else, or None for a weight that stays as it is. Its integers and steps are replaced:
            Apple's passes widen ranges by 1e-6, with which small channels would have other steps than they consist of.
    """

    def call(weight: Any, kind: Any, scheme: Any, sides: Any, *more: Any) -> Any:
        found = compute(weight, kind, scheme, sides, *more)
        if found is None:
            return None
        integers, steps, rest = found
        most = (1 << kind.get_bitwidth() - 1) - 1
        blocks = weight.astype(np.float64).reshape(
            [side for own, count in zip(weight.shape, steps.shape, strict=True) for side in (count, own // count)]
        )
        largest = np.abs(blocks).max(tuple(range(1, blocks.ndim, 2)), keepdims=True)
        step = (largest / most).astype(weight.dtype).astype(np.float64)
        numbers = _numbers(blocks, step, most)
        # What is rounded to 0 beside a large element was not 0 before.
        near = np.abs(blocks - numbers * step) <= _FOUND * np.abs(numbers * step)
        if near.mean() <= _NEARLY_ALL:
            return None
        step = step.reshape(steps.shape)
        return (
            numbers.reshape(weight.shape).astype(integers.dtype),
            np.where(step > 0, step, steps).astype(steps.dtype),
            rest,
        )

    return call


def warn_of_others(job: TowerJob, module: Any, more: Mapping[str, int], reduced: int) -> None:
    """Say how much stays in float16 beside what was chosen, where a converter changed weights that were set.

    Args:
        job: Whose report hears it.
        module: The tower in its exported form.
        more: The bits of the weights that have more than the precision, from :func:`choose_bits`.
        reduced: Elements that the file has in fewer bits.
    """
    sizes = {name: weight.numel() for name, weight in large_weights(module).items() if more.get(name) != _HALF}
    left = sum(sizes.values()) - reduced
    if left > (1 - _NEARLY_ALL) * sum(sizes.values()):
        what = f"{job.options.format} {job.options.row.name}"
        job.options.report(f"warning: {left:,} elements of the {job.tower} tower stay in float16 as {what}: the "
                           "converter changed these weights, and their palettes or steps were lost.")  # fmt: skip


def in_half(weight: Tensor) -> Tensor:
    """A weight in float16, or as it is where its values leave float16's range; converters keep those in float32."""
    half = weight.half()
    return half if float((half.float() - weight).norm()) <= HALF_ROUNDING * float(weight.norm()) else weight


class _Calls(TorchFunctionMode):
    """Counts the calls that read each tensor and compute another; tensors that are asked for must outlive the count."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: Counter[int] = Counter()

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute, and count; shapes and sizes are not computed from values."""
        result = function(*args, **(kwargs or {}))
        made = {id(each) for each in tree_leaves(result) if isinstance(each, Tensor)}
        if made:
            given = {id(each) for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)}
            self.readers.update(given)
            for number in made - given:  # it was another tensor's, which is gone
                del self.readers[number]
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


class ReducedTower(MixedTower):
    """A tower whose weights have fewer bits, executed by torch.

    Args:
        row: The precision.
        module: The tower in its exported form; it is copied.
        rows: Inputs of the kind that the model will meet.
        channels: See :func:`choose_bits`.
    """

    kinds = ("8 bits", "float16")

    def __init__(self, row: Precision, module: Any, rows: Pixels | Ids, channels: int) -> None:
        super().__init__(row, rows)
        self._module, self._channels = copy.deepcopy(module), channels
        fold_batch_norms(self._module)
        self._weights = large_weights(self._module)
        self._whole = {name: weight.detach().clone() for name, weight in self._weights.items()}
        self._reduced: dict[tuple[str, int], Tensor] = {}
        self._current = dict.fromkeys(self._weights, 0)

    @property
    def products(self) -> dict[str, tuple[str, str]]:
        """The weights, each with the kind of module that holds it."""
        kinds = {name: type(self._module.get_submodule(name.rpartition(".")[0])).__name__ for name in self._weights}
        return {name: (kind, name) for name, kind in kinds.items()}

    def form(self, kept: Collection[Sensitivity], *, trial: bool = False) -> dict[str, int]:
        """The bits of each weight."""
        in_half = {entry.node for entry in kept if entry.bits == 8}
        in_eight, bits = {entry.node for entry in kept}, self.row.weight_bits
        return {
            name: _HALF if name in in_half else 8 if name in in_eight or not self.has_fewer(name) else bits
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

    def has_fewer(self, product: str) -> bool:
        """See :meth:`MixedTower.has_fewer`: blocks of a channel's inputs are whole ones."""
        in_blocks = self.mixes and not self.row.name.startswith("palette")
        weight = self._whole[product]
        return self.mixes and not (in_blocks and weight.transpose(0, self._axis(product)).shape[1] % BLOCK)

    def worth(self, entry: Sensitivity) -> float:
        """Loss by bit: a vocabulary has half of a text tower's weights, and would decide the size alone."""
        more = (_HALF if entry.bits == 8 else 8) - entry.bits
        return entry.loss / (self._whole[entry.node].numel() * more)

    def size(self, form: dict[str, int]) -> int:
        """Bytes of the weights with their palettes or scales."""
        return sum(self._whole[name].numel() * bits // 8 + self._more_bytes(name, bits) for name, bits in form.items())

    def _more_bytes(self, name: str, bits: int) -> int:
        weight = self._whole[name]
        if bits == _HALF:
            return 0
        scales: int = weight.shape[self._axis(name)] if bits == 8 else weight.numel() // BLOCK
        if self.row.name.startswith("palette"):
            return palette_count(len(weight), bits, self._channels) * (2 << bits)
        return 2 * scales

    def _axis(self, name: str) -> int:
        return channel_axis(self._module, name)

    def _stored(self, name: str, bits: int) -> Tensor:
        if (name, bits) not in self._reduced:
            made = stored(self._whole[name], self.row, bits, axis=self._axis(name), channels=self._channels)
            self._reduced[name, bits] = in_half(made)
        return self._reduced[name, bits]
