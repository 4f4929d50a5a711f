"""Manual weight inheritance (TinyCLIP, arXiv 2309.12314): a narrower tower starts from its teacher's leading channels.

Convolutional towers only. In a transformer the leading rows of query, key and value belong to the first heads, so they
must be cut head by head; that is refused here rather than done wrongly.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mobileclip_kit.errors import ModelError

_ATTENTION = ("in_proj_weight", "qkv.", "q_proj", "attnpool")


def inherit_leading_channels(student: Any, teacher: Any) -> int:
    """Fill a student's image tower with the leading channels of its teacher's.

    Args:
        student: An open_clip model, changed in place.
        teacher: An open_clip model whose image tower has every tensor of the student's, at least as wide.

    Returns:
        How many tensors were inherited: all of the image tower's.

    Raises:
        ModelError: A tensor is missing in the teacher or narrower there, or the towers have attention.
    """
    visual: nn.Module = student.visual
    wide: dict[str, Tensor] = teacher.visual.state_dict()
    inherited = {name: _leading(name, tensor, wide.get(name)) for name, tensor in visual.state_dict().items()}
    visual.load_state_dict(inherited)
    return len(inherited)


def _leading(name: str, own: Tensor, wide: Tensor | None) -> Tensor:
    if any(part in name for part in _ATTENTION):
        raise ModelError(
            f"{name} belongs to attention, whose weights cannot be inherited by leading channels.",
            hint="Inherit between convolutional towers, or leave --inherit out.",
        )
    if wide is None or wide.ndim != own.ndim or any(b < a for a, b in zip(own.shape, wide.shape, strict=True)):
        found = "is missing" if wide is None else f"is {tuple(wide.shape)}"
        raise ModelError(
            f"The teacher's {name} {found}; the student needs {tuple(own.shape)} of it.",
            hint="A student inherits from a teacher of the same kind that is at least as wide and deep.",
        )
    return wide[tuple(slice(size) for size in own.shape)].clone()
