"""Hard-concrete gates."""

from __future__ import annotations

import math

import pytest
import torch

from mobileclip_kit.errors import ModelError
from mobileclip_kit.inherit.gates import MOST, Gates, hard_concrete, open_probability, require_finite


def test_gate_by_hand() -> None:
    """At u = ½ the noise is 0: sigmoid(1 / (2/3)) · 1.2 − 0.1."""
    expected = 1.2 / (1.0 + math.exp(-1.5)) - 0.1
    got = hard_concrete(torch.tensor([1.0, 10.0, -10.0]), torch.full((3,), 0.5))
    torch.testing.assert_close(got, torch.tensor([expected, 1.0, 0.0]))


def test_open_probability_is_the_share_of_gates_that_are_not_zero() -> None:
    torch.manual_seed(0)
    log_alpha = torch.tensor([-2.0, 0.0, 1.5])
    drawn = hard_concrete(log_alpha.expand(100_000, 3), torch.rand(100_000, 3).clamp(1e-6, 1 - 1e-6))
    # A share of 100,000 draws has a standard deviation of at most 0.0016.
    torch.testing.assert_close((drawn > 0).float().mean(0), open_probability(log_alpha), rtol=0, atol=0.008)
    by_hand = 1.0 / (1.0 + math.exp(-(2.0 / 3.0) * math.log(11.0)))  # −γ/ζ = 1/11
    assert float(open_probability(torch.tensor(0.0))) == pytest.approx(by_hand)


def test_gates_begin_open() -> None:
    gates = Gates({"image.channels": 5, "image.0.heads": 2})
    assert float(gates.expected_units()["image.channels"].detach()) == pytest.approx(5.0, abs=0.02)
    assert all(bool((values == 1.0).all()) for values in gates.values.values())


def test_gates_stay_where_they_can_still_move() -> None:
    gates = Gates({"a": 2})
    with torch.no_grad():
        gates.log_alpha["a"].copy_(torch.tensor([50.0, -50.0]))
    gates.draw()
    assert gates.scores("a").tolist() == pytest.approx([MOST, -MOST])


def test_draws_depend_on_torchs_seed_alone() -> None:
    gates = Gates({"a": 50})
    torch.nn.init.zeros_(gates.log_alpha["a"])
    rows = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        gates.draw()
        rows.append(gates.values["a"].detach())
    assert torch.equal(rows[0], rows[1]) and not torch.equal(rows[0], rows[2])


def test_kept_units_are_one_and_others_zero() -> None:
    gates = Gates({"a": 4})
    gates.keep({"a": torch.tensor([1, 3])})
    assert gates.values["a"].tolist() == [0.0, 1.0, 0.0, 1.0]


def test_gates_that_ran_away_are_named() -> None:
    gates = Gates({"text.0.heads": 3})
    torch.nn.init.constant_(gates.log_alpha["text_0_heads"], math.nan)
    with pytest.raises(ModelError, match="text.0.heads are no longer finite"):
        require_finite(gates)
