"""Masks, and the plain models that are left of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch

from mobileclip_kit.errors import ModelError
from mobileclip_kit.inherit.gates import Gates
from mobileclip_kit.inherit.layout import layout_of
from mobileclip_kit.inherit.masks import GatedNorm, masked
from mobileclip_kit.inherit.prune import prune
from mobileclip_kit.networks.model import build_network, describe, load_model, save_model, tower_parameters
from tests.inherit.networks import (
    CONV,
    HYBRID,
    HYBRID_PRODUCTS,
    LOW_RANK,
    POOLED,
    PREPROCESSING,
    PRODUCTS,
    clip,
    clip_config,
    conv_clip,
    inputs,
    shaken,
    uneven_choice,
)

# What the issue promises; these towers reach a hundredth of it.
EQUAL = 1e-4


def outputs(network: Any, size: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    images, ids = inputs(size)
    with torch.no_grad():
        return network.encode_image(images), network.encode_text(ids)


def build(kind: str) -> tuple[Any, dict[str, Any], int]:
    more: dict[str, Any] = {"quick_gelu": kind == "quick", "custom_text": kind == "custom"}
    towers = {"conv": CONV, "pooled": POOLED, "products": PRODUCTS, "low rank": LOW_RANK,
              "hybrid": HYBRID, "hybrid products": HYBRID_PRODUCTS}  # fmt: skip
    config = clip_config(**more) | ({"vision_cfg": towers[kind]} if kind in towers else {})
    if kind == "scaled":
        config["vision_cfg"]["ls_init_value"] = 0.1
        config["text_cfg"]["proj_bias"] = True
    torch.manual_seed(0)
    network = shaken(build_network(config), seed=3)
    return network, {"model_cfg": config, "preprocess_cfg": PREPROCESSING}, 64 if kind in towers else 32


@pytest.mark.parametrize(
    "kind",
    ["plain", "quick", "custom", "scaled", "conv", "pooled", "products", "low rank", "hybrid", "hybrid products"],
)
def test_pruned_network_computes_what_the_masked_one_did(kind: str) -> None:
    network, config, size = build(kind)
    before = outputs(network, size)
    layout = layout_of(network)
    gates, kept = Gates(layout.groups), uneven_choice(layout, seed=1)
    with masked(network, layout, gates):
        assert all(torch.allclose(a, b, atol=EQUAL) for a, b in zip(outputs(network, size), before, strict=True))
        gates.keep(kept)
        wanted = outputs(network, size)
    small, smaller = prune(network, config, layout, kept)
    for got, expected, whole in zip(outputs(small, size), wanted, before, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=EQUAL)  # some of these vectors are tens long
        assert not torch.allclose(got, whole, atol=0.1), "something was cut away"
    assert sum(tower_parameters(small).values()) == layout.parameters({name: len(row) for name, row in kept.items()})
    assert sum(tower_parameters(build_network(smaller["model_cfg"])).values()) == sum(tower_parameters(small).values())
    assert all(torch.equal(a, b) for a, b in zip(outputs(network, size), before, strict=True)), "it stays as it was"


def test_pruned_networks_are_pruned_again() -> None:
    """Stages: what is left of one is the start of the next."""
    network, config, _ = build("plain")
    first = layout_of(network)
    small, smaller = prune(network, config, first, uneven_choice(first, seed=1))
    layout = layout_of(small)
    gates, kept = Gates(layout.groups), uneven_choice(layout, seed=2)
    with masked(small, layout, gates):
        gates.keep(kept)
        wanted = outputs(small)
    smallest, _ = prune(small, smaller, layout, kept)
    for got, expected in zip(outputs(smallest), wanted, strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=EQUAL)


def test_closed_channels_count_in_neither_mean_nor_variance() -> None:
    """Channels 1, 3 and 5 are open: (1 + 3 + 5) / 3 = 3, variance 8/3; channel 7 of value 100 is closed."""
    norm = torch.nn.LayerNorm(4, eps=0.0)
    gates = Gates({"x.channels": 4})
    gates.keep({"x.channels": torch.tensor([0, 1, 2])})
    got = GatedNorm(norm, gates, "x.channels")(torch.tensor([[1.0, 3.0, 5.0, 100.0]]))
    step = 2.0 / (8.0 / 3.0) ** 0.5
    torch.testing.assert_close(got, torch.tensor([[-step, 0.0, step, 0.0]]))


def test_half_open_channels_count_half() -> None:
    """Gates 1 and ½ on 0 and 3: mean 1, variance (1 + ½ · 4) / 1½ = 2; the output is gated too."""
    gates = Gates({"x.channels": 2})
    gates.values["x.channels"] = torch.tensor([1.0, 0.5])
    got = GatedNorm(torch.nn.LayerNorm(2, eps=0.0), gates, "x.channels")(torch.tensor([[0.0, 3.0]]))
    torch.testing.assert_close(got, torch.tensor([[-1 / 2**0.5, 0.5 * 2 / 2**0.5]]))


def test_gradients_reach_every_gate_and_the_weights_behind_it() -> None:
    network = clip(0)
    layout = layout_of(network)
    gates = Gates(layout.groups)
    for parameter in gates.parameters():
        torch.nn.init.zeros_(parameter)
    names = {name for name, _ in network.named_parameters()}
    with masked(network, layout, gates):
        torch.manual_seed(0)
        gates.draw()
        images, ids = inputs()
        (network.encode_image(images).square().sum() + network.encode_text(ids).square().sum()).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in gates.parameters())
    assert {name for name, _ in network.named_parameters()} == names, "the masks are gone"
    assert network.transformer.resblocks[0].attn.out_proj.weight.grad.abs().sum() > 0


def test_uneven_models_are_saved_and_loaded(tmp_path: Path) -> None:
    network, config, _ = build("plain")
    layout = layout_of(network)
    small, smaller = prune(network, config, layout, uneven_choice(layout, seed=1))
    heads = smaller["model_cfg"]["vision_cfg"]["kept"]["heads"]
    assert len(set(heads)) > 1
    save_model(tmp_path, small, smaller, describe("small", small, smaller))
    again = load_model(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(outputs(again.network), outputs(small), strict=True))
    with pytest.raises(TypeError, match="kept"):
        open_clip.create_model(f"local-dir:{tmp_path}", load_weights=False)


def test_even_models_are_plain_open_clip(tmp_path: Path) -> None:
    """Two heads of eight places in each layer, 16 channels: open_clip's own configuration says that."""
    network, config, _ = build("plain")
    layout = layout_of(network)
    counts = {"image.channels": 16, "text.channels": 8}
    per_layer = {"heads": {"image": 2, "text": 1}, "ffn": {"image": 45, "text": 17}}
    kept = {}
    for name, units in layout.groups.items():
        tower, _, kind = name.partition(".")
        count = counts.get(name) or per_layer[kind.split(".")[1]][tower]
        kept[name] = torch.randperm(units, generator=torch.Generator().manual_seed(5))[:count].sort().values
    small, smaller = prune(network, config, layout, kept)
    assert "kept" not in smaller["model_cfg"]["vision_cfg"] and "kept" not in smaller["model_cfg"]["text_cfg"]
    save_model(tmp_path, small, smaller, describe("small", small, smaller))
    theirs = open_clip.create_model(f"local-dir:{tmp_path}").eval()
    for got, expected in zip(outputs(theirs), outputs(small), strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)
    with masked(network, layout, gates := Gates(layout.groups)):
        gates.keep(kept)
        for got, expected in zip(outputs(theirs), outputs(network), strict=True):
            torch.testing.assert_close(got, expected, rtol=0, atol=EQUAL)


@pytest.mark.parametrize(
    "kept",
    [
        {"head_width": 8, "heads": [1, 2, 3], "ffn": [4, 4, 4, 4]},
        {"head_width": 8, "heads": [1, 2, 3, 0], "ffn": [4, 4, 4, 4]},
        {"heads": [1, 2, 3, 1], "ffn": [4, 4, 4, 4]},
        {"head_width": 8, "heads": [1, 2, 3, 1], "ffn": [4, 4, 4, "4"]},
    ],
)
def test_tables_that_do_not_fit_are_refused(kept: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="table of what was kept"):
        build_network(clip_config({"kept": kept}))


def test_image_only_models_have_no_text_groups() -> None:
    from mobileclip_kit.networks.students import build_student, student_config
    from mobileclip_kit.spec import ImageSpec

    layout = layout_of(build_student(student_config("vit-t4-64", embedding_dim=8, image=ImageSpec()), seed=0))
    assert layout.towers == ("image",)
    assert conv_clip(0) is not None
