"""The order of images in training, which needs no memory of the past."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mobileclip_kit.data.images import Rows


def batch_rows(images: int, *, batch_size: int, seed: int, first_step: int, steps: int) -> Iterator[Rows]:
    """The rows of each step, a pure function of (seed, step): any step can be the first.

    Every epoch is a fresh permutation; images that fill no batch wait for the next epoch's.

    Args:
        images: How many there are, at least one batch.
        batch_size: Rows of a batch.
        seed: Of the run.
        first_step: Where a resumed run goes on.
        steps: Of the whole run.
    """
    per_epoch = images // batch_size
    order, order_epoch = np.empty(0, np.int64), -1
    for step in range(first_step, steps):
        epoch, place = divmod(step, per_epoch)
        if epoch != order_epoch:
            order = np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(images).astype(np.int64)
            order_epoch = epoch
        yield order[place * batch_size : (place + 1) * batch_size]
