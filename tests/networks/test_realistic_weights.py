"""Small towers whose weights are shaped like trained ones have what makes trained ones hard."""

from __future__ import annotations

from typing import Any

import pytest

from mobileclip_kit.networks.model import Model
from mobileclip_kit.spec import ImageSpec
from tests.realistic_weights import TowerFacts, realistic_model

TEXT = {"context_length": 12, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 4}
VIT = {"image_size": 64, "layers": 4, "width": 128, "head_width": 32, "patch_size": 16}
CONFIGS: dict[str, dict[str, Any]] = {
    "vit": {"embed_dim": 32, "vision_cfg": VIT, "text_cfg": TEXT},
    "resnet": {"embed_dim": 32, "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "head_width": 32},
               "text_cfg": TEXT},
}  # fmt: skip


def make(name: str) -> tuple[Model, dict[str, TowerFacts]]:
    config = {"model_cfg": CONFIGS[name], "preprocess_cfg": ImageSpec(height=64, width=64).to_open_clip()}
    return realistic_model(config, logit_scale=117.6)


@pytest.mark.parametrize("name", list(CONFIGS))
def test_the_weights_have_what_trained_ones_have(name: str) -> None:
    model, towers = make(name)
    assert model.network.logit_scale.exp().item() == pytest.approx(117.6)
    for facts in towers.values():
        assert 50 <= facts.outlier_factor <= 200
        assert 0.5 <= facts.mean_cosine <= 0.8
        assert facts.sink_share is None or 0.25 <= facts.sink_share <= 0.9, "of 12 tokens one has 0.08, of 17 0.06"
