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


def test_a_head_with_products_sees_what_stands_at_the_same_place():
    """Two images with the same channels in all, at the same place in one and apart in the other."""
    tower = ConvTower((2, 2, 2, 2), (0, 0, 0, 0), 32, products=1).eval()
    with torch.no_grad():
        # Each channel is multiplied with the other one.
        tower.mix.conv.weight.copy_(torch.tensor([[0.0, 1.0], [1.0, 0.0]])[:, :, None, None])
        together = torch.tensor([[3.0, 0, 0, 0], [5.0, 0, 0, 0]]).view(1, 2, 2, 2)
        apart = torch.tensor([[3.0, 0, 0, 0], [0, 0, 0, 5.0]]).view(1, 2, 2, 2)
        # 3 · 5, divided by the root of four places; each channel's places come before its product.
        torch.testing.assert_close(
            tower.forward_head(together), torch.tensor([[3.0, 0, 0, 0, 7.5, 5, 0, 0, 0, 7.5]]), rtol=1e-4, atol=0
        )
        assert tower.forward_head(apart)[0, [4, 9]].tolist() == [0, 0]


@pytest.mark.parametrize(("pooled", "products", "rank"), [(False, 0, 0), (True, 0, 0), (True, 3, 0), (True, 3, 5)])
def test_features_have_the_announced_width(pooled, products, rank):
    tower = ConvTower((4, 4, 4, 4), (0, 1, 0, 1), 32, pooled=pooled, products=products, rank=rank).eval()
    assert tower(torch.rand(2, 3, 32, 32)).shape == (2, tower.num_features)


def test_a_hybrid_towers_last_grid_holds_the_tokens_whose_mean_is_its_output():
    tower = HybridTower((4, 4, 4, 8), (0, 0, 1, 0), layers=1, heads=2, image_size=48).eval()
    images = torch.rand(2, 3, 48, 48)
    with torch.no_grad():
        _, grids = tower.forward_intermediates(images)
        assert [tuple(grid.shape[1:]) for grid in grids] == [(4, 24, 24), (4, 12, 12), (4, 6, 6), (8, 3, 3)]
        torch.testing.assert_close(grids[-1].mean(dim=(2, 3)), tower(images))


def test_a_hybrid_towers_products_stand_behind_each_channels_mean():
    tower = HybridTower((4, 4, 4, 8), (0, 0, 1, 0), layers=1, heads=2, image_size=48, products=2).eval()
    with torch.no_grad():
        tokens = tower.forward_features(torch.rand(2, 3, 48, 48))
        features = tower.forward_head(tokens).view(2, 8, 3)
        torch.testing.assert_close(features[..., 0], tokens.mean(dim=1))
        # The grid's order is that of the tokens.
        grid = tokens.transpose(1, 2).reshape(2, 8, 3, 3)
        torch.testing.assert_close(features[..., 1:], tower.mix(grid))
        mixed = torch.einsum("ntc,mc->ntm", tokens, tower.mix.conv.weight[:, :, 0, 0]) / (1 + 1e-5) ** 0.5
        by_hand = (mixed.view(2, 9, 8, 2) * tokens.unsqueeze(3)).sum(dim=1) / 3
        torch.testing.assert_close(features[..., 1:], by_hand)


@pytest.mark.parametrize(("size", "heads"), [(40, 2), (8, 2), (32, 3)])
def test_hybrid_towers_refuse_what_does_not_divide(size, heads):
    with pytest.raises(ModelError):
        HybridTower((4, 4, 4, 8), (0, 0, 0, 0), layers=1, heads=heads, image_size=size)
