"""Plainer forms of parts of towers compute what torch and open_clip compute."""

from __future__ import annotations

import copy

import pytest
import torch
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from mobileclip_kit.networks.model import build_network
from mobileclip_kit.networks.plain import (
    ClassTokenBlock,
    PlainAttention,
    fold_normalisation,
    is_plain,
    simplify_tower,
)
from mobileclip_kit.networks.pruned import KeptAttention

# float32 sums in another order.
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def attention(width: int = 24, heads: int = 3, *, bias: bool = True) -> nn.MultiheadAttention:
    torch.manual_seed(0)
    made = nn.MultiheadAttention(width, heads, batch_first=True, bias=bias).eval()
    if bias:
        nn.init.normal_(made.in_proj_bias)
        nn.init.normal_(made.out_proj.bias)
    return made


def causal(tokens: int) -> Tensor:
    return torch.full((tokens, tokens), -1e4).triu(1)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("n", [1, 3])
def test_attention_to_itself_equals_torchs(bias: bool, masked: bool, n: int) -> None:
    source = attention(bias=bias)
    x = torch.randn(n, 7, 24)
    mask = causal(7) if masked else None
    with torch.no_grad():
        wanted = source(x, x, x, need_weights=False, attn_mask=mask)[0]
        torch.testing.assert_close(PlainAttention(source)(x, x, x, attn_mask=mask)[0], wanted, **CLOSE)


def test_fewer_queries_equal_torchs() -> None:
    source = attention()
    x = torch.randn(2, 7, 24)
    with torch.no_grad():
        wanted = source(x[:, :1], x, x, need_weights=False)[0]
        torch.testing.assert_close(PlainAttention(source)(x[:, :1], x, x)[0], wanted, **CLOSE)


def test_a_mask_for_each_head_equals_torchs() -> None:
    """CoCa's text tower masks every head and text by itself."""
    source = attention()
    x = torch.randn(2, 5, 24)
    mask = torch.randn(2 * 3, 5, 5)
    with torch.no_grad():
        wanted = source(x, x, x, need_weights=False, attn_mask=mask)[0]
        torch.testing.assert_close(PlainAttention(source)(x, x, x, attn_mask=mask)[0], wanted, **CLOSE)


@pytest.mark.parametrize(
    "options", [{"batch_first": False}, {"kdim": 12}, {"add_bias_kv": True}, {"add_zero_attn": True}]
)
def test_other_attentions_are_left_alone(options: dict[str, object]) -> None:
    assert not is_plain(nn.MultiheadAttention(24, 3, **{"batch_first": True, **options}))  # type: ignore[arg-type]


@pytest.mark.parametrize("heads", [1, 2, 5])
def test_heads_that_pruning_left_equal_their_source(heads: int) -> None:
    """Two or five heads of 8 are not as wide as the 24 of the tokens; the scale is that of a head."""
    torch.manual_seed(0)
    source = KeptAttention(24, heads, 8).eval()
    x = torch.randn(2, 7, 24)
    with torch.no_grad():
        torch.testing.assert_close(
            PlainAttention(source)(x, x, x, attn_mask=causal(7))[0], source(x, x, x, attn_mask=causal(7))[0], **CLOSE
        )
        # The source attends from all tokens whatever is asked of it; the plain form from those that are asked.
        torch.testing.assert_close(PlainAttention(source)(x[:, :1], x, x)[0], source(x, x, x)[0][:, :1], **CLOSE)


class _OwnAttention(nn.MultiheadAttention):
    """Computes something else under a known name."""

    def forward(self, query: Tensor, *_: Tensor, **__: object) -> tuple[Tensor, None]:  # type: ignore[override]
        return -query, None


def test_a_subclass_of_torchs_attention_is_left_alone() -> None:
    tower = vit()
    tower.transformer.resblocks[-1].attn = _OwnAttention(32, 2, batch_first=True)  # type: ignore[union-attr, index]
    simpler = copy.deepcopy(tower)
    simplify_tower(simpler)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(simpler(images), tower(images), **CLOSE)


def test_a_pruned_tower_equals_its_source() -> None:
    kept = {"head_width": 16, "heads": [1, 3], "ffn": [40, 24]}
    tower = vit(kept=kept)
    simpler = copy.deepcopy(tower)
    simplify_tower(simpler)
    assert isinstance(simpler.transformer.resblocks[-1], ClassTokenBlock)  # type: ignore[union-attr, index]
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(simpler(images), tower(images), **CLOSE)


def vit(**options: object) -> nn.Module:
    torch.manual_seed(1)
    vision = {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16, **options}
    text = {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1}
    network = build_network({"embed_dim": 16, "vision_cfg": vision, "text_cfg": text})
    tower = network.visual
    assert isinstance(tower, VisionTransformer)
    return tower.eval()


@pytest.mark.parametrize(
    ("options", "trimmed"),
    [
        ({}, True),
        ({"final_ln_after_pool": True}, True),
        ({"ls_init_value": 0.3}, True),
        ({"pool_type": "avg"}, False),
        ({"attentional_pool": True, "attn_pooler_heads": 2}, False),
    ],
)
def test_simplified_tower_equals_its_source(options: dict[str, object], trimmed: bool) -> None:
    tower = vit(**options)
    simpler = copy.deepcopy(tower)
    simplify_tower(simpler)
    assert isinstance(simpler.transformer.resblocks[-1], ClassTokenBlock) is trimmed  # type: ignore[union-attr, index]
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(simpler(images), tower(images), **CLOSE)


def test_no_torch_attention_is_left_in_a_vit() -> None:
    tower = vit()
    simplify_tower(tower)
    assert not any(isinstance(part, nn.MultiheadAttention) for part in tower.modules())


def test_normalisation_moves_into_the_first_convolution() -> None:
    tower = vit()
    mean, std = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.25, 0.3])
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        wanted = tower((images - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1))
        assert fold_normalisation(tower, mean, std)
        torch.testing.assert_close(tower(images), wanted, **CLOSE)


def test_a_padded_convolution_keeps_its_normalisation_outside() -> None:
    """Zeros around a normalised image are no zeros around a raw one."""
    tower = vit()
    tower.conv1 = nn.Conv2d(3, 32, 16, 16, padding=1)
    before = copy.deepcopy(tower.conv1.state_dict())
    assert not fold_normalisation(tower, torch.zeros(3), torch.ones(3))
    assert all(torch.equal(before[name], value) for name, value in tower.conv1.state_dict().items())
    assert not fold_normalisation(nn.Sequential(nn.Conv2d(3, 4, 2)), torch.zeros(3), torch.ones(3))
