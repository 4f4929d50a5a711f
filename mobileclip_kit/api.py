"""The functions of the public API; see docs/library.md. Use them as ``mobileclip_kit.load`` and so on.

Paths are ``str`` or ``Path`` everywhere. Functions that take long show their progress on stderr; ``progress=False``
switches that off, and a function in its place receives a :class:`~mobileclip_kit.progress.Progress` as it moves.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from mobileclip_kit import extras
from mobileclip_kit.arguments import Cosine, Count, check_arguments, python_errors, request_from
from mobileclip_kit.errors import UsageError
from mobileclip_kit.progress import ProgressOption, say, show_progress
from mobileclip_kit.urls import as_place

if TYPE_CHECKING:
    from mobileclip_kit.distillation.run import TrainingReport
    from mobileclip_kit.exporting.folder import Export, Verification
    from mobileclip_kit.runtime.encoder import Encoder
    from mobileclip_kit.search.index import Index

Described = TypeVar("Described")

# The arguments of build_index beside its options.
_NAMED = ("images", "model", "out", "progress", "confirm")


@python_errors
def load(model: str | Path, *, threads: int | None = None, device: str | None = None) -> Encoder:
    """Open a model for encoding images and texts.

    An ONNX export is executed by ONNX Runtime and needs no torch; a Core ML export or a bundle by Core ML on macOS and
    by mckit's interpreter elsewhere; everything else by torch.

    Args:
        model: A model folder, an export, a bundle, an open_clip name such as ``ViT-B-32:openai``, or
            ``hf-hub:org/repo``.
        threads: Threads of the runtime; None lets it choose, and lets :func:`build_index` encode a batch on each core.
        device: Where the model computes. An ONNX export: ``cpu`` (the default), ``cuda``, ``coreml`` or ``openvino``,
            if the ONNX Runtime that is installed has it; ``cuda:1`` and ``openvino:GPU`` name a part. A model folder:
            ``cpu``, ``cuda`` or ``mps``. ``auto`` takes the best that is installed and, where it does not execute the
            model, the next one. ``encoder.device`` says which one it was.

    Returns:
        An :class:`Encoder`.

    Raises:
        ExportError: The export is damaged, or ``model`` is one tower's file instead of its folder.
        MissingExtraError: The model needs torch, which is not installed.
        ModelError: No model has this name (the nearest ones are named), or its folder is damaged.
        UsageError: This machine lacks the device; the message names the package.

    Example:
        >>> encoder = mckit.load(model)
        >>> vectors = encoder.encode_texts(["a red house by the lake", "a dog"])
        >>> vectors.shape, vectors.dtype
        ((2, 16), dtype('float32'))
    """
    check_arguments("mobileclip_kit.load", model=(model, str | Path), threads=(threads, Count | None),
                    device=(device, str | None))  # fmt: skip
    from mobileclip_kit.search.models import open_model

    return _with_extra(lambda: open_model(model, threads=threads, device=device), f"The model {model}")


@python_errors
def build_index(
    images: str | Path,
    model: Encoder | str | Path,
    out: str | Path,
    *,
    progress: ProgressOption = True,
    confirm: Callable[[str], bool] | None = None,
    **options: Any,
) -> Index:
    """Build an index of a folder of images, or bring an existing one up to date.

    Each core encodes a batch of its own where the runtime allows it.

    Args:
        images: The folder, searched recursively, or its URL, such as ``s3://bucket/photos`` (fsspec).
        model: An :class:`Encoder`, or what :func:`load` takes.
        out: The index folder; made when it does not exist.
        progress: False for none, or a function that receives a :class:`Progress`.
        confirm: Asked before more than a fifth of the index is forgotten; None for no.
        **options: The other options of ``mckit index`` with underscores: ``force`` (build the index anew), ``prune``,
            ``retry_failed``, ``rehash``, ``exact_pixels``, ``tars``, ``shard="2/4"``, ``compact``, ``batch_size``,
            ``workers``, ``kind``, ``query_vectors``.

    Returns:
        The :class:`Index`, opened; its ``report`` counts what was added, and lists the images that failed.

    Raises:
        DataError: The folder cannot be listed, or too much of it has vanished.
        IndexFormatError: The index is damaged or being written by another process.
        ModelError: The model has no image tower, or gives vectors that are not finite.
        ModelMismatchError: The index belongs to another model.
        OutputError: ``out`` is something else, or cannot be written.
        UsageError: An option is unknown, or the index holds another part of the folder.

    Example:
        >>> with mckit.build_index(photo.parent, model, "photos.index", progress=False) as photos:
        ...     photos.report.added, [hit.rank for hit in photos.search("a dog", k=3)]
        (3, [1, 2, 3])
    """
    from mobileclip_kit.indexing.options import IndexOptions
    from mobileclip_kit.indexing.update import check_update, update_index
    from mobileclip_kit.runtime.encoder import Encoder
    from mobileclip_kit.search.index import Index
    from mobileclip_kit.spec import stored_spec

    check_arguments(
        "mobileclip_kit.build_index",
        images=(images, Path), model=(model, str | Path | Encoder), out=(out, Path),
        progress=(progress, bool | Callable), confirm=(confirm, Callable | None),
    )  # fmt: skip
    chosen = request_from(IndexOptions, "mobileclip_kit.build_index", _NAMED, **options)
    if not isinstance(model, Encoder):
        check_update(as_place(images), stored_spec(model), Path(out), chosen)
    encoder = model if isinstance(model, Encoder) else load(model)
    with show_progress(progress):
        report = update_index(as_place(images), encoder, Path(out), chosen, confirm=confirm)
    index = Index(out, encoder)
    index.report = report
    return index


@python_errors
def open_index(
    path: str | Path,
    model: Encoder | str | Path | None = None,
    *,
    threads: int | None = None,
    device: str | None = None,
) -> Index:
    """Open an index for searching. The model is opened when a query first needs it.

    Args:
        path: The index folder.
        model: Its model, as for :func:`build_index`; None for where it was when the index was built.
        threads: Of a model that is opened here.
        device: See :func:`load`.

    Returns:
        The :class:`Index`, a context manager.

    Raises:
        IndexFormatError: The folder is no index, is damaged, or of another version.
        ModelMismatchError: ``model`` is an encoder of another model.

    Example:
        >>> photos = mckit.open_index(index)
        >>> photos.search(like=photos.items[0], k=1)[0].item in photos.items
        True
        >>> photos.close()
    """
    from mobileclip_kit.runtime.encoder import Encoder
    from mobileclip_kit.search.index import Index

    check_arguments(
        "mobileclip_kit.open_index",
        path=(path, Path), model=(model, str | Path | Encoder | None), threads=(threads, Count | None),
        device=(device, str | None),
    )  # fmt: skip
    return Index(path, model, threads=threads, device=device)


@python_errors
def distill(
    *,
    data: str | Path,
    out: str | Path,
    teacher: str | Path | None = None,
    student: str | Path | None = None,
    progress: ProgressOption = True,
    **options: Any,
) -> TrainingReport:
    """Distil a teacher into a small student. Needs the extra ``[train]``.

    Args:
        data: Images, for some recipes with captions: a folder, a CSV, TSV, JSONL or COCO file, or tar shards.
        out: The model folder to make.
        teacher: A model folder, an open_clip name or ``hf-hub:…``; None with ``cache=``.
        student: A new image tower: a name such as ``vit-s6-h12``, or a JSON file.
        progress: False for none, or a function that receives a :class:`Progress`.
        **options: The other options of ``mckit distill`` with underscores, such as ``recipe``, ``cache``, ``steps``,
            ``epochs``, ``batch_size``, ``holdout``, ``device``, ``resume``, ``force``.

    Returns:
        The :class:`TrainingReport`: ``path``, ``metrics``, ``images``, ``skipped``.

    Raises:
        DataError: Fewer than two images can be used.
        MissingExtraError: torch is not installed.
        ModelError: A teacher, a student or a starting model is unknown or damaged.
        OutputError: ``out`` exists or cannot be written.
        TrainingError: The loss is no longer finite, or the checkpoint belongs to another run.
        UsageError: An option is unknown, or values contradict each other.

    Example:
        >>> report = mckit.distill(data=photo.parent, teacher=teacher, student=student, out="student", steps=2,
        ...                        progress=False)
        >>> report.path.name, report.images, report.result.steps
        ('student', 3, 2)
    """
    extras.require("mobileclip_kit.distill", "train")
    from mobileclip_kit.distillation.request import DistillRequest

    check_arguments(
        "mobileclip_kit.distill", progress=(progress, bool | Callable), teacher=(teacher, str | Path | None),
        student=(student, str | Path | None),
    )  # fmt: skip
    fields = {"data": data, "out": out, "teacher": teacher, "student": student}
    request = request_from(DistillRequest, "mobileclip_kit.distill", ("progress",), **fields, **options)
    request.check()
    from mobileclip_kit.distillation.run import distill as run

    with show_progress(progress):
        return run(request)


@python_errors
def train(
    *,
    data: str | Path,
    out: str | Path,
    student: str | Path | None = None,
    progress: ProgressOption = True,
    **options: Any,
) -> TrainingReport:
    """Train a small model from image-caption pairs, without a teacher. Needs the extra ``[train]``.

    Args:
        data: Images with captions: a folder with ``captions.csv``, a CSV, TSV, JSONL or COCO file, or tar shards.
        out: The model folder to make.
        student: The image tower: a name such as ``resnet18``, or a JSON file; None for the recipe's.
        progress: False for none, or a function that receives a :class:`Progress`.
        **options: The other options of ``mckit train`` with underscores, such as ``text``, ``recipe``, ``losses``,
            ``steps``, ``batch_size``, ``image_size``.

    Returns:
        The :class:`TrainingReport`.

    Raises:
        MckitError: See :func:`distill`.

    Example:
        >>> report = mckit.train(data=captions, student=student, text=text, out="pairs", steps=2, image_size=32,
        ...                      progress=False)
        >>> report.spec.towers
        ('image', 'text')
    """
    extras.require("mobileclip_kit.train", "train")
    from mobileclip_kit.distillation.request import TrainRequest

    check_arguments("mobileclip_kit.train", progress=(progress, bool | Callable))
    request = request_from(
        TrainRequest, "mobileclip_kit.train", ("progress",), data=data, out=out, student=student, **options
    )
    request.check()
    from mobileclip_kit.distillation.from_pairs import train as run

    with show_progress(progress):
        return run(request)


@python_errors
def export(
    model: str | Path,
    out: str | Path | None = None,
    *,
    format: Literal["onnx", "coreml", "coreai", "litert"] = "onnx",
    precision: str | None = None,
    images: str | Path | None = None,
    calibration: str | Path | None = None,
    progress: ProgressOption = True,
    **options: Any,
) -> Export:
    """Convert a model, one file for each tower, and verify it before anything is left in the output folder.

    Needs the extra ``[export]``.

    Args:
        model: A model folder or an open_clip name.
        out: The export folder to make; None for ``MODEL-FORMAT-PRECISION``.
        format: ``onnx``, ``coreml``, ``coreai`` or ``litert``; the last two need the extra of the same name.
        precision: onnx: ``fp32`` (default), ``fp16``, ``int8``, ``int8-weights``; coreml: ``fp16`` (default), ``fp32``,
            ``int8``, ``palette8``, ``palette6``, ``palette4``; coreai: as coreml, and ``int4``; litert: as onnx, and
            ``int8-dynamic``, ``int4``.
        images: Images, or a captions file, to verify with; None for generated ones.
        calibration: Images, or a captions file, to calibrate int8 on (onnx, litert).
        progress: False for no lines about the steps on stderr.
        **options: The other options of ``mckit export`` with underscores, such as ``ane``, ``threshold`` (or
            ``min_cosine``), ``max_recall_drop``, ``keep_failed``, ``force``.

    Returns:
        The :class:`Export`; ``export.towers["image"].verification`` has the measured cosines.

    Raises:
        ExportError: A tower cannot be converted.
        MissingExtraError: A converter is not installed.
        ModelError: The model is unknown or damaged.
        OutputError: ``out`` exists or cannot be written.
        ParityError: The export does not compute what the model computes; nothing is left.
        UsageError: An option is unknown, or options contradict each other.

    Example:
        >>> made = mckit.export(teacher, "teacher-onnx", format="onnx", precision="fp32", progress=False)
        >>> sorted(made.towers), made.towers["image"].verification[0].passed
        (['image', 'text'], True)
    """
    extras.require("mobileclip_kit.export", "export")
    from mobileclip_kit.exporting.precisions import flags
    from mobileclip_kit.exporting.request import ExportRequest

    if options.get("compare"):
        raise UsageError("mobileclip_kit.export writes one precision.", hint="Use `mckit export --compare`.")
    for flag, rows in flags().items():
        if (name := flag.lstrip("-").replace("-", "_")) in options:
            meant = " or ".join(f'precision="{row}"' for row in dict.fromkeys(row.name for row in rows))
            raise UsageError(f"mobileclip_kit.export has no option {name!r}.", hint=f"Pass {meant}.")
    check_arguments(
        "mobileclip_kit.export", progress=(progress, bool | Callable), model=(model, str | Path),
        format=(format, Literal["onnx", "coreml", "coreai", "litert"]),
    )  # fmt: skip
    fields = {"model": model, "out": out, "format": format, "precision": precision, "images": images,
              "calibration": calibration}  # fmt: skip
    request = request_from(ExportRequest, "mobileclip_kit.export", ("progress",), **fields, **options)
    request.check()
    request.check_places()
    from mobileclip_kit.exporting.exporter import export_model, load_request

    with show_progress(progress):
        loaded = load_request(request, report=say)
        return export_model(loaded.model, loaded.destination, loaded.options)


@python_errors
def verify(
    export: str | Path,
    *,
    against: str | Path,
    images: str | Path | None = None,
    num_images: int = 48,
    threshold: float | None = None,
    min_cosine: float | None = None,
) -> list[Verification]:
    """Execute an export and its model on the same inputs and compare their vectors. Needs the extra ``[export]``.

    Args:
        export: The export folder.
        against: The model that it was exported from.
        images: Images, or a captions file, to compare on; None for generated ones.
        num_images: Compare on at most this many of them.
        threshold: The least cosine required; None for the precision's own.
        min_cosine: Another name of ``threshold``.

    Returns:
        A :class:`Verification` for each tower and runtime: ``cosine_min``, ``cosine_mean``, ``overlap_at_10``.

    Raises:
        ExportError: The export is damaged or cannot be executed.
        MissingExtraError: A runtime is not installed.
        ModelMismatchError: The export was made from another model.
        ParityError: A least cosine is below the threshold.

    Example:
        >>> rows = mckit.verify(model, against=teacher)
        >>> [(row.tower, row.runtime, row.cosine_min > 0.999) for row in rows]
        [('image', 'onnxruntime', True), ('text', 'onnxruntime', True)]
    """
    extras.require("mobileclip_kit.verify", "export")
    if threshold is not None and min_cosine is not None:
        raise UsageError(
            "mobileclip_kit.verify: threshold and min_cosine are the same option.", hint="Pass one of them."
        )
    threshold = min_cosine if threshold is None else threshold
    check_arguments(
        "mobileclip_kit.verify",
        export=(export, Path), against=(against, str | Path), images=(images, Path | None),
        num_images=(num_images, Count), threshold=(threshold, Cosine | None),
    )  # fmt: skip
    from mobileclip_kit.exporting.folder import open_export_of

    opened = open_export_of(Path(export), against, images=None if images is None else Path(images))
    from mobileclip_kit.exporting.samples import read_source
    from mobileclip_kit.exporting.verify import require_parity, verify_export
    from mobileclip_kit.networks.model import load_model

    model = load_model(against)
    given, texts = (None, None) if images is None else read_source(Path(images), model, count=num_images)
    results = verify_export(opened, model, images=given, texts=texts, threshold=threshold)
    require_parity(results, opened.with_verification(results), kept=True)
    return results


def _with_extra(open_it: Callable[[], Described], what: str) -> Described:
    """Open something; a package that is missing is told as the extra that brings it."""
    try:
        return open_it()
    except ModuleNotFoundError as error:
        extra = extras.extra_of(error.name)
        if extra is None:
            raise
        raise extras.missing_extra(what, extra) from error
