"""The budget's arithmetic, and the units that it leaves."""

from __future__ import annotations

import pytest
import torch
from open_clip import get_model_config

from mobileclip_kit.distillation.checkpoint import trained_parameters
from mobileclip_kit.distillation.optimizer import give_own_rates, make_optimizer
from mobileclip_kit.distillation.tables import StageOptions, TrainingPlan
from mobileclip_kit.errors import ModelError, UsageError
from mobileclip_kit.inherit.budget import ParameterBudget, choose_units, lagrangian
from mobileclip_kit.inherit.gates import MOST, Gates
from mobileclip_kit.inherit.layout import Layout, layout_of
from mobileclip_kit.networks.model import PLACEHOLDER_TEXT, build_network, tower_parameters
from tests.inherit.networks import clip, conv_clip


def random_scores(layout: Layout, seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(units, generator=generator) for name, units in layout.groups.items()}


def test_all_units_are_all_parameters() -> None:
    for network in (clip(0), clip(0, custom_text=True), conv_clip(0)):
        layout = layout_of(network)
        assert layout.parameters(layout.groups) == sum(tower_parameters(network).values())


def test_parameters_of_a_choice_by_hand() -> None:
    """A ViT of one layer with 16 of 24 channels, 2 of 3 heads of 8 and 10 of 96 neurons, counted tensor by tensor."""
    layout = layout_of(clip(0, {"layers": 1}, {"layers": 1}))
    units = {**layout.groups, "image.channels": 16, "image.0.heads": 2, "image.0.ffn": 10}
    stem = 16 * 3 * 16 * 16 + 16 + 5 * 16 + 2 * 16  # patches, class token, positions, norm
    attention = 3 * 16 * 16 + 3 * 16 + 16 * 16 + 16
    feed_forward = 10 * 16 + 10 + 16 * 10 + 16
    image = stem + 4 * 16 + attention + feed_forward + 2 * 16 + 16 * 6
    text = layout.parameters(layout.groups) - layout.parameters({**layout.groups, **zero_text(layout)})
    assert layout.parameters({**units, **zero_text(layout)}) == image
    assert layout.parameters(units) == image + text


def zero_text(layout: Layout) -> dict[str, int]:
    return {name: 0 for name in layout.groups if name.startswith("text")}


def test_expected_sparsity_of_open_and_of_closed_gates() -> None:
    layout = layout_of(clip(0))
    gates, budget = Gates(layout.groups), ParameterBudget(layout, 20_000, warmup_steps=10)
    assert float(budget.expected_sparsity(gates).detach()) == pytest.approx(0.0, abs=6e-3)
    for parameter in gates.parameters():
        torch.nn.init.constant_(parameter, -20.0)
    assert float(budget.expected_sparsity(gates).detach()) == pytest.approx(1.0, abs=1e-4)


