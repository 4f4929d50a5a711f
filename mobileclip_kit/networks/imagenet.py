"""ImageNet's classes, as open_clip and timm carry them."""

from __future__ import annotations

from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES
from timm.data import ImageNetInfo


def imagenet_names() -> dict[str, str]:
    """The names that CLIP's authors gave ImageNet's 1,000 classes, by synset identifier: ``n01440764`` is a tench."""
    return dict(zip(ImageNetInfo("imagenet-1k").label_names(), IMAGENET_CLASSNAMES, strict=True))
