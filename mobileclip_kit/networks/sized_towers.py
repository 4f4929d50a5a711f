"""The built-in world's towers at a half, a quarter and an eighth of their parameters: students to compare by size.

Depth stays, widths shrink, so that each one can also inherit its teacher's leading channels. The shares count the image
tower with its projection to 128 numbers; ``tests/networks/test_students.py`` holds them to 5 %.
"""

from __future__ import annotations

from typing import Any

from timm.models import register_model

from mobileclip_kit.networks.conv_tower import ConvTower
from mobileclip_kit.networks.hybrid_tower import HybridTower

_CONV_BLOCKS = (0, 0, 1, 2)
_HYBRID_BLOCKS = (0, 0, 2, 1)


@register_model  # type: ignore[untyped-decorator,unused-ignore]
def mckit_conv_m_2_64(pretrained: bool = False, **options: Any) -> ConvTower:
    """Half of ``mckit_conv_m_64``."""
    return ConvTower((11, 22, 41, 82), _CONV_BLOCKS, 64)


@register_model  # type: ignore[untyped-decorator,unused-ignore]
def mckit_conv_m_4_64(pretrained: bool = False, **options: Any) -> ConvTower:
    """A quarter of ``mckit_conv_m_64``."""
    return ConvTower((6, 12, 26, 51), _CONV_BLOCKS, 64)


@register_model  # type: ignore[untyped-decorator,unused-ignore]
def mckit_conv_m_8_64(pretrained: bool = False, **options: Any) -> ConvTower:
    """An eighth of ``mckit_conv_m_64``."""
    return ConvTower((4, 8, 15, 30), _CONV_BLOCKS, 64)


@register_model  # type: ignore[untyped-decorator,unused-ignore]
def mckit_hybrid_m_2_64(pretrained: bool = False, **options: Any) -> HybridTower:
    """Half of ``mckit_hybrid_m_64``."""
    return HybridTower((16, 32, 68, 136), _HYBRID_BLOCKS, layers=4, heads=4, image_size=64)


@register_model  # type: ignore[untyped-decorator,unused-ignore]
def mckit_hybrid_m_4_64(pretrained: bool = False, **options: Any) -> HybridTower:
    """A quarter of ``mckit_hybrid_m_64``."""
    return HybridTower((12, 24, 48, 96), _HYBRID_BLOCKS, layers=4, heads=3, image_size=64)


@register_model  # type: ignore[untyped-decorator,unused-ignore]
def mckit_hybrid_m_8_64(pretrained: bool = False, **options: Any) -> HybridTower:
    """An eighth of ``mckit_hybrid_m_64``."""
    return HybridTower((8, 16, 32, 68), _HYBRID_BLOCKS, layers=4, heads=2, image_size=64)
