"""Stages of towers: the same numbers as the towers themselves give."""

import pytest
import torch
from torch.nn import functional as F

from mobileclip_kit.networks.stages import STAGES, TextStream, image_stages
from mobileclip_kit.networks.students import build_student, pair_config


def build(name="conv-s", text="text-4"):
    config = pair_config(name, text=text, embedding_dim=16, vocab_size=300)
    return build_student(config, seed=1)


def texts(lengths, context=77):
    ids = torch.zeros(len(lengths), context, dtype=torch.long)
    generator = torch.Generator().manual_seed(0)
    for row, length in zip(ids, lengths, strict=True):
        row[:length] = torch.randint(1, 290, (length,), generator=generator)
        row[length - 1] = 299
    return ids, torch.tensor(lengths)


@pytest.mark.parametrize("name", ["conv-s", "hybrid-s", "vit-t4-64", "resnet-w8", "swin-nano-64", "mobilenetv2"])
def test_one_pass_gives_four_grids_and_the_towers_vectors(name):
    network = build(name)
    size = network.visual.image_size
    size = size if isinstance(size, int) else size[0]
    images = torch.rand(2, 3, min(size, 64), min(size, 64))
    with torch.no_grad():
        seen = image_stages(network, images)
        torch.testing.assert_close(seen.vectors, network.encode_image(images))
    assert len(seen.grids) == STAGES
    assert all(grid.ndim == 4 for grid in seen.grids)


def test_vectors_without_padding_equal_encode_text():
    network = build()
    ids, lengths = texts([3, 9, 5, 77, 4])
    with torch.no_grad():
        expected = network.encode_text(ids, normalize=True)
        for groups in (1, 2, 7):
            ours = TextStream(network).encode(ids, lengths, groups=groups)
            torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("text", ["text-2", "text-4"])
def test_stage_by_stage_equals_all_layers(text):
    network = build(text=text)
    stream = TextStream(network)
    hidden, mask = torch.randn(2, 6, stream.width), stream.causal_mask(6)
    with torch.no_grad():
        expected = network.transformer(hidden, attn_mask=mask)
        for stage in range(STAGES):
            hidden = stream.run(hidden, [stage], mask)
    torch.testing.assert_close(hidden, expected)


def test_padding_is_not_seen_in_either_direction():
    stream = TextStream(build())
    hidden = torch.randn(1, 5, stream.width)
    other = torch.cat([hidden[:, :3], torch.randn(1, 2, stream.width)], dim=1)
    mask = stream.both_ways_mask(torch.tensor([[True, True, True, False, False]]))
    with torch.no_grad():
        one, two = (stream.run(value, range(STAGES), mask)[:, :3] for value in (hidden, other))
    torch.testing.assert_close(one, two)


def test_last_stage_is_what_the_vectors_are_pooled_from():
    network = build()
    stream = TextStream(network)
    ids, _ = texts([4, 8])
    with torch.no_grad():
        vectors = stream.pool(stream.last_stage(ids), ids)
        torch.testing.assert_close(F.normalize(vectors, dim=-1), network.encode_text(ids, normalize=True))
