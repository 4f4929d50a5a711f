"""The convolutional and the hybrid tower."""

import pytest
import torch

from mobileclip_kit.errors import ModelError
from mobileclip_kit.networks.conv_tower import ConvTower
from mobileclip_kit.networks.hybrid_tower import HybridTower


def test_a_pooled_head_sees_each_channels_places_and_then_its_greatest_value():
    tower = ConvTower((2, 2, 2, 3), (0, 0, 0, 0), 32, pooled=True)
    grid = torch.arange(12.0).view(1, 3, 2, 2)
    assert tower.forward_head(grid).tolist() == [[0, 1, 2, 3, 3, 4, 5, 6, 7, 7, 8, 9, 10, 11, 11]]
    assert tower.num_features == 15


@pytest.mark.parametrize("pooled", [False, True])
def test_features_have_the_announced_width(pooled):
    tower = ConvTower((4, 4, 4, 4), (0, 1, 0, 1), 32, pooled=pooled).eval()
    assert tower(torch.rand(2, 3, 32, 32)).shape == (2, tower.num_features)


def test_a_hybrid_towers_last_grid_holds_the_tokens_whose_mean_is_its_output():
    tower = HybridTower((4, 4, 4, 8), (0, 0, 1, 0), layers=1, heads=2, image_size=48).eval()
    pictures = torch.rand(2, 3, 48, 48)
    with torch.no_grad():
        _, grids = tower.forward_intermediates(pictures)
        assert [tuple(grid.shape[1:]) for grid in grids] == [(4, 24, 24), (4, 12, 12), (4, 6, 6), (8, 3, 3)]
        torch.testing.assert_close(grids[-1].mean(dim=(2, 3)), tower(pictures))


@pytest.mark.parametrize(("size", "heads"), [(40, 2), (8, 2), (32, 3)])
def test_hybrid_towers_refuse_what_does_not_divide(size, heads):
    with pytest.raises(ModelError):
        HybridTower((4, 4, 4, 8), (0, 0, 0, 0), layers=1, heads=heads, image_size=size)
