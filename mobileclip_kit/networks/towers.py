"""Image towers that timm can build but has no name for. Importing :mod:`mobileclip_kit.networks` registers them.

open_clip finds an image tower by its timm name, so a model folder with one of these loads there after one line::

    import mobileclip_kit.networks
    open_clip.create_model("local-dir:PATH")

``swin_nano`` is LightCLIP's smallest Swin transformer (arXiv 2312.00674): Swin-T (arXiv 2103.14030) at half its width;
for 64 px, windows of 4 × 4 patches fit its stages of 16, 8 and 4 patches a side.
``mckit_hybrid`` are towers of the synthetic scenes' students, see :mod:`mobileclip_kit.networks.hybrid_tower`;
``mckit_conv`` plain convolutional ones, see :mod:`mobileclip_kit.networks.conv_tower`. ``mckit_conv_x_64`` is the
bundled teacher's, ``mckit_conv_x_4m_64`` the quickstart's student's; ``conv_l`` and ``hybrid_s`` are the same without
products of channels.

``mckit_stages_`` before a backbone's name of timm reads several of its stages, see
:mod:`mobileclip_kit.networks.stage_features`.

``conv_l`` and ``conv_x`` exist at a half, a quarter and an eighth of their parameters (``_2``, ``_4``, ``_8``), as
students to compare by size. Depth stays and widths shrink, so that each one can also inherit from its teacher. The
first two stages keep their width: they have 1 % of the parameters, and all that later stages see passes them. The
shares count the image tower with its projection to 256 numbers, the teacher's; ``tests/networks/test_students.py``
holds them to 5 %.
``conv_x_4m`` has as many as ``conv_x_4``, fewer of them in its head, which sees the means of 2 × 2 places and is of
rank 128: all of its teacher's first three stages have room, and more of the last one. With the teacher's own last grid,
such a head comes nearer to its vectors than one of rank 64 that sees all places and has as many parameters:
``conv_x_4r``, which is here for the models that older versions made of it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from timm.models import SwinTransformer, register_model
from torch import nn

from mobileclip_kit.networks.conv_tower import ConvTower
from mobileclip_kit.networks.hybrid_tower import HybridTower
from mobileclip_kit.networks.stage_features import BACKBONES, PREFIX, StageFeatures

# One number for each stage.
Four = tuple[int, int, int, int]
_NANO: dict[str, Any] = {"patch_size": 4, "embed_dim": 48, "depths": (2, 2, 6, 2), "num_heads": (3, 6, 12, 24)}


def _without_pretrained(options: dict[str, Any]) -> dict[str, Any]:
    """Timm hands every entry point what concerns pretrained weights; there are none."""
    return {key: value for key, value in options.items() if not key.startswith(("pretrained", "cache_dir"))}


def _swin_nano(size: int, window: int, **options: Any) -> SwinTransformer:
    options = _without_pretrained(options)
    tower = SwinTransformer(img_size=size, window_size=window, **_NANO, **options)
    # open_clip asks timm models for it.
    tower.default_cfg = {"input_size": (3, size, size), "pool_size": (size // 32, size // 32)}
    return tower


def _conv(widths: Four, residuals: Four = (0, 0, 1, 2), *, pooled: bool = True,
          products: int = 0, rank: int = 0, cell: int = 1, **_: Any) -> ConvTower:  # fmt: skip
    return ConvTower(widths, residuals, 64, pooled=pooled, products=products, rank=rank, cell=cell)


def _hybrid(widths: Four, residuals: Four, layers: int, heads: int, *, products: int = 0,
            **_: Any) -> HybridTower:  # fmt: skip
    return HybridTower(widths, residuals, layers=layers, heads=heads, image_size=64, products=products)


def _stages(name: str, **options: Any) -> StageFeatures:
    return StageFeatures(name, **_without_pretrained(options))


TOWERS: dict[str, Callable[..., nn.Module]] = {
    "swin_nano_patch4_window7_224": partial(_swin_nano, 224, 7),
    "swin_nano_patch4_window4_64": partial(_swin_nano, 64, 4),
    "mckit_conv_m_64": partial(_conv, (16, 32, 64, 128), pooled=False),
    "mckit_conv_s_64": partial(_conv, (8, 16, 32, 64), (0, 0, 1, 1), pooled=False),
    "mckit_conv_l_64": partial(_conv, (16, 32, 64, 128)),
    "mckit_conv_l_2_64": partial(_conv, (16, 32, 48, 74)),
    "mckit_conv_l_4_64": partial(_conv, (16, 32, 40, 40)),
    "mckit_conv_l_8_64": partial(_conv, (16, 32, 24, 21)),
    "mckit_conv_x_64": partial(_conv, (16, 32, 64, 128), products=4),
    "mckit_conv_x_2_64": partial(_conv, (16, 32, 48, 74), products=4),
    "mckit_conv_x_4_64": partial(_conv, (16, 32, 40, 40), products=4),
    "mckit_conv_x_8_64": partial(_conv, (16, 32, 24, 21), products=4),
    "mckit_conv_x_4r_64": partial(_conv, (16, 32, 64, 64), products=4, rank=64),
    "mckit_conv_x_4m_64": partial(_conv, (16, 32, 64, 64), products=4, rank=128, cell=2),
    "mckit_hybrid_m_64": partial(_hybrid, (24, 48, 96, 192), (0, 0, 2, 1), 4, 6),
    "mckit_hybrid_s_64": partial(_hybrid, (16, 32, 64, 112), (0, 0, 1, 0), 1, 4),
    "mckit_hybrid_x_64": partial(_hybrid, (16, 32, 64, 112), (0, 0, 1, 0), 1, 4, products=2),
    **{f"{PREFIX}{name}": partial(_stages, name) for name in BACKBONES},
    # For weights that were trained in TensorFlow, which pads more on the right and below.
    f"{PREFIX}mobilenetv2_100_same": partial(_stages, "mobilenetv2_100", pad_type="same"),
}


def _register(name: str, build: Callable[..., nn.Module]) -> None:
    def entry(pretrained: bool = False, **options: Any) -> nn.Module:
        return build(**options)

    entry.__name__ = name
    register_model(entry)


for _name, _build in TOWERS.items():
    _register(_name, _build)
