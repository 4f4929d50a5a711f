"""Filling a teacher cache: by running a live teacher over images once, or with vectors that somebody else computed."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.arrays import Pixels, Vectors, parts_of
from mobileclip_kit.cache.folder import CacheDescription
from mobileclip_kit.cache.writer import CacheWriter
from mobileclip_kit.data.images import FileImages, content_hashes, identities_of
from mobileclip_kit.data.pair import Pair, Skipped
from mobileclip_kit.errors import DataError
from mobileclip_kit.files import counted, sha256_of_file
from mobileclip_kit.images import normalize
from mobileclip_kit.index.npy import load_matrix, read_names
from mobileclip_kit.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mobileclip_kit.networks.model import Model

# Pixels and the images' identities → as many batches of normalised tensors as the cache has views.
Views = Callable[[Pixels, NDArray[np.uint64]], Sequence["Tensor"]]
# Norms of stored unit vectors: float16 storage alone moves them by up to this.
_UNIT_TOLERANCE = 2e-3
_BATCH = 256


@dataclass(frozen=True)
class CacheReport:
    """What a command did to a cache.

    Attributes:
        cache: The folder.
        items: Images in the cache.
        views: Vectors of each.
        added: Images that this run added.
        texts_added: Texts that this run added.
        missing: Parts of a sharded run that other parts were merged without: "2/4".
        failed: Images that have no vector, and why.
        seconds: Time taken.
    """

    cache: Path
    items: int
    views: int
    added: int
    failed: list[Skipped] = field(default_factory=list)
    seconds: float = 0.0
    texts_added: int = 0
    missing: list[str] = field(default_factory=list)


def describe_teacher(teacher: Model) -> CacheDescription:
    """The description of a cache of a live teacher's vectors, one plain view of each image."""
    from mobileclip_kit.networks.model import hash_weights, logit_bias

    return CacheDescription(
        teacher=teacher.spec.name,
        teacher_hash=teacher.spec.model_hash,
        embedding_dim=teacher.spec.embedding_dim,
        normalized=False,
        preprocessing=teacher.spec.require_image(),
        logit_scale=teacher.spec.logit_scale,
        teacher_weights=hash_weights(teacher.network),
        logit_bias=logit_bias(teacher.network),
    )


@dataclass(frozen=True)
class EncodedItems:
    """What a teacher made of some images.

    Attributes:
        keys: The names of those that could be decoded, ``n``.
        hashes: SHA-256 of their files.
        vectors: Raw, ``(n, views, d)`` float32.
        failed: The others, and why.
    """

    keys: list[str]
    hashes: list[str]
    vectors: Vectors
    failed: list[Skipped]

    @property
    def count(self) -> int:
        """Images, also those that failed."""
        return len(self.keys) + len(self.failed)


# An image and the SHA-256 of its file.
Item = tuple[Pair, str]
# Images → what the teacher makes of them, part by part.
EncodeItems = Callable[[Sequence[Item]], Generator[EncodedItems]]


def encode_items(
    teacher: Model,
    items: Sequence[Item],
    *,
    batch_size: int | None = None,
    device: str = "cpu",
    views: Views | None = None,
) -> Generator[EncodedItems]:
    """Run a teacher over images, batch by batch.

    Args:
        teacher: Gives the raw vectors.
        items: Images, and the SHA-256 of each.
        batch_size: Images that the teacher gets at once; None takes 32, on a GPU 256.
        device: Where the teacher runs.
        views: See :func:`build_cache`.
    """
    from mobileclip_kit.networks.devices import teacher_batch

    spec = teacher.spec.require_image()
    network = teacher.network.to(device).eval()
    images = FileImages([pair.image for pair, _ in items], [pair.key for pair, _ in items],
                        identities_of(sha256 for _, sha256 in items), spec)  # fmt: skip
    told = 0
    with closing(images.read(parts_of(np.arange(len(items)), batch_size or teacher_batch(device)))) as reading:
        for rows, pixels in reading:
            keys, hashes = [items[row][0].key for row in rows], [items[row][1] for row in rows]
            vectors = np.zeros((0, 1, teacher.spec.embedding_dim), np.float32)
            if keys:
                tensors = [normalize(pixels, spec)] if views is None else views(pixels, images.identities[rows])
                vectors = _encode(network, tensors, device)
            yield EncodedItems(keys, hashes, vectors, images.skipped[told:])
            told = len(images.skipped)


def build_cache(
    teacher: Model,
    pairs: Iterable[Pair],
    out: Path,
    *,
    batch_size: int | None = None,
    device: str = "cpu",
    description: CacheDescription | None = None,
    views: Views | None = None,
    encode: EncodeItems | None = None,
) -> CacheReport:
    """Make a cache, or bring one up to date: images that are in it, under whatever name, are not encoded again.

    An interrupted run keeps what it has and goes on when it is repeated. To replace a cache, see
    :func:`mobileclip_kit.cache.writer.cache_place`.

    Args:
        teacher: Gives the raw vectors.
        pairs: The images.
        out: The cache.
        batch_size: Images that the teacher gets at once; None takes 32, on a GPU 256.
        device: Where the teacher runs.
        description: Of the cache; None for :func:`describe_teacher`'s.
        views: Makes the views that ``description`` names; None for the plain image.
        encode: Runs the teacher elsewhere; None for :func:`encode_items`, here.

    Raises:
        DataError: No image can be used.
        ModelMismatchError: The cache holds another teacher's vectors.
    """
    started = time.monotonic()
    description = description or describe_teacher(teacher)
    if encode is None:
        encode = partial(encode_items, teacher, batch_size=batch_size, device=device, views=views)
    listed = list(pairs)
    hashes, failed = content_hashes([pair.image for pair in listed], [pair.key for pair in listed])
    with CacheWriter(out, description) as writer:
        held = writer.held([pair.key for pair in listed], hashes)
        wanted = [(pair, sha256) for pair, sha256 in zip(listed, hashes, strict=True) if sha256 and sha256 not in held]
        parts = closing(encode(wanted))
        with Progress("teacher", total=len(wanted), unit="images") as progress, parts as reading:
            for part in reading:
                if part.keys:
                    writer.add(part.keys, part.hashes, part.vectors)
                failed += part.failed
                progress.advance(part.count)
    if not writer.items:
        raise DataError(f"No image could be used ({len(failed)} failed; the first: {failed[0].reason})"
                        if failed else "There are no images.")  # fmt: skip
    return CacheReport(out, writer.items, description.views, writer.added, failed, time.monotonic() - started)


