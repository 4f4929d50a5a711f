"""Training on several machines or devices: which process this is, and how processes bring their parts together.

Devices, process groups and collectives are accelerate's, which knows every launcher (``torchrun``, ``accelerate
launch``) and back end; a single process needs none of it and never imports it.

A contrastive loss is not a sum over images: each one is compared with all of the batch. So a batch that is cut, into
parts that fit into memory one by one or over several processes, is put together again at its vectors: all vectors, the
loss of the whole and its gradient with respect to each vector, which then goes back into the part that made it
(GradCache, arXiv 2101.06983). The result is that of one process with the whole batch, but for batch norm, whose
statistics are each part's own.

Several parts of one process pass the model twice: once for their vectors, once more for the gradient.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from mobileclip_kit.data.images import Rows, identity_of
from mobileclip_kit.distillation.objective import Batch, Encoded, StepContext, VectorObjective
from mobileclip_kit.errors import UsageError
from mobileclip_kit.networks.devices import check_device

Made = TypeVar("Made")


@dataclass(frozen=True)
class DistributedContext:
    """The processes of a run.

    Attributes:
        index: This process, from 0; process 0 writes files and speaks.
        count: How many there are.
        device: Where this process computes.
    """

    index: int = 0
    count: int = 1
    device: str = "cpu"

    @property
    def is_first(self) -> bool:
        """Whether this process writes and speaks."""
        return self.index == 0

    def share(self, rows: Rows) -> Rows:
        """This process's part of a batch; the parts are contiguous, so that together they are the batch in order."""
        part = len(rows) // self.count
        return rows[self.index * part : (self.index + 1) * part]

    def gather(self, tensor: Tensor) -> Tensor:
        """The parts of all processes, one below the other; all parts have one shape. No gradient flows through."""
        if self.count == 1:
            return tensor
        from accelerate.utils import gather

        gathered: Tensor = gather(tensor.detach().contiguous())
        return gathered

    def gather_rows(self, rows: Rows, most: int, stop: bool) -> tuple[Rows, bool]:
        """The rows of all processes and whether one of them was asked to stop.

        Args:
            rows: This process's, at most ``most``; images that could not be decoded are missing.
            most: Of each process.
            stop: Whether this process was asked to stop.

        Returns:
            Rows of all processes, each part filled up with −1 to ``most``.
        """
        message = torch.full((1, most + 1), -1, dtype=torch.int64, device=self.device)
        message[0, 0] = int(stop)
        message[0, 1 : len(rows) + 1] = torch.from_numpy(rows)
        gathered = self.gather(message).cpu().numpy()
        return gathered[:, 1:].reshape(-1), bool(gathered[:, 0].any())

    def sum_(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its sum over the processes."""
        if self.count == 1:
            return
        from accelerate.utils import reduce

        # One message for all tensors of a type: hundreds of small ones would each wait for the network.
        by_type: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors:
            by_type.setdefault(tensor.dtype, []).append(tensor)
        for group in by_type.values():
            total = reduce(torch.cat([tensor.detach().reshape(-1) for tensor in group]), reduction="sum")
            start = 0
            for tensor in group:
                tensor.copy_(total[start : start + tensor.numel()].view_as(tensor))
                start += tensor.numel()

    def collect(self, items: Sequence[Any]) -> list[Any]:
        """The items of all processes, in order."""
        if self.count == 1:
            return list(items)
        from accelerate.utils import gather_object

        gathered: list[Any] = gather_object(list(items))
        return gathered

    def wait(self) -> None:
        """Until every process is here."""
        if self.count > 1:
            from accelerate import PartialState

            PartialState().wait_for_everyone()

    def first(self, work: Callable[[], Made]) -> Made:
        """Do the work in the first process, then in the others, which find on disk what the first one made."""
        if not self.is_first:
            self.wait()
        made = work()
        if self.is_first:
            self.wait()
        return made


def is_first_process() -> bool:
    """Whether this process speaks for the run; true without a launcher."""
    return os.environ.get("RANK", "0") == "0"


def open_context(device: str) -> DistributedContext:
    """This process among those that a launcher started, or the only one.

    Args:
        device: ``cpu``, ``cuda``, ``mps`` or ``auto``; under a launcher each process takes its own of them.

    Raises:
        UsageError: This machine has no such device.
    """
    name = check_device(device)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return DistributedContext(device=name)
    from accelerate import PartialState

    state = PartialState(cpu=name == "cpu")
    return DistributedContext(int(state.process_index), int(state.num_processes), str(state.device))


def check_batch(context: DistributedContext, batch_size: int) -> None:
    """Refuse a batch that the processes cannot share evenly.

    Raises:
        UsageError: It is not a multiple of the number of processes.
    """
    if batch_size % context.count:
        raise UsageError(
            f"A batch of {batch_size} cannot be shared evenly by {context.count} processes.",
            hint=f"Take a batch size that is a multiple of {context.count}.",
        )


class Scaler(Protocol):
    """What float16 training needs: torch's GradScaler."""

    def scale(self, outputs: Tensor) -> Tensor:
        """The loss times the present scale."""
        ...


def backward_whole_batch(
    objective: VectorObjective,
    parts: Sequence[Batch],
    context: StepContext,
    *,
    processes: DistributedContext,
    share: int,
    stop: bool,
    autocast: AbstractContextManager[Any],
    scaler: Scaler,
) -> tuple[float, dict[str, float] | None, bool]:
    """Add the gradient of the whole batch's loss to the parameters' ``grad``, the same in every process.

    Args:
        objective: The modules to train, and their loss.
        parts: This process's images.
        context: The step's place in the run.
        processes: The processes.
        share: Images of a process when none is missing.
        stop: Whether this process was asked to stop.
        autocast: Reusable context for the forward passes.
        scaler: Of the loss.

    Returns:
        The loss, its parts for the log, and whether any process was asked to stop. Where a process has no image that
        could be decoded, or all together have one only, there is nothing to compare: NaN and None, in every process.
    """
    own = np.concatenate([part.rows for part in parts]) if parts else np.zeros(0, np.int64)
    rows, stop = processes.gather_rows(own, share, stop)
    present = (rows >= 0).reshape(processes.count, share).sum(axis=1)
    if present.min() == 0 or present.sum() < 2:
        return math.nan, None, stop
    modules = objective.modules()
    encoded = [_encode(objective, part, place, processes, autocast, modules, keep=len(parts) == 1)
               for place, part in enumerate(parts)]  # fmt: skip
    real = torch.from_numpy(rows >= 0).to(processes.device)
    whole = {name: _whole([each.trained[name] for each in encoded], share, processes)[real].requires_grad_()
             for name in encoded[0].trained}  # fmt: skip
    constant = {name: _whole([each.constant[name] for each in encoded], share, processes)[real]
                for name in encoded[0].constant}  # fmt: skip
    with autocast:
        shared = objective.shared(context)
    loss, log = objective.compare(Encoded(whole, constant), shared, rows[rows >= 0], context)
    # Every process computes this same loss: what it shares (the logit scale, a text bank) gets an equal part from each.
    scaler.scale(loss / processes.count).backward()  # type: ignore[no-untyped-call]
    before = int((rows[: processes.index * share] >= 0).sum())
    for place, part in enumerate(parts):
        again = (
            encoded[0] if len(parts) == 1 else _encode(objective, part, place, processes, autocast, modules, keep=True)
        )
        outputs, gradients = [], []
        for name, vectors in again.trained.items():
            grad = whole[name].grad
            if grad is not None and vectors.requires_grad:
                outputs.append(vectors)
                gradients.append(grad[before : before + len(part.rows)] * processes.count)
        torch.autograd.backward(outputs, gradients)
        before += len(part.rows)
    return float(loss.detach()), log, stop


def sum_gradients(
    parameters: Mapping[str, nn.Parameter], modules: Mapping[str, nn.Module], processes: DistributedContext
) -> None:
    """Bring the processes' gradients together, and average their running statistics (batch norm's)."""
    if processes.count == 1:
        return
    processes.sum_(parameter.grad for parameter in parameters.values() if parameter.grad is not None)
    statistics = [buffer for module in modules.values() for buffer in module.buffers() if buffer.is_floating_point()]
    processes.sum_(statistics)
    for buffer in statistics:
        buffer.div_(processes.count)


def _encode(objective: VectorObjective, part: Batch, place: int, processes: DistributedContext,
            autocast: AbstractContextManager[Any], modules: Mapping[str, nn.Module], *,
            keep: bool) -> Encoded:  # fmt: skip
    """A part's vectors, with their graph if it is to be kept; the same random numbers each time."""
    torch.manual_seed(identity_of(f"{part.context.seed}/step/{part.context.step}/{processes.index}/{place}") >> 1)
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


def _whole(parts: Sequence[Tensor], share: int, processes: DistributedContext) -> Tensor:
    """The vectors of all parts of all processes, each process's filled up with zeros to its share."""
    own = torch.cat([part.detach() for part in parts])
    if processes.count > 1 and len(own) < share:
        own = torch.cat([own, own.new_zeros(share - len(own), own.shape[1])])
    return processes.gather(own)


def cut(rows: Rows, most: int | None) -> list[slice]:
    """Slices of at most ``most`` rows; all of them together for None."""
    size = most or max(len(rows), 1)
    return [slice(start, start + size) for start in range(0, len(rows), size)]
