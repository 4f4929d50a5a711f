"""The gradient of a whole batch whose images do not pass the model together.

A contrastive loss is not a sum over images: each one is compared with all of the batch. So a batch that is cut, into
parts that fit into memory one by one or over several processes, is put together again at its vectors: all vectors, the
loss of the whole and its gradient with respect to each vector, which then goes back into the part that made it
(GradCache, arXiv 2101.06983). The result is that of one process with the whole batch, but for batch norm, whose
statistics are each part's own.

Several parts of one process pass the model twice: once for their vectors, once more for the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from mobileclip_kit.data.images import Rows, identity_of
from mobileclip_kit.distillation.objective import Batch, Encoded, Moment, VectorObjective
from mobileclip_kit.distillation.ranks import Ranks


class Scaler(Protocol):
    """What float16 training needs: torch's GradScaler."""

    def scale(self, outputs: Tensor) -> Tensor:
        """The loss times the present scale."""
        ...


def backward_whole_batch(
    objective: VectorObjective,
    parts: Sequence[Batch],
    moment: Moment,
    *,
    ranks: Ranks,
    share: int,
    stop: bool,
    autocast: AbstractContextManager[Any],
    scaler: Scaler,
) -> tuple[float, dict[str, float] | None, bool]:
    """Add the gradient of the whole batch's loss to the parameters' ``grad``, the same in every process.

    Args:
        objective: What is trained.
        parts: This process's images.
        moment: Where in the run this is.
        ranks: The processes.
        share: Images of a process when none is missing.
        stop: Whether this process was asked to stop.
        autocast: Reusable context for the forward passes.
        scaler: Of the loss.

    Returns:
        The loss, its parts for the log, and whether any process was asked to stop. Where a process has no image that
        could be decoded, or all together have one only, there is nothing to compare: NaN and None, in every process.
    """
    own = np.concatenate([part.rows for part in parts]) if parts else np.zeros(0, np.int64)
    rows, stop = ranks.gather_rows(own, share, stop)
    present = (rows >= 0).reshape(ranks.count, share).sum(axis=1)
    if present.min() == 0 or present.sum() < 2:
        return math.nan, None, stop
    modules = objective.modules()
    encoded = [_encode(objective, part, place, ranks, autocast, modules, keep=len(parts) == 1)
               for place, part in enumerate(parts)]  # fmt: skip
    real = torch.from_numpy(rows >= 0).to(ranks.device)
    whole = {name: _whole([each.trained[name] for each in encoded], share, ranks)[real].requires_grad_()
             for name in encoded[0].trained}  # fmt: skip
    constant = {name: _whole([each.constant[name] for each in encoded], share, ranks)[real]
                for name in encoded[0].constant}  # fmt: skip
    with autocast:
        shared = objective.shared(moment)
    loss, log = objective.compare(Encoded(whole, constant), shared, rows[rows >= 0], moment)
    # Every process computes this same loss: what it shares (the logit scale, a text bank) gets an equal part from each.
    scaler.scale(loss / ranks.count).backward()  # type: ignore[no-untyped-call]
    before = int((rows[: ranks.index * share] >= 0).sum())
    for place, part in enumerate(parts):
        again = encoded[0] if len(parts) == 1 else _encode(objective, part, place, ranks, autocast, modules, keep=True)
        outputs, gradients = [], []
        for name, vectors in again.trained.items():
            grad = whole[name].grad
            if grad is not None and vectors.requires_grad:
                outputs.append(vectors)
                gradients.append(grad[before : before + len(part.rows)] * ranks.count)
        torch.autograd.backward(outputs, gradients)
        before += len(part.rows)
    return float(loss.detach()), log, stop


def sum_gradients(parameters: Mapping[str, nn.Parameter], modules: Mapping[str, nn.Module], ranks: Ranks) -> None:
    """Bring the processes' gradients together, and average their running statistics (batch norm's)."""
    if ranks.count == 1:
        return
    ranks.sum_(parameter.grad for parameter in parameters.values() if parameter.grad is not None)
    statistics = [buffer for module in modules.values() for buffer in module.buffers() if buffer.is_floating_point()]
    ranks.sum_(statistics)
    for buffer in statistics:
        buffer.div_(ranks.count)


def _encode(objective: VectorObjective, part: Batch, place: int, ranks: Ranks, autocast: AbstractContextManager[Any],
            modules: Mapping[str, nn.Module], *, keep: bool) -> Encoded:  # fmt: skip
    """A part's vectors, with their graph if it is to be kept; the same random numbers each time."""
    torch.manual_seed(identity_of(f"{part.moment.seed}/step/{part.moment.step}/{ranks.index}/{place}") >> 1)
    if keep:
        with autocast:
            return objective.encode(part)
    # The second pass updates running statistics; this one must not do it too.
    statistics = {id(buffer): buffer.clone() for module in modules.values() for buffer in module.buffers()}
    with torch.no_grad(), autocast:
        encoded = objective.encode(part)
        for module in modules.values():
            for buffer in module.buffers():
                buffer.copy_(statistics[id(buffer)])
    return encoded


def _whole(parts: Sequence[Tensor], share: int, ranks: Ranks) -> Tensor:
    """The vectors of all parts of all processes, each process's filled up with zeros to its share."""
    own = torch.cat([part.detach() for part in parts])
    if ranks.count > 1 and len(own) < share:
        own = torch.cat([own, own.new_zeros(share - len(own), own.shape[1])])
    return ranks.gather(own)


def cut(rows: Rows, most: int | None) -> list[slice]:
    """Slices of at most ``most`` rows; all of them together for None."""
    size = most or max(len(rows), 1)
    return [slice(start, start + size) for start in range(0, len(rows), size)]
