"""The optimizer that brings each matrix's momentum to singular values near 1."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from mobileclip_kit.distillation.optimizer import Muon, make_optimizer, orthogonalize, root_mean_square
from mobileclip_kit.distillation.recipe import load_recipe


@pytest.mark.parametrize("shape", [(16, 16), (8, 40), (40, 8)])
def test_singular_values_come_near_one_and_vectors_stay(shape):
    generator = torch.Generator().manual_seed(sum(shape))
    left, values, right = torch.linalg.svd(torch.randn(shape, generator=generator), full_matrices=False)
    made = orthogonalize(left @ torch.diag(values) @ right)
    inside = left.T @ made @ right.T  # diagonal when the singular vectors stayed
    assert torch.allclose(inside, torch.diag(inside.diagonal()), atol=1e-3)
    assert 0.5 < float(inside.diagonal().min()) and float(inside.diagonal().max()) < 1.3


def test_the_size_of_a_gradient_does_not_matter_and_zeros_stay_zeros():
    matrix = torch.randn(6, 9, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(orthogonalize(matrix), orthogonalize(matrix * 1e-4), atol=1e-4)
    assert not orthogonalize(torch.zeros(3, 3)).any()


def build(name, parameter, **options):
    settings = {"lr": 0.1, "weight_decay": 0.0, "betas": (0.9, 0.98)} | options
    return Muon({name: parameter}, **settings)


def test_the_first_update_of_a_filter_is_its_orthogonal_gradient_at_adamws_scale():
    weight = nn.Parameter(torch.zeros(4, 2, 3, 3))
    weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    build("network.visual.conv.weight", weight).step()
    expected = -0.1 * 0.2 * math.sqrt(18) * orthogonalize(weight.grad.flatten(1)).view_as(weight)
    assert torch.allclose(weight.detach(), expected, atol=1e-5)


def test_query_key_and_value_are_three_matrices():
    weight = nn.Parameter(torch.zeros(12, 4))
    weight.grad = torch.randn(12, 4, generator=torch.Generator().manual_seed(2))
    build("network.transformer.attn.in_proj_weight", weight).step()
    parts = [orthogonalize(part) for part in weight.grad.chunk(3)]
    assert torch.allclose(weight.detach(), -0.1 * 0.2 * 2.0 * torch.cat(parts), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("network.token_embedding.weight", (5, 4)), ("network.ln.bias", (4,)), ("words.weight", (5, 4)),
     ("network.logit_scale", ())],
)  # fmt: skip
def test_tables_vectors_and_the_losses_heads_move_as_under_adamw(name, shape):
    generator = torch.Generator().manual_seed(3)
    ours = nn.Parameter(torch.randn(shape, generator=generator))
    theirs = nn.Parameter(ours.detach().clone())
    decay = 0.05 if ours.ndim >= 2 else 0.0
    muon = build(name, ours, weight_decay=0.05)
    adamw = torch.optim.AdamW([theirs], lr=0.1, weight_decay=decay, betas=(0.9, 0.98))
    for _ in range(5):
        ours.grad = torch.randn(shape, generator=generator)
        theirs.grad = ours.grad.clone()
        muon.step()
        adamw.step()
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_weights_decay_and_biases_do_not():
    weight, bias = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))
    weight.grad, bias.grad = torch.zeros(2, 2), torch.zeros(2)
    Muon({"network.a.weight": weight, "network.a.bias": bias}, lr=0.1, weight_decay=0.5, betas=(0.9, 0.98)).step()
    assert torch.allclose(weight.detach(), torch.full((2, 2), 0.95)) and torch.equal(bias.detach(), torch.ones(2))


def test_a_parameter_without_a_gradient_stays():
    weight = nn.Parameter(torch.ones(2, 2))
    build("network.a.weight", weight, weight_decay=0.5).step()
    assert torch.equal(weight.detach(), torch.ones(2, 2))


def test_a_bounded_update_changes_a_real_sized_weight_by_its_share_at_most():
    """vit-s6's second feed-forward product at the preset's rate: unbounded, 11 % of its size in one update."""
    plan = load_recipe("mckit").training
    generator = torch.Generator().manual_seed(4)
    changes = {}
    for share in (None, plan.update_share):
        weight = nn.Parameter((torch.rand(384, 1536, generator=generator) * 2 - 1) / math.sqrt(1536))
        before = weight.detach().clone()
        weight.grad = torch.randn(weight.shape, generator=generator)
        name = "network.visual.transformer.resblocks.0.mlp.c_proj.weight"
        make_optimizer({name: weight}, replace(plan, update_share=share, weight_decay=0.0)).step()
        changes[share] = float(root_mean_square(weight.detach() - before) / root_mean_square(before))
    assert changes[None] > 0.08
    assert changes[plan.update_share] == pytest.approx(plan.update_share, rel=0.01)
    assert plan.update_share <= 0.02


def test_bounded_weights_at_zero_grow():
    weight = nn.Parameter(torch.zeros(8, 16))
    weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(5))
    build("network.a.weight", weight, update_share=0.02).step()
    assert weight.detach().abs().sum() > 0
