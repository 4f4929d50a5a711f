"""Image towers that timm can build but has no name for. Importing :mod:`mobileclip_kit.networks` registers them.

open_clip finds an image tower by its timm name, so a model folder with one of these loads there after one line::

    import mobileclip_kit.networks
    open_clip.create_model("local-dir:PATH")

``swin_nano`` is LightCLIP's smallest Swin transformer (arXiv 2312.00674): Swin-T (arXiv 2103.14030) at half its width.
``mckit_hybrid`` are the towers of synthetic scenes' teacher and of its students, see
:mod:`mobileclip_kit.networks.hybrid_tower`; ``mckit_conv`` plain convolutional ones, see
:mod:`mobileclip_kit.networks.conv_tower`.
"""

from __future__ import annotations

from typing import Any

from timm.models import SwinTransformer, register_model

from mobileclip_kit.networks.conv_tower import ConvTower
from mobileclip_kit.networks.hybrid_tower import HybridTower

_NANO: dict[str, Any] = {"patch_size": 4, "embed_dim": 48, "depths": (2, 2, 6, 2), "num_heads": (3, 6, 12, 24)}


def _swin_nano(size: int, window: int, options: dict[str, Any]) -> SwinTransformer:
    # timm hands every entry point what concerns pretrained weights; there are none.
    options = {key: value for key, value in options.items() if not key.startswith(("pretrained", "cache_dir"))}
    tower = SwinTransformer(img_size=size, window_size=window, **_NANO, **options)
    # open_clip asks timm models for it.
    tower.default_cfg = {"input_size": (3, size, size), "pool_size": (size // 32, size // 32)}
    return tower


@register_model  # type: ignore[untyped-decorator,unused-ignore]
def swin_nano_patch4_window7_224(pretrained: bool = False, **options: Any) -> SwinTransformer:
    """Swin-Nano for 224 px, random weights."""
    return _swin_nano(224, 7, options)


@register_model  # type: ignore[untyped-decorator,unused-ignore]
def swin_nano_patch4_window4_64(pretrained: bool = False, **options: Any) -> SwinTransformer:
    """Swin-Nano for 64 px: windows of 4 × 4 patches fit its stages of 16, 8 and 4 patches a side."""
    return _swin_nano(64, 4, options)


@register_model  # type: ignore[untyped-decorator,unused-ignore]
def mckit_conv_m_64(pretrained: bool = False, **options: Any) -> ConvTower:
    """A plain convolutional tower, for 64 px."""
    return ConvTower((16, 32, 64, 128), (0, 0, 1, 2), 64)


@register_model  # type: ignore[untyped-decorator,unused-ignore]
def mckit_conv_s_64(pretrained: bool = False, **options: Any) -> ConvTower:
    """A narrower one of less than a third of its parameters, for 64 px."""
    return ConvTower((8, 16, 32, 64), (0, 0, 1, 1), 64)


@register_model  # type: ignore[untyped-decorator,unused-ignore]
def mckit_hybrid_m_64(pretrained: bool = False, **options: Any) -> HybridTower:
    """The synthetic scenes' teacher's tower, for 64 px."""
    return HybridTower((24, 48, 96, 192), (0, 0, 2, 1), layers=4, heads=6, image_size=64)


@register_model  # type: ignore[untyped-decorator,unused-ignore]
def mckit_hybrid_s_64(pretrained: bool = False, **options: Any) -> HybridTower:
    """``mckit_hybrid_x_64`` without products, for 64 px."""
    return HybridTower((16, 32, 64, 112), (0, 0, 1, 0), layers=1, heads=4, image_size=64)


@register_model  # type: ignore[untyped-decorator,unused-ignore]
def mckit_hybrid_x_64(pretrained: bool = False, **options: Any) -> HybridTower:
    """The quickstart's student, less than a third of its teacher's parameters, for 64 px."""
    return HybridTower((16, 32, 64, 112), (0, 0, 1, 0), layers=1, heads=4, image_size=64, products=2)


@register_model  # type: ignore[untyped-decorator,unused-ignore]
def mckit_conv_l_64(pretrained: bool = False, **options: Any) -> ConvTower:
    """``mckit_conv_x_64`` without products, for 64 px."""
    return ConvTower((16, 32, 64, 128), (0, 0, 1, 2), 64, pooled=True)


@register_model  # type: ignore[untyped-decorator,unused-ignore]
def mckit_conv_x_64(pretrained: bool = False, **options: Any) -> ConvTower:
    """The synthetic scenes' teacher's tower, for 64 px."""
    return ConvTower((16, 32, 64, 128), (0, 0, 1, 2), 64, pooled=True, products=4)
