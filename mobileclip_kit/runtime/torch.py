"""Models executed by torch: the float32 reference that every export is measured against.

Nothing of :mod:`mobileclip_kit.exporting` is used here on purpose: preprocessing is
:func:`mobileclip_kit.images.normalize`, masks and pooling are the network's own, so that a mistake in an exported tower
cannot hide in its reference.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from mobileclip_kit.arrays import Ids, Pixels, Vectors
from mobileclip_kit.images import normalize
from mobileclip_kit.networks.devices import check_device
from mobileclip_kit.networks.families import encode_raw, encode_text_raw
from mobileclip_kit.networks.model import Model
from mobileclip_kit.runtime.encoder import Encoder


class TorchEncoder(Encoder):
    """A model in memory as an encoder.

    Args:
        model: From :func:`mobileclip_kit.networks.model.load_model`.
        threads: Of torch in this process; None leaves them as they are.
        batch_size: The most inputs that are executed at once.
        device: ``cpu``, ``cuda``, ``cuda:1`` or ``mps``; ``auto`` for the best one; None for where the model is.

    Attributes:
        network: The model's, on that device.
    """

    runtime = "torch"
    devices = ("cpu", "cuda", "mps")

    @classmethod
    def check_device(cls, device: str | None, what: str) -> None:
        """See :meth:`Encoder.check_device`."""
        super().check_device(device, what)
        if device is not None:
            check_device(device)

    def __init__(
        self, model: Model, *, threads: int | None = None, batch_size: int = 32, device: str | None = None
    ) -> None:
        super().__init__(model.spec, tokenizer_file=model.tokenizer_file, batch_size=batch_size, threads=threads)
        self.network: Any = model.network if device is None else model.network.to(check_device(device))
        if threads is not None:
            torch.set_num_threads(threads)

    @property
    def device(self) -> str:
        """See :attr:`Encoder.device`."""
        return str(next(self.network.parameters()).device)

    @contextlib.contextmanager
    def in_parallel(self) -> Iterator[tuple[Encoder, int]]:
        """See :meth:`Encoder.in_parallel`: torch has one thread for each batch until the block ends."""
        if self.threads is not None or self.device != "cpu":
            yield self, 1
            return
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield self, os.cpu_count() or 1
        finally:
            torch.set_num_threads(before)

    def _run_images(self, pixels: Pixels) -> Vectors:
        images = torch.from_numpy(normalize(pixels, self.spec.require_image()))
        with torch.inference_mode():
            return _unit(encode_raw(self.network, images.to(self.device)))

    def _run_texts(self, ids: Ids) -> Vectors:
        with torch.inference_mode():
            return _unit(encode_text_raw(self.network, torch.from_numpy(ids).to(self.device)))


def _unit(vectors: torch.Tensor) -> Vectors:
    array = torch.nn.functional.normalize(vectors, dim=-1).cpu().numpy()
    return array.astype(np.float32, copy=False)
