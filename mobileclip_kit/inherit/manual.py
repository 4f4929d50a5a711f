"""Manual inheritance (TinyCLIP, arXiv 2309.12314): a smaller tower starts from some of its teacher's channels.

Layers are taken at an even stride, of each tensor the leading channels, or those that weigh most: which channels lead
is chance, and a student much narrower than its teacher starts nearer to it from the heaviest. Query, key and value are
cut head by head: whole heads, and of each the leading places where the student's heads are narrower (the paper keeps
the teacher's head width; cutting heads too is ours, for students like ``vit-s6-h12`` whose heads are half as wide).
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from mobileclip_kit.errors import ModelError
from mobileclip_kit.inherit import Choice
from mobileclip_kit.inherit.layout import Layout, layout_of
from mobileclip_kit.inherit.tower_axes import LOW_RANK, PROJECTION, Axis
from mobileclip_kit.networks.conv_tower import ConvTower
from mobileclip_kit.networks.families import image_tower
from mobileclip_kit.networks.hybrid_tower import HybridTower
from mobileclip_kit.spec import Tower, tower_of

_LAYER = re.compile(r"(.*resblocks|.*stages\.\d+|.*trunk\.blocks)\.(\d+)\.(.+)")
_STAGES = "visual.trunk.stages."
_HINT = "A student inherits from a teacher of the same kind that is at least as wide and deep."


def inherit_channels(
    student: nn.Module, teacher: nn.Module, towers: Sequence[Tower] = ("image",), *, choice: Choice = "leading"
) -> int:
    """Fill a student's towers with channels of its teacher's.

    Args:
        student: An open_clip model, changed in place.
        teacher: An open_clip model whose towers are of the same kinds, at least as wide and as deep.
        towers: Which towers inherit.
        choice: Which channels and heads: the leading ones, or the heaviest, see :func:`heaviest_units`. ``fitted``
            takes the heaviest too, see :mod:`mobileclip_kit.inherit.reconstruction`. The convolutional stages of a
            hybrid tower take the leading ones.

    Returns:
        How many tensors were inherited: all of these towers', or the convolutional stages alone where a hybrid tower
        inherits from a convolutional one.

    Raises:
        ModelError: A tower is of a kind that cannot be cut, or of another kind than the teacher's; a tensor is missing
            in the teacher or narrower there; the teacher's head width is no multiple of the student's.
    """
    if towers == ("image",) and _is_hybrid(student) and not _is_hybrid(teacher):
        return _inherit_stages(student, teacher)
    state, wide = student.state_dict(), teacher.state_dict()
    small, large = _layouts(student, teacher, wide)
    for tower in towers:
        _check_kinds(tower, small, large)
    depths = {"student": _depths(state), "teacher": _depths(wide)}
    cut = _Cut(small, large, wide, choice)
    factors = _low_rank_head(cut, state, wide) if "image" in towers else {}
    inherited = dict(factors)
    for name, own in state.items():
        if tower_of(name) not in towers:
            continue
        if name not in factors:
            inherited[name] = cut.source(name, own, _source_name(name, depths))
    student.load_state_dict(inherited, strict=False)
    return len(inherited)


def kept_units(student: nn.Module, teacher: nn.Module, choice: Choice) -> dict[str, Tensor]:
    """Group of the image tower → the teacher's units that :func:`inherit_channels` takes."""
    wide = teacher.state_dict()
    small, large = _layouts(student, teacher, wide)
    cut = _Cut(small, large, wide, choice)
    return {group: cut.chosen(group, count) for group, count in small.groups.items()
            if group.startswith("image.")}  # fmt: skip


def _layouts(student: nn.Module, teacher: nn.Module, wide: dict[str, Tensor]) -> tuple[Layout, Layout]:
    """The student's layout, and the teacher's with a head that sees the student's cells, also among its tensors."""
    small, large = layout_of(student), layout_of(teacher)
    return small, _merge_cells(image_tower(student), image_tower(teacher), large, wide)


def _low_rank_head(cut: _Cut, state: dict[str, Tensor], wide: dict[str, Tensor]) -> dict[str, Tensor]:
    """A head of two matrices whose product is nearest to the kept part of the teacher's one; nothing for others."""
    if LOW_RANK not in state or LOW_RANK in wide:
        return {}
    first, second = state[LOW_RANK], state[PROJECTION]
    head = cut.source(LOW_RANK, second.new_empty(len(second), first.shape[1]), PROJECTION)
    left, values, right = torch.linalg.svd(head, full_matrices=False)
    rank = min(len(first), len(values))  # what a larger one has beside stays random, and is multiplied by 0
    first, second = first.clone(), torch.zeros_like(second)
    first[:rank], second[:, :rank] = values[:rank, None] * right[:rank], left[:, :rank]
    return {LOW_RANK: first, PROJECTION: second}


