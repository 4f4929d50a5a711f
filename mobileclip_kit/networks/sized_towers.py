"""``conv-l`` and ``conv-x``, the bundled teacher's, at a half, a quarter and an eighth of their parameters.

Students to compare by size. Depth stays and widths shrink, so that each one can also inherit from its teacher. The
first two stages keep their width: they have 1 % of the parameters, and all that later stages see passes them. The
shares count the image tower with its projection to 256 numbers, the teacher's; ``tests/networks/test_students.py``
holds them to 5 %.
"""

from __future__ import annotations

from typing import Any

from timm.models import register_model

from mobileclip_kit.networks.conv_tower import ConvTower

_RESIDUALS = (0, 0, 1, 2)


@register_model  # type: ignore[untyped-decorator,unused-ignore]
def mckit_conv_l_2_64(pretrained: bool = False, **options: Any) -> ConvTower:
    """Half of ``mckit_conv_l_64``."""
    return ConvTower((16, 32, 48, 74), _RESIDUALS, 64, pooled=True)


@register_model  # type: ignore[untyped-decorator,unused-ignore]
def mckit_conv_l_4_64(pretrained: bool = False, **options: Any) -> ConvTower:
    """A quarter of ``mckit_conv_l_64``."""
    return ConvTower((16, 32, 40, 40), _RESIDUALS, 64, pooled=True)


@register_model  # type: ignore[untyped-decorator,unused-ignore]
def mckit_conv_l_8_64(pretrained: bool = False, **options: Any) -> ConvTower:
    """An eighth of ``mckit_conv_l_64``."""
    return ConvTower((16, 32, 24, 21), _RESIDUALS, 64, pooled=True)


@register_model  # type: ignore[untyped-decorator,unused-ignore]
def mckit_conv_x_2_64(pretrained: bool = False, **options: Any) -> ConvTower:
    """Half of ``mckit_conv_x_64``."""
    return ConvTower((16, 32, 48, 74), _RESIDUALS, 64, pooled=True, products=4)


@register_model  # type: ignore[untyped-decorator,unused-ignore]
def mckit_conv_x_4_64(pretrained: bool = False, **options: Any) -> ConvTower:
    """A quarter of ``mckit_conv_x_64``."""
    return ConvTower((16, 32, 40, 40), _RESIDUALS, 64, pooled=True, products=4)


@register_model  # type: ignore[untyped-decorator,unused-ignore]
def mckit_conv_x_8_64(pretrained: bool = False, **options: Any) -> ConvTower:
    """An eighth of ``mckit_conv_x_64``."""
    return ConvTower((16, 32, 24, 21), _RESIDUALS, 64, pooled=True, products=4)
