"""The model of an index, and its textness vector: found, opened, and refused where they belong to other vectors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mobileclip_kit.errors import ModelError, ModelMismatchError, UsageError
from mobileclip_kit.hub import local_place
from mobileclip_kit.index.folder import TEXTNESS_FILE, IndexReader
from mobileclip_kit.runtime.encoder import Encoder
from mobileclip_kit.runtime.open import open_encoder, open_export_encoder
from mobileclip_kit.spec import UNKNOWN_MODEL, stored_spec
from mobileclip_kit.textness.vector import Textness

# So many images of imported vectors are encoded to see whether a model made them. Other programs resize images
# differently, and quantised models differ a little.
_COMPARED_IMAGES, _SAME_MODEL = 3, 0.95
_REBUILD = (
    "Build it again from the vectors with --model M, and with --images FOLDER where the images are; or pass vectors of "
    "the same model with --query-vectors."
)


def open_model(
    place: str | Path, *, threads: int | None = None, brief: bool = False, device: str | None = None
) -> Encoder:
    """Open whatever has a model in it: what :func:`~mobileclip_kit.runtime.open.open_encoder` takes, or a bundle.

    Args:
        place: A model folder, an export, a bundle, an open_clip name or ``hf-hub:org/repo``.
        threads: Of the runtime; None lets it choose.
        brief: A few inputs are all that it will be asked: opening quickly counts for more than each of them.
        device: See :func:`mobileclip_kit.load`.
    """
    folder = Path(local_place(place))
    if (folder / "manifest.json").is_file():
        from mobileclip_kit.bundle import open_bundle

        encoder = open_export_encoder(open_bundle(folder).as_export(), threads=threads, brief=brief, device=device)
        encoder.model_path = str(place) if str(folder) != str(place) else str(folder.absolute())
        return encoder
    return open_encoder(place, threads=threads, brief=brief, device=device)


def open_query_encoder(
    index: IndexReader,
    model: str | None,
    *,
    threads: int | None = None,
    brief: bool = False,
    device: str | None = None,
) -> Encoder:
    """The model that the index belongs to.

    Args:
        index: Says where its model was.
        model: Where it is now; None for where it was.
        threads: Of the runtime.
        device: See :func:`mobileclip_kit.load`.
        brief: See :func:`open_model`.

    Raises:
        ModelError: The index was made from vectors and none of its images is there to compare a model with, or its
            model is gone.
        ModelMismatchError: It is another model.
    """
    place = model or index.header.model
    is_unknown = index.spec.model_hash.startswith(UNKNOWN_MODEL)
    if place is None or (is_unknown and model is None):
        can_compare = not is_unknown or next(_images_of(index), None) is not None
        raise ModelError(
            f"The index {index.path} does not say which model its vectors come from.",
            hint="Pass --model M, or pass vectors of the same model with --query-vectors." if can_compare else _REBUILD,
        )
    if not is_unknown and (spec := stored_spec(place)) is not None:  # before torch is imported
        spec.check_same_model(index.spec.model_hash, f"The index {index.path}")
    try:
        encoder = open_model(place, threads=threads, brief=brief, device=device)
    except ModelError as error:
        if model is not None:
            raise
        raise ModelError(
            f"The model of the index {index.path} cannot be opened: {error.message}", hint="Pass --model M."
        ) from error
    check_model(index, encoder)
    return encoder


def check_model(index: IndexReader, encoder: Encoder) -> None:
    """Refuse a model whose vectors are not the index's.

    Raises:
        ModelError: The index holds imported vectors, and none of its images is there to compare the model with.
        ModelMismatchError: It is another model.
    """
    if index.spec.model_hash.startswith(UNKNOWN_MODEL):
        _check_imported(index, encoder)
    else:
        encoder.spec.check_same_model(index.spec.model_hash, f"The index {index.path}")


def _check_imported(index: IndexReader, encoder: Encoder) -> None:
    """Refuse a model that does not give the vectors of an index of imported ones, judged by a few of its images."""
    if encoder.spec.embedding_dim != index.spec.embedding_dim:
        raise ModelMismatchError(
            f"The index {index.path} holds vectors of {index.spec.embedding_dim} numbers; those of {encoder.spec.name} "
            f"have {encoder.spec.embedding_dim}."
        )
    images = list(_images_of(index))
    images = images[:: max(1, len(images) // _COMPARED_IMAGES)][:_COMPARED_IMAGES]
    if not images:
        raise ModelError(
            f"The index {index.path} was made from vectors of an unknown model, and none of its images is there to "
            "compare the model with.",
            hint=_REBUILD,
        )
    cosines = (encoder.encode_images([path for _, path in images]) * index.vectors([row for row, _ in images])).sum(1)
    if (least := float(cosines.min())) < _SAME_MODEL:
        raise ModelMismatchError(
            f"The model {encoder.spec.name} did not make the vectors of {index.path}: its vector of "
            f"{images[int(cosines.argmin())][1]} has the cosine {least:.3f} to the stored one.",
            hint="Pass the model that made them, or pass query vectors of it with --query-vectors.",
        )


def _images_of(index: IndexReader) -> Iterator[tuple[int, Path]]:
    """The row and the file of each image that is there."""
    root = index.header.folder
    if root is not None:
        yield from ((row, root / name) for row, name, _ in index.store.listing() if (root / name).is_file())


def find_textness(index: IndexReader, path: Path | None) -> Textness:
    """The textness vector to use: the given one, or the ``textness.json`` in the index or in its model's folder.

    Raises:
        DataError: It cannot be read.
        ModelMismatchError: It belongs to another model.
        UsageError: There is none.
    """
    folders = [index.path] + ([Path(index.header.model)] if index.header.model else [])
    places = [path] if path else [folder / TEXTNESS_FILE for folder in folders]
    for place in places:
        if path or place.is_file():
            textness = Textness.load(place)
            index.spec.check_same_model(textness.model_hash, f"The textness vector {place}")
            return textness
    raise UsageError(
        "--textness needs a textness vector, and there is none beside the index or its model.",
        hint="Make one with `mckit textness fit IMAGES --model M -o FILE` and pass it with --textness-vector.",
    )
