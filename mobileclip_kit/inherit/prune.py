"""Physical pruning: the units that stay, as a plain smaller model that computes what the masked one did."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mobileclip_kit.inherit.layout import Layout
from mobileclip_kit.networks.kept import KEPT, even_kept
from mobileclip_kit.networks.model import build_network


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
        tables of what each layer kept (:mod:`mobileclip_kit.networks.kept`).
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
        if f"{tower}.channels" in kept:
            smaller["model_cfg"][name] = _transformer(section, tower, layout, kept)
        else:
            stages = network.visual.trunk.stages
            widths = [len(kept[f"{tower}.{number}.stage"]) for number in range(len(stages))]
            section[KEPT] = {"widths": widths, "blocks": [len(stage) - 1 for stage in stages]}
    return smaller


def _transformer(section: dict[str, Any], tower: str, layout: Layout, kept: Mapping[str, Tensor]) -> dict[str, Any]:
    layers = section["layers"]
    rows = [axes[1] for name, axes in layout.axes.items() if name.endswith("out_proj.weight") and axes[1] is not None]
    head_width = next(row.block for row in rows if row.group.startswith(f"{tower}."))
    section["width"] = len(kept[f"{tower}.channels"])
    section[KEPT] = {
        "head_width": head_width,
        "heads": [len(kept[f"{tower}.{layer}.heads"]) for layer in range(layers)],
        "ffn": [len(kept[f"{tower}.{layer}.ffn"]) for layer in range(layers)],
    }
    return even_kept(section)