def _encode(network: nn.Module, views: Sequence[Tensor | NDArray[np.float32]], device: str) -> Vectors:
    import torch

    from mobileclip_kit.networks.devices import encode_in_half
    from mobileclip_kit.networks.families import encode_raw

    batches = [torch.as_tensor(view).to(device) for view in views]
    encoded = [encode_in_half(lambda batch=batch: encode_raw(network, batch), device) for batch in batches]  # type: ignore[misc]
    vectors: Vectors = torch.stack(encoded, dim=1).cpu().numpy()
    return vectors  # (n, views, d)


def import_vectors(images: Path, vectors: Path, names: Path, out: Path, *, teacher: str | None = None) -> CacheReport:
    """Make or extend a cache from a matrix and the names of its rows.

    Args:
        images: The folder that the names are relative to.
        vectors: A ``.npy`` file, ``(n, d)``: raw vectors, or unit ones whose norms are lost.
        names: One name a line (or a JSON list), n in all.
        out: The cache.
        teacher: The teacher's name; None takes the vectors' file name.

    Raises:
        DataError: The number of names differs from the rows, a name comes twice or leads out of the folder, a vector is
            not finite, or no image is there.
        ModelMismatchError: The cache holds another teacher's vectors.
    """
    started = time.monotonic()
    if not images.is_dir():
        raise DataError(f"{images} is not a folder of images.")
    matrix, listed = load_matrix(vectors), read_names(names)
    _check_names(matrix, listed, vectors, names)
    norms = _checked_norms(matrix, listed, vectors)
    description = CacheDescription(
        teacher=teacher or vectors.stem,
        teacher_hash=None,
        embedding_dim=matrix.shape[1],
        normalized=bool((np.abs(norms[norms > 0] - 1.0) < _UNIT_TOLERANCE).all()),
    )
    failed: list[Skipped] = []
    present: list[int] = []
    for row, name in enumerate(listed):
        if not (images / name).is_file() or not name:
            failed.append(Skipped(name, f"{images / name} does not exist."))
        elif norms[row] == 0.0:
            failed.append(Skipped(name, f"Row {row} of {vectors.name} is all zeros."))
        else:
            present.append(row)
    if not present:
        raise DataError(f"None of the {len(listed)} images that {names} names is in {images}.",
                        hint="Pass the folder that the names are relative to as --images.")  # fmt: skip
    with CacheWriter(out, description) as writer:
        _add_rows(writer, images, matrix, listed, present)
    return CacheReport(out, writer.items, 1, writer.added, failed, time.monotonic() - started)


def _add_rows(writer: CacheWriter, images: Path, matrix: NDArray[np.floating], names: list[str],
              present: list[int]) -> None:  # fmt: skip
    with Progress("import", total=len(present), unit="images") as progress:
        for part in parts_of(present, _BATCH):
            keys = [names[row] for row in part]
            hashes = [sha256_of_file(images / key) for key in keys]
            writer.add_fresh(keys, hashes, np.asarray(matrix[part], np.float32)[:, None, :])
            progress.advance(len(part))


def _check_names(matrix: NDArray[np.floating], listed: list[str], vectors: Path, names: Path) -> None:
    if len(listed) != len(matrix):
        listing, rows = counted(len(listed), "name"), counted(len(matrix), "row")
        raise DataError(f"{names} has {listing}, but {vectors} has {rows}.",
                        hint="Each row needs its image's name, in the same order.")  # fmt: skip
    seen: dict[str, int] = {}
    for line, name in enumerate(listed, start=1):
        if name in seen:
            raise DataError(f"{names} names {name!r} on the lines {seen[name]} and {line}.")
        if PurePath(name).is_absolute() or ".." in PurePath(name).parts:
            raise DataError(f"{names} names {name!r} on line {line}, which leads out of the folder of images.",
                            hint="Names are relative to --images.")  # fmt: skip
        seen[name] = line


def _checked_norms(matrix: NDArray[np.floating], listed: list[str], vectors: Path) -> NDArray[np.float64]:
    lengths = [np.linalg.norm(np.asarray(part, np.float64), axis=1) for part in parts_of(matrix, 4096)]
    norms: NDArray[np.float64] = np.concatenate([np.zeros(0), *lengths])
    if not np.isfinite(norms).all():
        row = int(np.argmin(np.isfinite(norms)))
        raise DataError(f"Row {row} of {vectors}, the vector of {listed[row]}, is not finite.")
    return norms