def test_target_rises_linearly_and_stays() -> None:
    layout = layout_of(clip(0))
    budget = ParameterBudget(layout, layout.parameters(layout.groups) // 2, warmup_steps=4)
    assert [round(budget.target(step), 3) for step in (0, 1, 3, 4, 100)] == [0.125, 0.25, 0.5, 0.5, 0.5]


def test_lagrangian_by_hand() -> None:
    """λ = 2, β = 3, a tenth too little: 2 · 0.1 + 3 · 0.01; nothing once the target is passed."""
    two, three = torch.tensor(2.0), torch.tensor(3.0)
    assert float(lagrangian(torch.tensor(0.4), 0.5, two, three)) == pytest.approx(0.23)
    assert float(lagrangian(torch.tensor(0.6), 0.5, two, three)) == 0.0


def test_descent_raises_the_multipliers_and_closes_gates() -> None:
    layout = layout_of(clip(0, {"layers": 1}, {"layers": 1}))
    gates, budget = Gates(layout.groups), ParameterBudget(layout, layout.parameters(layout.groups) // 2, warmup_steps=1)
    for parameter in gates.parameters():
        torch.nn.init.zeros_(parameter)
    optimizer = torch.optim.SGD([*gates.parameters(), *budget.parameters()], lr=1.0)
    sparsity = []
    for step in range(200):
        optimizer.zero_grad()
        penalty, parts = budget.penalty(gates, step)
        penalty.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        sparsity.append(parts["sparsity"])
        assert parts["lambda"] >= 0.0 and parts["beta"] >= 0.0
    assert sparsity[0] < 0.45
    assert sparsity[-1] >= 0.49


@pytest.mark.parametrize("share", [1.0, 1.5, 0.0001])
def test_budgets_out_of_reach_are_refused(share: float) -> None:
    layout = layout_of(clip(0))
    with pytest.raises(UsageError, match="cannot be met: the model has"):
        ParameterBudget(layout, int(share * layout.parameters(layout.groups)), warmup_steps=1)


@pytest.mark.parametrize("kind", ["vit", "conv"])
@pytest.mark.parametrize("share", [0.75, 0.5, 0.25])
def test_choice_is_within_two_percent_of_the_budget(share: float, kind: str) -> None:
    layout = layout_of(clip(0) if kind == "vit" else conv_clip(0))
    wanted = int(share * layout.parameters(layout.groups))
    kept = choose_units(random_scores(layout, seed=4), layout, wanted)
    assert layout.parameters({name: len(units) for name, units in kept.items()}) == pytest.approx(wanted, rel=0.02)
    assert all(len(units) >= 1 for units in kept.values())
    assert all(units.tolist() == sorted(set(units.tolist())) for units in kept.values())


def test_choice_keeps_the_units_with_the_highest_scores() -> None:
    layout = layout_of(clip(0))
    scores = random_scores(layout, seed=4)
    kept = choose_units(scores, layout, layout.parameters(layout.groups) // 2)
    heads = "image.channels"
    gone = [unit for unit in range(layout.groups[heads]) if unit not in kept[heads].tolist()]
    assert gone and scores[heads][kept[heads]].min() >= scores[heads][gone].max()


def test_equal_scores_still_meet_the_budget() -> None:
    """A run too short to move any gate: units are left out in a fixed order."""
    layout = layout_of(clip(0))
    scores = {name: torch.full((units,), MOST) for name, units in layout.groups.items()}
    wanted = int(0.75 * layout.parameters(layout.groups))
    kept = choose_units(scores, layout, wanted)
    assert layout.parameters({name: len(units) for name, units in kept.items()}) == pytest.approx(wanted, rel=0.02)


@pytest.mark.parametrize("seed", range(4))
def test_a_large_unit_does_not_take_the_place_of_small_ones(seed: int) -> None:
    """A residual channel has more parameters than 2 % of this model, a neuron 0.1 %."""
    layout = layout_of(clip(0))
    wanted = round(0.3 * layout.parameters(layout.groups))
    kept = choose_units(random_scores(layout, seed=seed), layout, wanted)
    assert layout.parameters({name: len(units) for name, units in kept.items()}) == pytest.approx(wanted, rel=0.002)


def test_budgets_that_are_too_fine_for_a_tower_are_refused() -> None:
    """A tower whose only group is one stage's channels cannot be cut by the parameter."""
    whole = layout_of(conv_clip(0))
    coarse = Layout({name: axes for name, axes in whole.axes.items() if "stages.3" in name and "conv" in name},
                    {"image.3.stage": 64, "image.2.stage": 32}, whole.shapes, ("image",))  # fmt: skip
    scores = {"image.3.stage": torch.arange(64.0), "image.2.stage": torch.arange(32.0)}
    everything = coarse.parameters(coarse.groups)
    with pytest.raises(ModelError, match="more than 2 % beside"):
        choose_units(scores, coarse, everything // 40)


@pytest.mark.parametrize("share", [0.75, 0.5, 0.25])
def test_even_choice_is_open_clips_own_shape(share: float) -> None:
    layout = layout_of(clip(0))
    wanted = int(share * layout.parameters(layout.groups))
    kept = choose_units(random_scores(layout, seed=4), layout, wanted, even=True)
    sizes = {name: len(units) for name, units in kept.items()}
    assert layout.parameters(sizes) == pytest.approx(wanted, rel=0.02)
    for tower in ("image", "text"):
        assert len({sizes[f"{tower}.{layer}.heads"] for layer in range(4)}) == 1
        assert len({sizes[f"{tower}.{layer}.ffn"] for layer in range(4)}) == 1
        assert sizes[f"{tower}.channels"] == sizes[f"{tower}.0.heads"] * 8
    differ = [kept[f"image.{layer}.ffn"].tolist() for layer in range(4)]
    assert any(row != differ[0] for row in differ), "which neurons stay differs from layer to layer"


def test_penalty_alone_closes_all_groups_of_a_real_tower_alike() -> None:
    """ViT-B/32, the preset's first stage: one neuron is a hundred-thousandth of the parameters.

    With ``log α`` unbounded and λ starting at 0, neurons stay open (9.6) while heads and channels fall below 0.
    """
    with torch.device("meta"):
        network = build_network({**get_model_config("ViT-B-32"), "text_cfg": PLACEHOLDER_TEXT})
    layout, options = layout_of(network), StageOptions()
    parameters = round(options.shares[0] * layout.parameters(layout.groups))
    gates = Gates(layout.groups)
    budget = ParameterBudget(layout, parameters, warmup_steps=options.mask_warmup_steps)
    modules = {"gates": gates, "budget": budget}
    plan = TrainingPlan(lr=1e-4)
    optimizer = make_optimizer(trained := dict(trained_parameters(modules)), plan)
    give_own_rates(optimizer, trained, {"gates": options.gate_lr, "budget": options.multiplier_lr}, plan)
    for group in optimizer.param_groups:
        group["lr"] = group["own_lr"]
    for step in range(1000):
        optimizer.zero_grad()
        gates.clamp()
        budget.penalty(gates, step)[0].backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    means = [float(gates.scores(name).mean()) for name in layout.groups]
    assert max(means) - min(means) < 0.2
    assert max(means) < 2.0
