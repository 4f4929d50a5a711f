"""The order of pictures in training, which needs no memory of the past."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mobileclip_kit.data.pictures import Rows


def batch_rows(
    pictures: int,
    *,
    batch_size: int,
    seed: int,
    first_step: int,
    steps: int,
    rivals: Rows | None = None,
) -> Iterator[Rows]:
    """The rows of each step, a pure function of (seed, step): any step can be the first.

    Every epoch is a fresh permutation; pictures that fill no batch wait for the next epoch's.

    Args:
        pictures: How many there are, at least one batch.
        batch_size: Rows of a batch.
        seed: Of the run.
        first_step: Where a resumed run goes on.
        steps: Of the whole run.
        rivals: Rows that make a batch harder, ``(pictures, k)``: of each batch, one of the rivals of each row in the
            first quarter takes a place in the last quarter, which waits for another epoch.
    """
    per_epoch = pictures // batch_size
    order, order_epoch = np.empty(0, np.int64), -1
    for step in range(first_step, steps):
        epoch, place = divmod(step, per_epoch)
        if epoch != order_epoch:
            order = np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(pictures).astype(np.int64)
            order_epoch = epoch
        rows = order[place * batch_size : (place + 1) * batch_size]
        yield rows if rivals is None else _with_rivals(rows, rivals, seed, step)


def _with_rivals(rows: Rows, rivals: Rows, seed: int, step: int) -> Rows:
    many = len(rows) // 4
    rng = np.random.Generator(np.random.Philox(key=[seed ^ 0x72697661, step]))
    chosen = rivals[rows[:many], rng.integers(rivals.shape[1], size=many)]
    # A picture twice in a batch would be a wrong answer to its own caption.
    fresh = np.unique(chosen[~np.isin(chosen, rows)])
    return np.concatenate([rows[: len(rows) - len(fresh)], fresh])
