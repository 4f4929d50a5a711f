"""The Neural Engine's layout computes what open_clip computes, from the same weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from mobileclip_kit.errors import ModelError
from mobileclip_kit.networks.channels_first import (
    ChannelNorm,
    ChannelText,
    ChannelVision,
    linear_as_convolution,
)
from mobileclip_kit.networks.model import build_network

# float32 sums in another order.
CLOSE = {"rtol": 1e-4, "atol": 1e-5}
VISION: dict[str, Any] = {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8}
TEXT: dict[str, Any] = {"context_length": 9, "vocab_size": 64, "width": 24, "heads": 3, "layers": 2}
END = 63


def network(vision: dict[str, Any] | None = None, text: dict[str, Any] | None = None, **options: Any) -> Any:
    torch.manual_seed(2)
    config = {"embed_dim": 16, "vision_cfg": {**VISION, **(vision or {})}, "text_cfg": {**TEXT, **(text or {})}}
    return build_network({**config, **options}).eval()


@pytest.mark.parametrize(
    "options",
    [{}, {"pool_type": "avg"}, {"no_ln_pre": True}, {"ls_init_value": 0.3}, {"head_width": 8}],
)
def test_vision_equals_its_source(options: dict[str, Any]) -> None:
    source = network(options).visual
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(ChannelVision(source)(images), source(images), **CLOSE)


def test_a_pruned_vision_tower_equals_its_source() -> None:
    source = network({"kept": {"head_width": 16, "heads": [1, 3], "ffn": [40, 24]}}).visual
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(ChannelVision(source)(images), source(images), **CLOSE)


def test_quick_gelu_is_kept() -> None:
    source = network(quick_gelu=True).visual
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(ChannelVision(source)(images), source(images), **CLOSE)


def token_rows() -> torch.Tensor:
    """An end token in the middle, at the end, and twice: the first one counts."""
    rows = torch.randint(1, 60, (3, 9), generator=torch.Generator().manual_seed(0))
    rows[0, 4], rows[1, 8], rows[2, 2], rows[2, 6] = END, END, END, END
    return rows


@pytest.mark.parametrize("custom", [True, False])
def test_text_equals_its_source(custom: bool) -> None:
    text = {"pool_type": "eos", "eos_id": END} if custom else {}
    made = network(text=text, custom_text=custom)
    source = made.text if custom else made
    if not custom:
        source.text_pool_type, source.text_eos_id = "eos", END
    holder = source.attn_mask
    source.attn_mask = holder.clamp(min=-1e4)
    rows = token_rows()
    with torch.no_grad():
        wanted = source(rows) if custom else source.encode_text(rows)
        torch.testing.assert_close(ChannelText(source)(rows), wanted, **CLOSE)


@pytest.mark.parametrize("pool", ["first", "last"])
def test_text_without_a_mask_equals_its_source(pool: str) -> None:
    """SigLIP's text tower looks both ways."""
    source = network(text={"pool_type": pool, "no_causal_mask": True, "proj_bias": True}, custom_text=True).text
    rows = token_rows()
    with torch.no_grad():
        torch.testing.assert_close(ChannelText(source)(rows), source(rows), **CLOSE)


def test_weights_are_mapped_exactly() -> None:
    """The convolution's weights are the linear layer's own, to the bit."""
    source = nn.Linear(5, 7)
    made = linear_as_convolution(source)
    assert torch.equal(made.weight[:, :, 0, 0], source.weight)
    assert made.bias is not None
    assert torch.equal(made.bias, source.bias)


def test_norm_over_channels() -> None:
    source = nn.LayerNorm(12)
    nn.init.normal_(source.weight)
    nn.init.normal_(source.bias)
    x = torch.randn(2, 5, 12)
    moved = x.transpose(1, 2).unsqueeze(2)  # (n, channels, 1, tokens)
    with torch.no_grad():
        torch.testing.assert_close(ChannelNorm(source)(moved)[:, :, 0].transpose(1, 2), source(x), **CLOSE)


@pytest.mark.parametrize(
    ("vision", "text", "what"),
    [
        ({"attentional_pool": True, "attn_pooler_heads": 2}, None, "VisionTransformer"),
        ({"timm_model_name": "resnet18", "timm_pool": "avg", "timm_proj": "linear"}, None, "TimmModel"),
        (None, {"embed_cls": True}, "TextTransformer"),
    ],
)
def test_other_towers_are_refused_by_name(vision: Any, text: Any, what: str) -> None:
    made = network(vision, text, custom_text=True)
    with pytest.raises(ModelError, match=f"this {what} is another tower"):
        (ChannelVision(made.visual) if vision else ChannelText(made.text))
