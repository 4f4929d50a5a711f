"""The optimizers: AdamW, and Muon, which brings the momentum of each matrix to singular values near 1.

Muon is Keller Jordan's optimizer (kellerjordan.github.io/posts/muon, 2024) with the scale of "Muon is Scalable for LLM
Training" (arXiv 2502.16982): an update's root mean square is that of AdamW, so that one learning rate and one weight
decay serve both. A filter of a convolution counts as the matrix ``(out, in · height · width)``; of the stacked query,
key and value each is a matrix of its own. Embeddings, biases, norms and the losses' own heads have AdamW.

In a training of minutes a model sees few images, so it matters how much it learns from each: after 25,000 images of
the synthetic scenes, the same convolutional tower classified their objects with accuracy 0.65 by Muon, 0.25 by AdamW.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mobileclip_kit.distillation.tables import TrainingPlan

# Five steps of this polynomial bring singular values of a matrix of norm 1 to about 0.7…1.2 (Jordan 2024).
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_STEPS = 5
_MOMENTUM = 0.9
# The root mean square of AdamW's usual updates (arXiv 2502.16982, section 2.2).
_ADAMW_RMS = 0.2
# Times 1 / √inputs: what weights near 0, such as the last of a residual branch, count as, so that they can grow.
_LEAST_RMS = 0.25
_TABLES = ("embed", "logit")


def make_optimizer(parameters: Mapping[str, nn.Parameter], plan: TrainingPlan) -> torch.optim.Optimizer:
    """Weight decay for matrices and filters; biases, norms and other vectors have none."""
    if plan.optimizer == "muon":
        return Muon(parameters, lr=plan.lr, weight_decay=plan.weight_decay, betas=plan.betas,
                    update_share=plan.update_share)  # fmt: skip
    wide = [parameter for parameter in parameters.values() if parameter.ndim >= 2]
    narrow = [parameter for parameter in parameters.values() if parameter.ndim < 2]
    groups = [{"params": wide, "weight_decay": plan.weight_decay}, {"params": narrow, "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=plan.lr, betas=plan.betas, fused=True)


def give_own_rates(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter], rates: Mapping[str, float],
    plan: TrainingPlan,
) -> list[nn.Parameter]:  # fmt: skip
    """Put the parameters of modules with a learning rate of their own into groups with it; the others, in order.

    Such a rate is constant: the recipe's warm-up and cosine do not apply to it.
    """
    own = {id(parameter): rates[name.partition(".")[0]] for name, parameter in parameters.items()
           if name.partition(".")[0] in rates}  # fmt: skip
    for group in list(optimizer.param_groups):
        options = {name: value for name, value in group.items() if name != "params"}
        apart: dict[float, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            apart.setdefault(own.get(id(parameter), plan.lr), []).append(parameter)
        group["params"] = apart.pop(plan.lr, [])
        for rate, moved in apart.items():
            optimizer.add_param_group({**options, "params": moved, "own_lr": rate})
    optimizer.param_groups[:] = [group for group in optimizer.param_groups if group["params"]]
    return [parameter for parameter in parameters.values() if id(parameter) not in own]


class Muon(torch.optim.Optimizer):
    """Orthogonal updates for matrices and filters, AdamW's for the rest; see the module's text.

    Args:
        parameters: Name → parameter, as :func:`~mobileclip_kit.distillation.checkpoint.trained_parameters` gives them.
        lr: For both kinds of parameters.
        weight_decay: Of weights with two dimensions or more; decoupled, as AdamW's.
        betas: AdamW's.
        update_share: Bound on the change of an orthogonal update, as a share of the weight's root mean square; at
            least ``0.25 / √inputs``, so that weights that start at 0 can grow.
    """

    def __init__(
        self, parameters: Mapping[str, nn.Parameter], *, lr: float, weight_decay: float, betas: tuple[float, float],
        update_share: float | None = None,
    ) -> None:  # fmt: skip
        self._update_share = update_share
        groups: dict[tuple[int, float], list[nn.Parameter]] = {}
        for name, parameter in parameters.items():
            decay = weight_decay if parameter.ndim >= 2 else 0.0
            groups.setdefault((_matrices(name, parameter), decay), []).append(parameter)
        super().__init__(
            [
                {"params": members, "matrices": matrices, "weight_decay": decay}
                for (matrices, decay), members in groups.items()
            ],
            {"lr": lr, "betas": betas, "eps": 1e-8},
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Apply the gradients. A parameter without one stays as it is."""
        for group in self.param_groups:
            update = self._orthogonal if group["matrices"] else self._adam
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1.0 - group["lr"] * group["weight_decay"])
                    parameter.add_(update(parameter, group), alpha=-group["lr"])

    def _orthogonal(self, parameter: nn.Parameter, group: dict[str, Any]) -> Tensor:
        gradient, state = parameter.grad, self.state[parameter]
        assert gradient is not None
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"].lerp_(gradient, 1.0 - _MOMENTUM)
        # Nesterov's look ahead.
        matrices = gradient.lerp(momentum, _MOMENTUM).flatten(1).chunk(group["matrices"])
        scale = _ADAMW_RMS * math.sqrt(max(matrices[0].shape))
        update = torch.cat([orthogonalize(matrix) for matrix in matrices]).mul_(scale).view_as(parameter)
        return update if self._update_share is None else self._bounded(update, parameter, group["lr"])

    def _bounded(self, update: Tensor, parameter: nn.Parameter, rate: float) -> Tensor:
        assert self._update_share is not None
        least = _LEAST_RMS / math.sqrt(parameter[0].numel())
        most = self._update_share * root_mean_square(parameter).clamp(min=least)
        return update * (most / (rate * root_mean_square(update) + 1e-12)).clamp(max=1.0)

    def _adam(self, parameter: nn.Parameter, group: dict[str, Any]) -> Tensor:
        gradient, state = parameter.grad, self.state[parameter]
        assert gradient is not None
        if "step" not in state:
            state["step"] = torch.zeros(())
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        first, second = group["betas"]
        state["step"] += 1
        done = float(state["step"])
        mean = state["exp_avg"].lerp_(gradient, 1.0 - first)
        square = state["exp_avg_sq"].mul_(second).addcmul_(gradient, gradient, value=1.0 - second)
        deviation = (square / (1.0 - second**done)).sqrt_().add_(group["eps"])
        update: Tensor = mean / deviation / (1.0 - first**done)
        return update


