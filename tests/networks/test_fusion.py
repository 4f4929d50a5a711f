"""Parts that exist in training only."""

import pytest
import torch

from mobileclip_kit.networks.fusion import MaskedLanguage, TokenProjection
from mobileclip_kit.networks.stages import ImageStages, TextStream
from mobileclip_kit.networks.students import build_student, pair_config

CHANNELS, VOCABULARY = (4, 6, 8, 10), 300


@pytest.fixture(scope="module")
def network():
    return build_student(pair_config("conv-s", text="text-4", embedding_dim=16, vocab_size=VOCABULARY), seed=0)


def image(seed):
    generator = torch.Generator().manual_seed(seed)
    grids = tuple(torch.randn(2, width, 4, 4, generator=generator) for width in CHANNELS)
    return ImageStages(grids, torch.zeros(2, 16))


def predict(network, seed):
    torch.manual_seed(0)
    module = MaskedLanguage(TextStream(network), CHANNELS).eval()
    ids = torch.tensor([[5, 6, module.mask_id, 7], [5, module.mask_id, 8, 0]])
    is_token = torch.tensor([[True] * 4, [True, True, True, False]])
    with torch.no_grad():
        return module(ids, is_token, ids == module.mask_id, image(seed))


def test_each_masked_token_gets_a_row_of_the_vocabulary(network):
    alone, fused = predict(network, 0)
    assert alone.shape == fused.shape == (2, VOCABULARY)


def test_the_image_reaches_the_fused_stream_alone(network):
    (alone, fused), (alone_too, fused_too) = predict(network, 0), predict(network, 1)
    assert torch.equal(alone, alone_too)
    assert not torch.allclose(fused, fused_too)


def test_the_mask_token_is_no_piece_of_the_vocabulary(network):
    module = MaskedLanguage(TextStream(network), CHANNELS)
    assert module.mask_id == VOCABULARY
    assert network.token_embedding.num_embeddings == VOCABULARY


def test_it_has_none_of_the_networks_weights(network):
    module = MaskedLanguage(TextStream(network), CHANNELS)
    theirs = {id(parameter) for parameter in network.parameters()}
    assert not theirs & {id(parameter) for parameter in module.parameters()}


def test_stages_two_and_three_are_fused_and_others_are_not(network):
    module = MaskedLanguage(TextStream(network), CHANNELS)
    assert [conv.in_channels for conv in module.bring] == [6, 8]


def test_patches_get_the_words_width():
    assert TokenProjection(10, 6)(torch.rand(2, 10, 4, 4)).shape == (2, 16, 6)
