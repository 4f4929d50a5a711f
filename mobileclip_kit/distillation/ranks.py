"""Training on several machines or devices: which process this is, and how processes bring their parts together.

Devices, process groups and collectives are accelerate's, which knows every launcher (``torchrun``, ``accelerate
launch``) and back end; a single process needs none of it and never imports it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mobileclip_kit.data.images import Rows
from mobileclip_kit.errors import UsageError
from mobileclip_kit.networks.devices import check_device


@dataclass(frozen=True)
class Ranks:
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


def is_first_process() -> bool:
    """Whether this process speaks for the run; true without a launcher."""
    return os.environ.get("RANK", "0") == "0"


def open_ranks(device: str) -> Ranks:
    """This process among those that a launcher started, or the only one.

    Args:
        device: ``cpu``, ``cuda``, ``mps`` or ``auto``; under a launcher each process takes its own of them.

    Raises:
        UsageError: This machine has no such device.
    """
    name = check_device(device)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Ranks(device=name)
    from accelerate import PartialState

    state = PartialState(cpu=name == "cpu")
    return Ranks(int(state.process_index), int(state.num_processes), str(state.device))


def check_batch(ranks: Ranks, batch_size: int) -> None:
    """Refuse a batch that the processes cannot share evenly.

    Raises:
        UsageError: It is not a multiple of the number of processes.
    """
    if batch_size % ranks.count:
        raise UsageError(
            f"A batch of {batch_size} cannot be shared evenly by {ranks.count} processes.",
            hint=f"Take a batch size that is a multiple of {ranks.count}.",
        )
