"""RandAugment (arXiv 1909.13719): some operations for each image, drawn from a list, all of one strength.

MobileCLIP varies its reinforced data so (arXiv 2311.17049). The list, and what operations do at full strength, are
torchvision's. Geometry is in shares of the image, so that a stored view can be replayed at another size.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

# Weights of red, green and blue in an image's grey (ITU-R BT.601, as Pillow's mode L).
GREY = (0.299, 0.587, 0.114)
_SHEAR, _SHIFT, _DEGREES, _FACTOR, _BITS = 0.3, 0.453, 30.0, 0.9, 4
# Sharpness mixes with this smoothing, as Pillow's SMOOTH.
_SMOOTH = ((1.0, 1.0, 1.0), (1.0, 5.0, 1.0), (1.0, 1.0, 1.0))


def randaugment(images: Tensor, numbers: Tensor, magnitude: float) -> Tensor:
    """Apply operations to a batch.

    Args:
        images: RGB in 0…1, ``(n, 3, height, width)``.
        numbers: In 0…1, ``(n, 2 · operations)``: each pair chooses an operation and its direction.
        magnitude: Share of each operation's full strength.

    Returns:
        The same shape and range.
    """
    operations = [*OPERATIONS.values()]
    for pair in numbers.reshape(len(images), -1, 2).unbind(1):
        which, direction = pair.unbind(1)
        chosen = (which * len(operations)).long().clamp(max=len(operations) - 1)  # float32 may round up to 1
        signed = torch.where(direction < 0.5, -magnitude, magnitude)
        for number in sorted(set(chosen.tolist())):
            rows = torch.nonzero(chosen == number)[:, 0]
            images = images.index_copy(0, rows, operations[number](images[rows], signed[rows]).clamp(0.0, 1.0))
    return images


def _moved(images: Tensor, *, across: Tensor | float = 0.0, down: Tensor | float = 0.0, skew: Tensor | float = 0.0,
           lean: Tensor | float = 0.0, angle: Tensor | None = None) -> Tensor:  # fmt: skip
    """Affine changes about the centre; what comes from outside is black."""
    zero = torch.zeros(len(images), device=images.device)
    cos, sin = (zero + 1.0, zero) if angle is None else (angle.cos(), angle.sin())
    rows = torch.stack(
        [torch.stack([cos, sin + skew, zero + across], 1), torch.stack([lean - sin, cos, zero + down], 1)], 1
    )
    grid = F.affine_grid(rows, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _mixed(images: Tensor, with_what: Tensor, signed: Tensor) -> Tensor:
    """Nearer to something (a negative strength), or farther from it."""
    return with_what + (images - with_what) * _each(1.0 + _FACTOR * signed)


def _each(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def _grey(images: Tensor) -> Tensor:
    return (images * torch.tensor(GREY, device=images.device).view(1, 3, 1, 1)).sum(1, keepdim=True)


def _smoothed(images: Tensor) -> Tensor:
    kernel = torch.tensor(_SMOOTH, device=images.device)
    weights = (kernel / kernel.sum()).expand(3, 1, 3, 3)
    return F.conv2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), weights, groups=3)


def _posterized(images: Tensor, signed: Tensor) -> Tensor:
    step = _each(2.0 ** (_BITS * signed.abs()).round())
    return (images * 255.0 / step).floor() * step / 255.0


def _solarized(images: Tensor, signed: Tensor) -> Tensor:
    return torch.where(images >= _each(1.0 - signed.abs()), 1.0 - images, images)


def _stretched(images: Tensor, _: Tensor) -> Tensor:
    """Each channel from 0 to 1; a channel of one value stays."""
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    return torch.where(high > low, (images - low) / (high - low).clamp(min=1e-6), images)


def _equalized(images: Tensor, _: Tensor) -> Tensor:
    """Each channel's 256 values equally often, as far as they can be; a channel of one value stays."""
    values = (images * 255.0).round().long().clamp(0, 255).flatten(2)  # (n, 3, places)
    counts = torch.zeros(*values.shape[:2], 256, device=images.device).scatter_add_(
        2, values, torch.ones_like(values, dtype=torch.float32)
    )
    below = counts.cumsum(2) - counts
    last = counts.gather(2, values.amax(2, keepdim=True))
    spread = below / (values.shape[2] - last).clamp(min=1.0)
    return torch.where((last < values.shape[2])[..., None], spread.gather(2, values).view_as(images), images)


Operation = Callable[[Tensor, Tensor], Tensor]
OPERATIONS: dict[str, Operation] = {
    "identity": lambda images, signed: images,
    "shear x": lambda images, signed: _moved(images, skew=_SHEAR * signed),
    "shear y": lambda images, signed: _moved(images, lean=_SHEAR * signed),
    "translate x": lambda images, signed: _moved(images, across=2.0 * _SHIFT * signed),
    "translate y": lambda images, signed: _moved(images, down=2.0 * _SHIFT * signed),
    "rotate": lambda images, signed: _moved(images, angle=torch.deg2rad(_DEGREES * signed)),
    "brightness": lambda images, signed: images * _each(1.0 + _FACTOR * signed),
    "colour": lambda images, signed: _mixed(images, _grey(images), signed),
    "contrast": lambda images, signed: _mixed(images, _grey(images).mean((2, 3), keepdim=True), signed),
    "sharpness": lambda images, signed: _mixed(images, _smoothed(images), signed),
    "posterize": _posterized,
    "solarize": _solarized,
    "autocontrast": _stretched,
    "equalize": _equalized,
}
