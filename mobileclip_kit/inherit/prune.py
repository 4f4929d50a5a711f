"""Physical pruning: the units that stay, as a plain smaller model that computes what the masked one did."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mobileclip_kit.inherit.layout import Layout
from mobileclip_kit.networks.families import image_tower
from mobileclip_kit.networks.model import build_network
from mobileclip_kit.networks.pruned import KEPT, even_kept
from mobileclip_kit.spec import Tower


def prune(
    network: nn.Module, config: Mapping[str, Any], layout: Layout, kept: Mapping[str, Tensor]
) -> tuple[nn.Module, dict[str, Any]]:
    """Cut a network down to some of its units.

    Args:
        network: An open_clip model without gates; it stays as it is.
        config: Its ``model_cfg`` and ``preprocess_cfg``.
        layout: Its table.
        kept: Group → the numbers of its units that stay.

    Returns:
        The smaller network and its configuration: in open_clip's own words where its layers are even, otherwise with
        tables of what each layer kept (:mod:`mobileclip_kit.networks.pruned`).
    """
    smaller = pruned_config(network, config, layout, kept)
    with torch.random.fork_rng(devices=[]):
        small = build_network(smaller["model_cfg"])
    state = {name: layout.slice(name, tensor, kept) for name, tensor in network.state_dict().items()}
    small.load_state_dict(state)
    return small.eval(), smaller


def pruned_config(
    network: Any, config: Mapping[str, Any], layout: Layout, kept: Mapping[str, Tensor]
) -> dict[str, Any]:
    """The configuration of what :func:`prune` makes."""
    smaller = copy.deepcopy(dict(config))
    for tower in layout.towers:
        name = "vision_cfg" if tower == "image" else "text_cfg"
        section = smaller["model_cfg"][name]
        section[KEPT] = _blocks(tower, layout, kept)
        if "timm_model_name" in section:
            section[KEPT] |= _stages(network, kept)
        else:
            section["width"] = len(kept[f"{tower}.channels"])
            smaller["model_cfg"][name] = even_kept(section)
    return smaller


def _stages(network: Any, kept: Mapping[str, Tensor]) -> dict[str, Any]:
    """How many channels each convolutional stage keeps; a hybrid tower's last stage has the tokens' channels."""
    stages = image_tower(network).trunk.stages
    names = [f"image.{number}.stage" for number in range(len(stages))]
    widths = [len(kept[name] if name in kept else kept["image.channels"]) for name in names]
    return {"widths": widths, "residuals": [len(stage) - 1 for stage in stages]}


def _blocks(tower: Tower, layout: Layout, kept: Mapping[str, Tensor]) -> dict[str, Any]:
    """How many heads and neurons each transformer block of a tower keeps; nothing where there are none."""
    layers = sum(name.startswith(f"{tower}.") and name.endswith(".ffn") for name in layout.groups)
    if not layers:
        return {}
    return {
        "head_width": layout.head_width(tower),
        "heads": [len(kept[f"{tower}.{layer}.heads"]) for layer in range(layers)],
        "ffn": [len(kept[f"{tower}.{layer}.ffn"]) for layer in range(layers)],
    }