def orthogonalize(matrix: Tensor) -> Tensor:
    """Bring all singular values of a matrix near 1 and keep its singular vectors (a Newton-Schulz iteration).

    Args:
        matrix: ``(rows, columns)`` of rank at least 1; zeros stay zeros.

    Returns:
        The same shape; singular values that were not tiny lie within about 0.7…1.2.
    """
    a, b, c = _COEFFICIENTS
    wide: Tensor = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / (wide.norm() + 1e-12)
    if wide.shape[1] >= 2 * wide.shape[0]:
        wide = _product(wide @ wide.T) @ wide
    else:
        for _ in range(_STEPS):
            square = wide @ wide.T
            wide = a * wide + (b * square + c * square @ square) @ wide
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T


def _product(square: Tensor) -> Tensor:
    """All steps of :func:`orthogonalize` as one symmetric factor, from ``X·Xᵀ``.

    They are polynomials of the same matrix, so they commute, and of a wide matrix only the small square is iterated.
    """
    a, b, c = _COEFFICIENTS
    one = torch.eye(len(square), dtype=square.dtype, device=square.device)
    product = one
    for _ in range(_STEPS):
        step = a * one + b * square + c * square @ square
        product = step @ product
        square = step @ square @ step
    return product


def root_mean_square(tensor: Tensor) -> Tensor:
    """The root of the mean of the squares of all entries."""
    return tensor.square().mean().sqrt()


def _matrices(name: str, parameter: nn.Parameter) -> int:
    """Of how many matrices a parameter consists; 0 leaves it to AdamW."""
    inside = name.startswith("network.") and not any(part in name for part in _TABLES)
    if not inside or parameter.ndim < 2 or min(len(parameter), parameter[0].numel()) < 2:
        return 0
    return 3 if "in_proj" in name or "qkv" in name else 1
