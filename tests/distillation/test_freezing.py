"""Parts of a network that keep their weights in training."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mobileclip_kit.distillation.checkpoint import trained_parameters
from mobileclip_kit.distillation.trainer import freeze
from mobileclip_kit.errors import UsageError


def network() -> nn.Module:
    return nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), nn.Conv2d(4, 4, 1))


def test_frozen_parts_keep_weights_and_running_means_and_the_rest_learns():
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    parts = freeze({"network": model}, ("0",))
    model.train()
    for part in parts:
        part.eval()
    assert [name for name, _ in trained_parameters({"network": model})] == ["network.1.weight", "network.1.bias"]
    model(torch.rand(2, 3, 4, 4)).sum().backward()
    with torch.no_grad():
        for _, parameter in trained_parameters({"network": model}):
            parameter -= parameter.grad
    after = model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before if name.startswith("0."))
    assert not torch.equal(after["1.bias"], before["1.bias"])
    assert model[0][0].weight.grad is None


def test_nothing_is_frozen_by_default():
    model = network()
    assert freeze({"network": model}, ()) == ()
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_unknown_parts_and_networks_frozen_whole_are_refused():
    with pytest.raises(UsageError, match="no part named visual.stem"):
        freeze({"network": network()}, ("visual.stem",))
    with pytest.raises(UsageError, match="nothing is left to train"):
        freeze({"network": network()}, ("0", "1"))
