"""An index that is open for searching."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from mobileclip_kit.arguments import Confidence, Count, check_arguments, listed_texts, python_errors, request_from
from mobileclip_kit.arrays import Vectors
from mobileclip_kit.confidence.background import Background, open_background
from mobileclip_kit.duplicates import DuplicateGroup, describe_group, find_duplicates
from mobileclip_kit.errors import ShapeError, UsageError
from mobileclip_kit.index.folder import IndexReader
from mobileclip_kit.progress import ProgressOption, show_progress
from mobileclip_kit.runtime.encoder import Encoder, listed_images
from mobileclip_kit.search.hits import Hit, certain_hits, search, search_files
from mobileclip_kit.search.models import check_model, find_textness, open_query_encoder
from mobileclip_kit.search.queries import combine, encode_judged, finite_rows, vectors_of_items
from mobileclip_kit.search.request import Filters
from mobileclip_kit.spec import ModelSpec
from mobileclip_kit.urls import as_place

if TYPE_CHECKING:
    from mobileclip_kit.indexing.report import IndexReport
    from mobileclip_kit.runtime.encoder import ImageLike
    from mobileclip_kit.tagging.labels import Label
    from mobileclip_kit.tagging.request import TagRequest
    from mobileclip_kit.tagging.tagger import TagReport


class Index:
    """An index, opened for searching: the state of the moment it was opened.

    :func:`mobileclip_kit.open_index` and :func:`mobileclip_kit.build_index` return one. A context manager.

    Args:
        path: The index folder.
        model: Its model: an :class:`~mobileclip_kit.runtime.encoder.Encoder`, or where the model lies; None for where
            it was when the index was built. It is opened when a query needs it.
        threads: Of a model that is opened here.
        brief: See :func:`open_model`.
        device: See :func:`mobileclip_kit.load`.

    Attributes:
        path: The index folder.
        report: The run that built or updated it in this process; None for an index that was only opened.

    Raises:
        IndexFormatError: The folder is no index, is damaged, or of another version.

    Example:
        >>> with mckit.open_index(index) as photos:
        ...     len(photos), [hit.rank for hit in photos.search("a red house", k=2)]
        (3, [1, 2])
    """

    def __init__(
        self,
        path: str | Path,
        model: Encoder | str | Path | None = None,
        *,
        threads: int | None = None,
        brief: bool = False,
        device: str | None = None,
    ) -> None:
        self.path = Path(path)
        self.report: IndexReport | None = None
        self._encoder = model if isinstance(model, Encoder) else None
        self._opening = {"model": None if model is None else str(model), "threads": threads, "brief": brief,
                         "device": device}  # fmt: skip
        self._open_reader: IndexReader | None = IndexReader(self.path)
        if self._encoder is not None:
            check_model(self._reader, self._encoder)

    @property
    def _reader(self) -> IndexReader:
        if self._open_reader is None:
            raise UsageError(f"The index {self.path} is closed.", hint="Open it again with mobileclip_kit.open_index.")
        return self._open_reader

    @property
    def spec(self) -> ModelSpec:
        """The model whose vectors these are."""
        return self._reader.spec

    @property
    def image_folder(self) -> Path | None:
        """The folder of the images; None for images at a URL, and for vectors that were imported without images."""
        return self._reader.header.folder

    @property
    def images_at(self) -> Path | str | None:
        """As :attr:`image_folder`, or the URL of the images."""
        return self._reader.header.place

    @property
    def items(self) -> list[str]:
        """The names of all images that have a vector, sorted."""
        return [name for _, name, _ in self._reader.store.listing()]

    @property
    def encoder(self) -> Encoder:
        """The index's model, opened when first asked for.

        Raises:
            ModelError: It is gone, or the index was made from vectors of an unknown model.
            ModelMismatchError: It is another model.
        """
        if self._encoder is None:
            self._encoder = open_query_encoder(self._reader, **self._opening)  # type: ignore[arg-type]
        return self._encoder

    @python_errors
    def search(
        self,
        query: str | None = None,
        *,
        image: ImageLike | None = None,
        like: str | Sequence[str] = (),
        k: int = 10,
        templates: str | Sequence[str] = (),
        textness: float = 0.0,
        textness_vector: str | Path | None = None,
        min_confidence: float | None = None,
        **filters: Any,
    ) -> list[Hit]:
        """The images that answer one query, best first.

        Args:
            query: Words. A sign before a word adds or takes away the text up to the next sign, on request with a
                weight: ``"beach -people +sunset:2"``.
            image: An image: a path, a Pillow image or a uint8 array. Beside words it is added to them.
            like: An item of the index, or several: more like this. Beside words they are added to them.
            k: The most hits.
            templates: A sentence such as ``"a photo of {}"``, or several, whose vectors are averaged.
            textness: Above 0 prefers images with written words, below 0 avoids them.
            textness_vector: A ``textness.json``; None for the one in the index or beside its model.
            min_confidence: Leaves out hits of a lower confidence, from 0 to 1, and all after ten of them in a row, so
                that nothing may be left. Hits whose confidence is None are kept: those of images and items, and of an
                index without a background (see ``confidence_problem``).
            **filters: Among which images: the filters of ``mckit search``, such as ``folder="holidays"``. A day is a
                ``date``, a ``datetime`` or a text such as ``"2024-05-31"``.

        Returns:
            At most ``k`` hits, each of a query in words with its ``confidence``.

        Raises:
            DataError: An item is not in the index, or the index has no such folder.
            ImageError: The image cannot be decoded.
            ModelError: The index's model is gone, or lacks a tower.
            UsageError: Nothing was asked for, the parts of the query cancel each other, or the index was closed.

        Example:
            >>> with mckit.open_index(index) as photos:
            ...     hits = photos.search("a dog -bicycle", k=1)
            ...     hits[0].path == photo.with_name(hits[0].item)
            True
        """
        check_arguments("search", query=(query, str | None))
        likes = listed_texts("search", "like", like)
        words, images = [] if query is None else [query], [] if image is None else [image]
        vectors, judged = self.encode_judged(words, images=images, like=likes, templates=templates)
        if len(vectors) > 1:  # an image and items without words
            vectors = combine([1.0] * len(vectors), vectors)[None]
        hits = self.search_vectors(
            vectors,
            k=k,
            textness=textness,
            textness_vector=textness_vector,
            without=likes,
            judged=judged,
            min_confidence=min_confidence,
            **filters,
        )
        return hits[0]

    def encode(
        self,
        words: str | Sequence[str] = (),
        *,
        images: ImageLike | Iterable[ImageLike] = (),
        like: str | Sequence[str] = (),
        templates: str | Sequence[str] = (),
    ) -> Vectors:
        """Query vectors: one for each of ``words``, or without words one for each image and item.

        Args:
            words: Queries as in :meth:`search`; images and items are added to each of them.
            images: Images that need not be in the index, or one.
            like: Items of the index.
            templates: See :meth:`search`.

        Returns:
            Unit rows, ``(q, d)`` float32.

        Raises:
            MckitError: See :meth:`search`.
        """
        return self.encode_judged(words, images=images, like=like, templates=templates)[0]

    def encode_judged(
        self,
        words: str | Sequence[str] = (),
        *,
        images: ImageLike | Iterable[ImageLike] = (),
        like: str | Sequence[str] = (),
        templates: str | Sequence[str] = (),
    ) -> tuple[Vectors, Vectors | None]:
        """As :meth:`encode`, with the vectors that :meth:`search_vectors` computes confidences from.

        Returns:
            Query vectors, and those of the words alone that are asked for, without those that a query takes away; None
            for queries with images or items.
        """
        words, like = listed_texts("encode", "words", words), listed_texts("encode", "like", like)
        templates, images = listed_texts("encode", "templates", templates), listed_images(images)
        if not (len(words) or len(images) or len(like)):
            raise UsageError("There is no query.", hint="Pass words, an image, or an item of the index.")
        beside = vectors_of_items(self._reader, like)
        if len(images):
            beside = np.concatenate([self.encoder.encode_images(images), beside])
        if not len(words):
            return beside, None
        vectors, judged = encode_judged(self.encoder, words, templates=templates, beside=beside)
        return vectors, None if len(beside) else judged

    def search_vectors(
        self,
        vectors: Vectors,
        *,
        k: int = 10,
        textness: float = 0.0,
        textness_vector: str | Path | None = None,
        without: str | Sequence[str] = (),
        judged: Vectors | None = None,
        min_confidence: float | None = None,
        fold: bool = False,
        **filters: Any,
    ) -> list[list[Hit]]:
        """The hits of several queries.

        Args:
            vectors: Unit rows, ``(q, d)`` float32.
            k: The most hits of each query.
            textness: See :meth:`search`.
            textness_vector: See :meth:`search`.
            without: Items that are never hits.
            judged: What the confidences of hits are computed from, ``(q, d)``, see :meth:`encode_judged`; None for hits
                without a confidence.
            min_confidence: See :meth:`search`.
            fold: Whether files of the same content are one hit, with ``copies``.
            **filters: See :meth:`search`.

        Returns:
            A list of at most ``k`` hits for each query, best first.

        Raises:
            DataError: The index has no such folder.
            ShapeError: These are not ``(q, d)`` finite numbers of the index's width.
            UsageError: There is no textness vector, a day cannot be searched for, or ``k`` is below 1.
        """
        check_arguments(
            "search",
            k=(k, Count), textness=(textness, float), textness_vector=(textness_vector, Path | None),
            min_confidence=(min_confidence, Confidence | None), fold=(fold, bool),
        )  # fmt: skip
        without, vectors = listed_texts("search", "without", without), finite_rows(vectors)
        if judged is not None and (judged := finite_rows(judged)).shape != vectors.shape:
            raise ShapeError(f"The query vectors have the shape {vectors.shape}, those to judge by {judged.shape}.")
        if "tags" in filters:
            filters["tags"] = tuple(listed_texts("search", "tags", filters["tags"]))
        allowed = request_from(Filters, "search", **filters).allowed_rows(self._reader)
        if textness:
            path = None if textness_vector is None else Path(textness_vector)
            vectors = find_textness(self._reader, path).apply(vectors, textness)
        find = search_files if fold else search
        found = find(self._reader, vectors, k, allowed=allowed, without=frozenset(without),
                     background=None if judged is None else self._background[0], judged=judged)  # fmt: skip
        return [certain_hits(hits, min_confidence) for hits in found]

    @python_errors
    def tag(self, labels: str | Path | Sequence[str], **options: Any) -> TagReport:
        """Tag the images with labels that describe them, each with its confidence, without training.

        The tags are kept in the index, in place of those of an earlier call; ``search(tags="dog")`` filters by them.

        Args:
            labels: A file with one label a line, synonyms after tabs; or such lines in a list.
            **options: The options of ``mckit tag`` with underscores: ``min_confidence``, ``templates``, ``out`` (a
                .json or .csv file) and ``xmp`` (the folder of XMP sidecars, or ``"beside"`` for the images' own).

        Returns:
            The :class:`TagReport`; its ``tags`` are the confidences by image and label.

        Raises:
            DataError: No label, a label given twice, an index without a background, or a sidecar that is no XMP.
            ModelError: The index's model is gone, or has no text tower.
            OutputError: A place cannot be written; nothing was.

        Example:
            >>> with mckit.open_index(index) as photos:
            ...     try:
            ...         photos.tag(["dog", "house"])
            ...     except mckit.DataError as error:
            ...         print("3 images are too few" in error.message)
            True
        """
        from mobileclip_kit.tagging.labels import parse_labels, read_labels
        from mobileclip_kit.tagging.request import TagRequest

        check_arguments("tag", labels=(labels, Path | Sequence[str]))
        asked = read_labels(Path(labels)) if isinstance(labels, str | Path) else parse_labels(labels)
        return self.tag_labels(asked, request_from(TagRequest, "tag", ("labels",), **options))

    def tag_labels(self, labels: Sequence[Label], request: TagRequest) -> TagReport:
        """See :meth:`tag`."""
        from mobileclip_kit.tagging.tagger import tag_index

        return tag_index(self._reader, lambda: self.encoder, labels, request)

    @property
    def confidence_problem(self) -> str | None:
        """Why no hit of this index has a confidence, one sentence; None when those of queries in words have one."""
        return self._background[1]

    @functools.cached_property
    def _background(self) -> tuple[Background | None, str | None]:
        return open_background(self._reader)

    def duplicates(self) -> list[DuplicateGroup]:
        """Copies of the same photo: exact ones, and resized, recompressed or slightly cropped ones.

        Returns:
            Groups of at least two images, the one to keep first; see :class:`DuplicateGroup`.

        Raises:
            IndexFormatError: The index is damaged.
            UsageError: The index was closed.

        Example:
            >>> with mckit.open_index(index) as photos:
            ...     [group.items for group in photos.duplicates()]
            []
        """
        return [describe_group(group, self._reader.header.folder) for group in find_duplicates(self._reader)]

    @python_errors
    def update(
        self,
        images: str | Path | None = None,
        *,
        progress: ProgressOption = True,
        confirm: Callable[[str], bool] | None = None,
        **options: Any,
    ) -> IndexReport:
        """Bring the index up to date with its folder, and search the new state from now on.

        Args:
            images: The folder, or its URL; None for the one that was indexed.
            progress: See :func:`mobileclip_kit.build_index`.
            confirm: See :func:`mobileclip_kit.build_index`.
            **options: Those of :func:`mobileclip_kit.build_index`, such as ``prune=True``.

        Returns:
            The counts of the run; also kept as ``report``.

        Raises:
            MckitError: See :func:`mobileclip_kit.build_index`.
            UsageError: The index knows no folder of images.
        """
        from mobileclip_kit.indexing.options import IndexOptions
        from mobileclip_kit.indexing.update import update_index

        check_arguments(
            "update", images=(images, Path | None), progress=(progress, bool | Callable),
            confirm=(confirm, Callable | None),
        )  # fmt: skip
        folder = images or self._reader.header.place
        if folder is None:
            raise UsageError(f"The index {self.path} knows no folder of images.", hint="Pass the folder.")
        if self._reader.header.shard is not None:
            options.setdefault("shard", "{}/{}".format(*self._reader.header.shard))
        chosen = request_from(IndexOptions, "update", ("images", "progress", "confirm"), **options)
        with show_progress(progress):
            self.report = update_index(as_place(folder), self.encoder, self.path, chosen, confirm=confirm)
        self.close()
        self._open_reader = IndexReader(self.path)
        self.__dict__.pop("_background", None)
        return self.report

    def close(self) -> None:
        """Close the files; a closed index cannot be searched."""
        if self._open_reader is not None:
            self._open_reader.close()
            self._open_reader = None

    def __len__(self) -> int:
        """The number of images that have a vector."""
        return self._reader.store.vectors

    def __contains__(self, item: str) -> bool:
        found = self._reader.store.find(item) if isinstance(item, str) else None
        return found is not None and found.row is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
