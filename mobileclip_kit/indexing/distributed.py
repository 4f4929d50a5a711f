"""The encoding of an index's images on the machines of a Ray cluster.

A part is a few hundred files. A worker hashes, decodes and encodes them and returns their vectors and failures; it
writes nothing. The process that asked appends them to the index, in transactions as ever: what is committed is what a
later run does not repeat, whichever machine or process was lost. Every machine must see the images and the model under
the same paths or URLs.
"""

from __future__ import annotations

import functools
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mobileclip_kit.arrays import Vectors, parts_of
from mobileclip_kit.cluster import run_on_cluster
from mobileclip_kit.errors import DataError, MckitError, ModelError, UsageError
from mobileclip_kit.indexing.decode import Decoded, decode_ahead
from mobileclip_kit.indexing.scan import FileToEncode
from mobileclip_kit.runtime.encoder import Encoder

_PART_ITEMS = 256


@dataclass(frozen=True)
class EncodedPart:
    """What became of some files.

    Attributes:
        images: Each file, without its pixels.
        vectors: ``(n, d)`` of those that could be decoded, in the order of ``images``.
    """

    images: Sequence[Decoded]
    vectors: Vectors


@dataclass(frozen=True, kw_only=True)
class PartEncoder:
    """Encodes a part of an index's images; the same part always gives the same.

    Attributes:
        images: The indexed folder, which every machine must have; a URL is a str.
        model: Where every machine finds the model.
        model_hash: The model's.
        batch_size: Images encoded at once.
        draft: See :func:`mobileclip_kit.images.load_pixels`.
        device: Where the model computes; None for its runtime's choice.
    """

    images: Path | str
    model: str
    model_hash: str
    batch_size: int = 32
    draft: bool = True
    device: str | None = None

    def __call__(self, files: Sequence[FileToEncode]) -> EncodedPart:
        """Hash, decode and encode files.

        Raises:
            DataError: The folder is not on this machine.
            ModelError: The model is not, or cannot be opened.
            ModelMismatchError: It is another one here.
        """
        import socket

        here = socket.gethostname()
        if isinstance(self.images, Path) and not self.images.is_dir():
            raise DataError(f"{self.images} is not on the cluster's machine {here}.",
                            hint="Every machine must see the images under the same path.")  # fmt: skip
        try:
            encoder = _open(self.model, self.device)
        except MckitError as error:
            raise ModelError(f"On the cluster's machine {here}: {error.message}", hint=error.hint) from error
        encoder.spec.check_same_model(self.model_hash, f"The process that runs the cluster's machine {here}")
        decoded = decode_ahead(files, encoder.spec.require_image(), is_known=lambda _: False, workers=1,
                               ahead=self.batch_size, draft=self.draft)  # fmt: skip
        images: list[Decoded] = []
        vectors = [np.zeros((0, encoder.spec.embedding_dim), np.float32)]
        waiting = []
        for one in decoded:
            images.append(replace(one, pixels=None))
            if one.pixels is not None:
                waiting.append(one.pixels)
            if len(waiting) == self.batch_size:
                vectors.append(encoder.encode_images(np.stack(waiting)))
                waiting = []
        if waiting:
            vectors.append(encoder.encode_images(np.stack(waiting)))
        return EncodedPart(images, np.concatenate(vectors))


def encode_on_cluster(
    files: Sequence[FileToEncode], images: Path | str, encoder: Encoder, address: str, *, batch_size: int, draft: bool
) -> Generator[EncodedPart]:
    """Vectors of an index's files from a Ray cluster, part by part, in the order in which they are done.

    Args:
        files: What to encode.
        images: The indexed folder, absolute; a URL is a str.
        encoder: Whose model the workers open.
        address: See :func:`mobileclip_kit.cluster.check_cluster`.
        batch_size: Images encoded at once.
        draft: See :func:`mobileclip_kit.images.load_pixels`.

    Raises:
        ClusterError: See :func:`mobileclip_kit.cluster.run_on_cluster`.
        DataError: A machine does not have the folder.
        ModelError: A machine does not have the model.
        UsageError: The model lies in this process's memory only.
    """
    if encoder.model_path is None:
        raise UsageError("A cluster cannot open a model that lies in memory only.", hint="Save it, and pass its path.")
    # Ray shows each worker its own GPU, as the first one.
    kind = encoder.device.partition(":")[0]
    device = kind if kind == "cuda" else encoder.device
    work = PartEncoder(images=images, model=encoder.model_path, model_hash=encoder.spec.model_hash,
                       batch_size=batch_size, draft=draft, device=None if device == "cpu" else device)  # fmt: skip
    return run_on_cluster(work, parts_of(files, _PART_ITEMS), address, device=device)


@functools.lru_cache(maxsize=1)
def _open(model: str, device: str | None) -> Encoder:
    from mobileclip_kit.runtime.open import open_encoder

    return open_encoder(model, threads=1, device=device)
