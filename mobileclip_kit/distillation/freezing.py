"""Parts of a network that keep the weights they start with.

A student that inherits its teacher's first stages needs not learn them again, and no gradient has to travel back
through them, where the images are largest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from mobileclip_kit.errors import UsageError


def freeze(modules: Mapping[str, nn.Module], names: Sequence[str]) -> tuple[nn.Module, ...]:
    """Take parts out of the training.

    Args:
        modules: What is trained; ``network`` holds the parts.
        names: Of parts of the network, such as ``visual.trunk.stages.0``.

    Returns:
        The parts, for :func:`hold`.

    Raises:
        UsageError: The network has no such part, or nothing is left to train.
    """
    if not names:
        return ()
    known = dict(modules["network"].named_modules())
    missing = [name for name in names if name not in known]
    if missing:
        raise UsageError(f"The network has no part named {', '.join(missing)} to freeze.")
    parts = tuple(known[name] for name in names)
    for part in parts:
        part.requires_grad_(False)
    if not any(parameter.requires_grad for module in modules.values() for parameter in module.parameters()):
        raise UsageError(f"With {', '.join(names)} frozen, nothing is left to train.")
    return parts


def hold(parts: Sequence[nn.Module]) -> None:
    """Keep the running means of frozen parts as they are while the rest is in train mode."""
    for part in parts:
        part.eval()
