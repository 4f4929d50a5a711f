"""The exported form of a tower computes what the network computes."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import timm
import torch
from open_clip.model import CustomTextCLIP
from open_clip.transformer import TextTransformer
from timm.layers import AttentionPoolLatent
from torch import Tensor, nn

from mobileclip_kit.exporting.towers import ImageTower, TextTower, count_tower, to_unit
from mobileclip_kit.networks.families import MASKED, use_finite_masks
from mobileclip_kit.networks.model import Model, build_network, describe
from mobileclip_kit.networks.plain import reparameterize
from tests.exports import IMAGE, VISION, WORDS, tiny_config

# Two orders of the same float32 sums.
CLOSE = {"atol": 2e-6, "rtol": 0}


def token_rows(tiny_model: Model) -> Tensor:
    from mobileclip_kit.tokenizer import load_tokenizer

    return torch.from_numpy(load_tokenizer(tiny_model.spec.require_text(), tiny_model.tokenizer_file)(WORDS))


def test_image_tower_normalises_inside(tiny_model: Model) -> None:
    images = torch.rand(3, 3, 32, 32)
    mean, std = torch.tensor(IMAGE.mean).view(3, 1, 1), torch.tensor(IMAGE.std).view(3, 1, 1)
    with torch.no_grad():
        wanted = tiny_model.network.encode_image((images - mean) / std, normalize=True)
        torch.testing.assert_close(ImageTower(tiny_model)(images), wanted, **CLOSE)


def test_text_tower_equals_the_network(tiny_model: Model) -> None:
    ids = token_rows(tiny_model)
    with torch.no_grad():
        wanted = tiny_model.network.encode_text(ids, normalize=True)
        torch.testing.assert_close(TextTower(tiny_model)(ids), wanted, **CLOSE)


def test_text_tower_of_a_custom_clip_equals_the_network(tiny_model: Model) -> None:
    config = tiny_config(tiny_model.spec.require_text().vocab_size)
    config["model_cfg"]["custom_text"] = True
    network = build_network(config["model_cfg"])
    assert isinstance(network, CustomTextCLIP)
    custom = Model(network, config, describe("custom", network, config), tiny_model.tokenizer_file)
    ids = token_rows(tiny_model)
    with torch.no_grad():
        torch.testing.assert_close(TextTower(custom)(ids), network.encode_text(ids, normalize=True), **CLOSE)


class Latent(nn.Module):
    """An image tower that pools by a learned query, as timm's of SigLIP and of the perception encoder do."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.pool = nn.Conv2d(3, 16, 8, 8), AttentionPoolLatent(16, num_heads=2)

    def forward(self, images: Tensor) -> Tensor:
        pooled: Tensor = self.pool(self.patches(images).flatten(2).transpose(1, 2))
        return pooled


def test_multiply_accumulates_of_a_tower_that_pools_by_a_learned_query(tiny_model: Model) -> None:
    network = copy.deepcopy(tiny_model.network)
    network.visual = Latent()
    tower = ImageTower(replace(tiny_model, network=network))
    # 16 patches: the convolution, keys and values, the projection, and a perceptron four times as wide.
    weights = 16 * 3 * 64 * 16 + 16 * 32 * 16 + 16 * 16 + 2 * 64 * 16
    assert weights <= count_tower(tower)["multiply_accumulates"] <= weights + 16 * 16 + 2 * 16 * 16
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_masks_are_finite_and_the_model_keeps_its_own(tiny_model: Model) -> None:
    tower = TextTower(tiny_model)
    assert tower.text.attn_mask.min() == MASKED
    assert tiny_model.network.attn_mask.min() == float("-inf")


def test_tower_copies_leave_the_other_tower_behind(tiny_model: Model) -> None:
    assert not any("visual" in name for name, _ in TextTower(tiny_model).named_parameters())
    assert not any("token_embedding" in name for name, _ in ImageTower(tiny_model).named_parameters())


def test_first_end_token_counts_as_argmax_takes_it(tiny_model: Model) -> None:
    ids = token_rows(tiny_model)
    end = int(ids.max())
    ids[:, 2] = end  # a text that spells the end token out
    with torch.no_grad():
        wanted = tiny_model.network.encode_text(ids, normalize=True)
        torch.testing.assert_close(TextTower(tiny_model)(ids), wanted, **CLOSE)


@pytest.mark.parametrize("correct", [False, True])
def test_padding_mask_equals_open_clip(correct: bool) -> None:
    """CoCa's mask without repeat_interleave gives the vectors of open_clip's."""
    text = TextTransformer(context_length=7, vocab_size=50, width=16, heads=2, layers=2, output_dim=8, embed_cls=True,
                           correct_cls_mask=correct).eval()  # fmt: skip
    ids = torch.tensor([[49, 3, 48, 0, 0, 0, 0], [49, 3, 4, 5, 6, 7, 48]])
    with torch.no_grad():
        wanted = text(ids)
        use_finite_masks(text)
        torch.testing.assert_close(text(ids), wanted, atol=1e-6, rtol=0)


def test_to_unit_stays_within_float16() -> None:
    """A sum of squares of these would be 1.6e6 · 4, far beyond 65,504."""
    vectors = torch.full((1, 4), 1280.0, dtype=torch.float16)
    assert torch.equal(to_unit(vectors), torch.full((1, 4), 0.5, dtype=torch.float16))


def test_to_unit_by_hand() -> None:
    torch.testing.assert_close(to_unit(torch.tensor([[3.0, -4.0]])), torch.tensor([[0.6, -0.8]]))


def test_branches_are_merged_on_a_copy() -> None:
    network = timm.create_model("mobileone_s1", num_classes=8).eval()
    count = sum(isinstance(part, nn.Conv2d) for part in network.modules())
    merged = reparameterize(network)
    assert sum(isinstance(part, nn.Conv2d) for part in merged.modules()) < count
    assert sum(isinstance(part, nn.Conv2d) for part in network.modules()) == count
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(merged(images), network(images), atol=1e-4, rtol=1e-4)


def test_student_without_text_has_an_image_tower_only() -> None:
    from mobileclip_kit.networks.model import PLACEHOLDER_TEXT

    config = {"model_cfg": {"embed_dim": 16, "vision_cfg": dict(VISION), "text_cfg": dict(PLACEHOLDER_TEXT)},
              "preprocess_cfg": IMAGE.to_open_clip()}  # fmt: skip
    network = build_network(config["model_cfg"])
    assert describe("student", network, config).towers == ("image",)
