"""Running a live teacher over images, once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mobileclip_kit.arrays import Pixels, Vectors
from mobileclip_kit.cache.folder import CacheDescription
from mobileclip_kit.cache.importing import CacheReport
from mobileclip_kit.cache.writer import CacheWriter
from mobileclip_kit.data.images import FileImages, content_hashes, identities_of
from mobileclip_kit.data.pair import Pair
from mobileclip_kit.errors import DataError
from mobileclip_kit.images import normalize
from mobileclip_kit.networks.model import Model
from mobileclip_kit.networks.raw import encode_raw
from mobileclip_kit.progress import Progress

# Pixels and the images' identities → as many batches of normalised tensors as the cache has views.
Views = Callable[[Pixels, NDArray[np.uint64]], Sequence[Tensor]]


def describe_teacher(teacher: Model) -> CacheDescription:
    """The description of a cache of a live teacher's vectors, one plain view of each image."""
    return CacheDescription(
        teacher=teacher.spec.name,
        teacher_hash=teacher.spec.model_hash,
        embedding_dim=teacher.spec.embedding_dim,
        normalized=False,
        preprocessing=teacher.spec.require_image(),
        logit_scale=teacher.spec.logit_scale,
    )


def build_cache(
    teacher: Model,
    pairs: Iterable[Pair],
    out: Path,
    *,
    batch_size: int = 32,
    device: str = "cpu",
    description: CacheDescription | None = None,
    views: Views | None = None,
) -> CacheReport:
    """Make a cache, or bring one up to date: images that are in it, under whatever name, are not asked again.

    An interrupted run keeps what it has and goes on when it is repeated. To replace a cache, see
    :func:`mobileclip_kit.cache.replacing.cache_place`.

    Args:
        teacher: Asked for raw vectors.
        pairs: The images.
        out: The cache.
        batch_size: Images that the teacher gets at once.
        device: Where the teacher runs.
        description: Of the cache; None for :func:`describe_teacher`'s.
        views: Makes the views that ``description`` tells of; None for the plain image.

    Raises:
        DataError: No image can be used.
        ModelMismatchError: The cache holds another teacher's vectors.
    """
    started = time.monotonic()
    spec = teacher.spec.require_image()
    description = description or describe_teacher(teacher)
    network = teacher.network.to(device).eval()
    listed = list(pairs)
    hashes, failed = content_hashes([pair.image for pair in listed], [pair.key for pair in listed])
    with CacheWriter(out, description) as writer:
        held = writer.held([pair.key for pair in listed], hashes)
        wanted = [(pair, sha256) for pair, sha256 in zip(listed, hashes, strict=True) if sha256 and sha256 not in held]
        images = FileImages([pair.image for pair, _ in wanted], [pair.key for pair, _ in wanted],
                                identities_of(sha256 for _, sha256 in wanted), spec)  # fmt: skip
        batches = closing(images.read(_rows(len(wanted), batch_size)))
        with Progress("teacher", total=len(wanted), unit="images") as progress, batches as reading:
            for rows, pixels in reading:
                if len(rows):
                    plain = [torch.from_numpy(normalize(pixels, spec))]
                    tensors = plain if views is None else views(pixels, images.identities[rows])
                    keys = [wanted[row][0].key for row in rows]
                    writer.add(keys, [wanted[row][1] for row in rows], _ask(network, tensors, device))
                progress.advance(len(rows))
    failed += images.skipped
    if not writer.items:
        raise DataError(f"No image could be used ({len(failed)} failed; the first: {failed[0].reason})"
                        if failed else "There are no images.")  # fmt: skip
    return CacheReport(writer.items, description.views, writer.added, failed, time.monotonic() - started)


@torch.inference_mode()
def _ask(network: torch.nn.Module, views: Sequence[Tensor], device: str) -> Vectors:
    vectors: Vectors = torch.stack([encode_raw(network, view.to(device)) for view in views], dim=1).cpu().numpy()
    return vectors  # (n, views, d)


def _rows(count: int, batch_size: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, count, batch_size):
        yield np.arange(start, min(start + batch_size, count), dtype=np.int64)
