"""From pairs to a training set: usable images, held-out images, decoding into memory."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.data.images import (
    MEMORY_BYTES,
    FileImages,
    Images,
    Rows,
    content_hashes,
    identities_of,
    random_numbers,
)
from mobileclip_kit.data.pair import Pair, Skipped
from mobileclip_kit.errors import DataError, UsageError
from mobileclip_kit.files import counted
from mobileclip_kit.spec import ImageSpec


@dataclass
class TrainingPairs:
    """Pairs that have a readable file and, with a cache, a vector.

    Attributes:
        pairs: In the source's order.
        hashes: SHA-256 of each image file.
    """

    pairs: list[Pair]
    hashes: list[str]

    def __len__(self) -> int:
        return len(self.pairs)

    def take(self, rows: Collection[int]) -> TrainingPairs:
        """Some of them."""
        return TrainingPairs([self.pairs[row] for row in rows], [self.hashes[row] for row in rows])


def usable_pairs(
    pairs: Sequence[Pair], known: Collection[str] | None, skipped: list[Skipped], cache: str
) -> TrainingPairs:
    """Hash the images and keep those that have a target.

    Args:
        pairs: The source's.
        known: Content hashes that the cache holds; None when a live teacher computes them.
        skipped: Receives what is left out.
        cache: The cache's name for messages.
    """
    hashes, unreadable = content_hashes([pair.image for pair in pairs], [pair.key for pair in pairs])
    skipped += unreadable
    usable = TrainingPairs([], [])
    for pair, sha256 in zip(pairs, hashes, strict=True):
        if known is not None and sha256 and sha256 not in known:
            skipped.append(Skipped(pair.key, f"The cache {cache} has no vector of this image."))
        elif sha256:
            usable.pairs.append(pair)
            usable.hashes.append(sha256)
    return usable


def split_holdout(pairs: TrainingPairs, holdout: str | float | None) -> tuple[TrainingPairs, TrainingPairs]:
    """Set images aside that are never trained on.

    Args:
        pairs: All of them.
        holdout: A share in 0…1, or a file that names the images, one a line. A share takes the same images in
            every run, whatever the seed: those whose content hashes to the lowest numbers.

    Returns:
        Training and held-out images.

    Raises:
        UsageError: Neither a share nor a file.
        DataError: The file names an image that is not there.
    """
    if holdout is None:
        return pairs, TrainingPairs([], [])
    wanted = read_holdout(holdout)
    if isinstance(wanted, float):
        numbers = random_numbers(identities_of(pairs.hashes), seed=0, epoch=0, count=1)[:, 0]
        aside = {int(row) for row in np.argsort(numbers, kind="stable")[: round(wanted * len(pairs))]}
    else:
        rows = {pair.key: row for row, pair in enumerate(pairs.pairs)}
        unknown = [name for name in wanted if name not in rows]
        if unknown:
            images = counted(len(unknown), "image")
            raise DataError(f"{holdout} names {images} that cannot be used, the first is {unknown[0]!r}.")
        aside = {rows[name] for name in wanted}
    seen = {pairs.hashes[row] for row in aside}  # the same image under another name is not trained on either
    train = [row for row, sha256 in enumerate(pairs.hashes) if sha256 not in seen]
    return pairs.take(train), pairs.take(sorted(aside))


def read_holdout(holdout: str | float) -> float | list[str]:
    """A share in 0…1, or the names that a file lists.

    Raises:
        UsageError: Neither a share nor a readable file.
    """
    try:
        share = float(holdout)
    except ValueError:
        try:
            names = Path(str(holdout)).read_text(encoding="utf-8").splitlines()
        except OSError as error:
            reason = f"neither a share nor a readable file: {error.strerror}"
            raise UsageError(f"--holdout is {holdout}, {reason}.") from error
        except UnicodeDecodeError as error:
            raise UsageError(f"--holdout names the file {holdout}, which is not UTF-8.") from error
        return [name.strip() for name in names if name.strip()]
    if not 0.0 <= share < 1.0:
        raise UsageError(f"--holdout is {holdout}; a share must be in 0…1.")
    return share


def load_images(pairs: TrainingPairs, image: ImageSpec, *, draft: bool = False,
                file: Path | None = None) -> tuple[TrainingPairs, Images]:  # fmt: skip
    """Images as the trainer takes them, see :func:`load_files`.

    Returns:
        The pairs whose rows the images have: those that could not be decoded are gone, and listed by the images.
    """
    rows, images = load_files(pairs.pairs, identities_of(pairs.hashes), image, draft=draft, file=file)
    return pairs.take([int(row) for row in rows]), images


def load_files(pairs: Sequence[Pair], identities: NDArray[np.uint64], image: ImageSpec, *, draft: bool = False,
               file: Path | None = None) -> tuple[Sequence[int], Images]:  # fmt: skip
    """Images of pairs, decoded into memory when they fit, else into a file if one is named, else in every epoch.

    Returns:
        The rows of the pairs that have an image, and the images in the same order.
    """
    files = FileImages([pair.image for pair in pairs], [pair.key for pair in pairs], identities, image, draft=draft)
    if len(pairs) * image.height * image.width * 3 > MEMORY_BYTES:
        if file is None:
            return range(len(pairs)), files
        rows, images = files.in_file(file)
    else:
        rows, images = files.in_memory()
    return [int(row) for row in rows], images


def fingerprint_of(pairs: TrainingPairs) -> str:
    """One hash for a training set: contents and their order."""
    numbers: NDArray[np.uint64] = identities_of(pairs.hashes)
    return f"{len(pairs)} images, {identities_of([numbers.tobytes()])[0]:016x}"


def some_rows(images: int, most: int) -> Rows:
    """At most so many rows, in order, drawn from the whole set: the first ones of a sorted set would be of one kind."""
    return np.sort(np.random.default_rng(0).permutation(images)[:most]).astype(np.int64)


def batch_rows(images: int, *, batch_size: int, seed: int, first_step: int, steps: int) -> Iterator[Rows]:
    """The rows of each step, a pure function of (seed, step): any step can be the first.

    Every epoch is a fresh permutation; images that fill no batch wait for the next epoch's.

    Args:
        images: How many there are, at least one batch.
        batch_size: Rows of a batch.
        seed: Of the run.
        first_step: The first step of a resumed run.
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