def _merge_cells(student: Any, teacher: Any, large: Layout, wide: dict[str, Tensor]) -> Layout:
    """Bring the teacher's head to the cells that the student's sees: the weight of a mean is the sum of its places'.

    Args:
        student: The image tower.
        teacher: Its one.
        large: The teacher's layout.
        wide: Its tensors; the head's is replaced.

    Returns:
        The layout with the new head.
    """
    ours, theirs = (getattr(each, "trunk", None) for each in (student, teacher))
    if not isinstance(ours, ConvTower) or not isinstance(theirs, ConvTower) or ours.cell <= theirs.cell:
        return large
    name = LOW_RANK if theirs.rank else PROJECTION
    made, channel = large.axes[name]
    assert channel is not None
    head = wide[name].reshape(len(wide[name]), -1, channel.block)  # (made, channels, places and what follows them)
    places = channel.block - theirs.pooled - theirs.products
    side, merged = math.isqrt(places), ours.cell // theirs.cell
    cells = (side // merged, merged, side // merged, merged)
    grid = head[:, :, :places].reshape(*head.shape[:2], *cells).sum(dim=(3, 5)).flatten(2)
    head = torch.cat([grid, head[:, :, places:]], dim=2)
    wide[name] = head.flatten(1)
    return replace(large, axes={**large.axes, name: (made, replace(channel, block=head.shape[2]))})


def _inherit_stages(student: nn.Module, teacher: nn.Module) -> int:
    """The leading channels of the convolutional stages, layer by layer from the first; blocks and head start anew."""
    own, wide = student.state_dict(), teacher.state_dict()
    inherited = {name: tensor for name, tensor in own.items() if name.startswith(_STAGES)}
    for name, tensor in inherited.items():
        source = wide.get(name)
        if source is None or any(there < here for here, there in zip(tensor.shape, source.shape, strict=True)):
            found = "is missing" if source is None else f"is {tuple(source.shape)}"
            raise ModelError(
                f"The teacher's {name} {found}; the student needs {tuple(tensor.shape)} of it.",
                hint="A hybrid tower inherits from our convolutional tower, at least as wide and deep stage by stage.",
            )
        inherited[name] = source[tuple(slice(size) for size in tensor.shape)].clone()
    student.load_state_dict(inherited, strict=False)
    return len(inherited)


def _is_hybrid(network: Any) -> bool:
    return isinstance(getattr(image_tower(network), "trunk", None), HybridTower)


def _check_kinds(tower: Tower, small: Layout, large: Layout) -> None:
    for who, layout in (("student", small), ("teacher", large)):
        if tower not in layout.towers:
            raise ModelError(
                f"The {who}'s {tower} tower is of a kind whose weights cannot be cut.",
                hint="open_clip's ViT and text transformer and our convolutional tower can. Leave --inherit out, or "
                "take a recipe without inherit.",
            )


def _depths(names: Collection[str]) -> dict[str, int]:
    """Layers below each prefix that layers are counted under."""
    depths: dict[str, int] = {}
    for name in names:
        if found := _LAYER.match(name):
            depths[found[1]] = max(depths.get(found[1], 0), int(found[2]) + 1)
    return depths


def _source_name(name: str, depths: dict[str, dict[str, int]]) -> str:
    """The teacher's name of a student's tensor: layers lie at an even stride, the first taken from the first."""
    there = _other_prefix(name, depths["teacher"])
    found = _LAYER.match(there)
    if found is None:
        return there
    ours = _LAYER.match(name)
    assert ours is not None
    own, theirs = depths["student"][ours[1]], depths["teacher"].get(found[1], 0)
    if theirs < own:
        raise ModelError(f"The student has {own} layers below {ours[1]}, the teacher {theirs}.", hint=_HINT)
    return f"{found[1]}.{int(found[2]) * theirs // own}.{found[3]}"


def _other_prefix(name: str, teacher: dict[str, int]) -> str:
    """CLIP and CustomTextCLIP name the text tower's parts with and without ``text.``."""
    nested = any(prefix.startswith("text.") for prefix in teacher)
    if tower_of(name) == "image" or name.startswith("text.") == nested:
        return name
    return f"text.{name}" if nested else name.removeprefix("text.")


class _Cut:
    """What a student's tensors take of its teacher's."""

    def __init__(self, small: Layout, large: Layout, wide: dict[str, Tensor], choice: Choice) -> None:
        self._small, self._large, self._wide, self._choice = small, large, wide, choice
        self._units: dict[str, Tensor] = {}

    def source(self, name: str, own: Tensor, source: str) -> Tensor:
        """The part of the teacher's tensor ``source`` that becomes the student's ``name``."""
        tensor = self._wide.get(source)
        if tensor is None or tensor.ndim != own.ndim:
            raise ModelError(f"The teacher has no {source} for the student's {name}.", hint=_HINT)
        ours, theirs = self._small.axes.get(name, ()), self._large.axes.get(source, ())
        if len(ours) != len(theirs):
            raise ModelError(
                f"The teacher's {source} belongs to another kind of tower than the student's {name}.", hint=_HINT
            )
        for dimension in range(own.ndim):
            here, there = (ours[dimension], theirs[dimension]) if ours else (None, None)
            if here is not None and there is not None:
                places = self._places(name, here, there)
            else:
                places = _whole(name, dimension, own, tensor)
            tensor = tensor.index_select(dimension, places) if tensor.ndim else tensor
        return tensor.clone()

    def _places(self, name: str, here: Axis, there: Axis) -> Tensor:
        own, theirs = self._small.groups[here.group], self._large.groups[there.group]
        if own > theirs:
            raise ModelError(
                f"The student's {here.group} are {own}, wider than the teacher's {theirs} ({name}).", hint=_HINT
            )
        if here.block != there.block and here.group.endswith("heads") and there.block % here.block:
            raise ModelError(
                f"The student's heads are {here.block} wide, which does not divide the teacher's {there.block} "
                f"({name}).",
                hint=f"Give the student heads of {there.block}, or of a width that divides it.",
            )
        if here.block != there.block and not here.group.endswith("heads"):
            raise ModelError(f"The teacher's {name} belongs to another image size than the student's.", hint=_HINT)
        return there.places(self.chosen(there.group, own), theirs, block=here.block)

    def chosen(self, group: str, count: int) -> Tensor:
        """The teacher's units that the student gets; the same for every tensor that has them."""
        if self._choice == "leading":
            return torch.arange(count)
        if group not in self._units:
            self._units[group] = heaviest_units(self._large, self._wide, group, count)
        return self._units[group]


def _whole(name: str, dimension: int, own: Tensor, tensor: Tensor) -> Tensor:
    """All places of a dimension that no group is behind; of a text's positions the leading ones."""
    length, theirs = own.shape[dimension], tensor.shape[dimension]
    shorter_texts = name.endswith("positional_embedding") and not name.startswith("visual.") and length < theirs
    if length != theirs and not shorter_texts:
        raise ModelError(
            f"The teacher's {name} is {tuple(tensor.shape)}; the student needs {tuple(own.shape)} of it.",
            hint="Image size, patch size, vocabulary and the vectors' width must be the teacher's.",
        )
    return torch.arange(length)


def heaviest_units(layout: Layout, state: Mapping[str, Tensor], group: str, count: int) -> Tensor:
    """The numbers of a group's heaviest units, rising: the sum of their squared weights, as in magnitude pruning.

    Magnitude pruning (arXiv 1608.08710) ranks the filters of one layer by their own norms. A unit here is read and
    written by several tensors; each tensor gets one vote: the unit's share of its squared weights.

    Args:
        layout: Of the network that ``state`` is of.
        state: Its tensors. Biases and running statistics have no vote: they say nothing of how much a unit is used.
        group: One of the layout's.
        count: How many, at most the group's units.
    """
    units = layout.groups[group]
    weight = torch.zeros(units)
    for name, axes in layout.axes.items():
        if name not in state or name.endswith("bias") or ".running_" in name:
            continue
        for dimension, axis in enumerate(axes):
            if axis is not None and axis.group == group:
                squares = state[name].float().square().transpose(0, dimension).reshape(state[name].shape[dimension], -1)
                own = squares.sum(dim=1).reshape(axis.copies, units, axis.block).sum(dim=(0, 2))  # (units,)
                own = own.cpu()
                weight += own / own.sum().clamp_min(torch.finfo(torch.float32).tiny)
    return weight.topk(count).indices.sort().values
