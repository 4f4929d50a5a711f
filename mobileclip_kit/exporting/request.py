"""A request for an export: the options of ``mckit export``, and the ones that ``export_model`` takes.

:class:`ExportRequest` names files and numbers, as a command line or a script gives them; it is checked before torch is
imported. :class:`ExportOptions` holds the same with the images and texts in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from mobileclip_kit.errors import UsageError
from mobileclip_kit.exporting.precisions import FORMATS, PRECISIONS, Format, Precision, find_precision
from mobileclip_kit.options import Option

if TYPE_CHECKING:
    from mobileclip_kit.exporting.budget import RecallBudget
    from mobileclip_kit.exporting.folder import Export
    from mobileclip_kit.exporting.samples import ImageInputs, TextInputs

Layout = Literal["immich", "transformersjs"]
CalibrationMethod = Literal["minmax", "percentile", "entropy"]
# Receives a line about what is being done.
Report = Callable[[str], None]

VERIFIED_IMAGES = 48
LEAST_CALIBRATION = 2


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """What to export, into what, and how to check it.

    Attributes:
        precision: A name from :mod:`mobileclip_kit.exporting.precisions`; None for the format's default.
    """

    model: Annotated[str, Option("A model folder or an open_clip name.", names=("model",))]
    format: Annotated[Format | None, Option("The format to write.")] = None
    precision: str | None = None
    ane: Annotated[
        bool, Option("Use the layout of Apple's Neural Engine (coreml, coreai; open_clip's transformers).")
    ] = False
    gpu_layout: Annotated[
        bool, Option("Use 1×1 convolutions, which GPU delegates execute entirely (litert; open_clip's transformers).")
    ] = False
    dynamic_batch: Annotated[
        bool, Option("Accept up to 64 inputs at once (coreai); the Neural Engine is made for one.")
    ] = False
    layout: Annotated[
        Layout | None, Option("Write the folder as this program reads it (onnx): Immich or Transformers.js.")
    ] = None
    compare: Annotated[bool, Option("Write every precision of --format, or of all formats, and compare them.")] = False
    calibration: Annotated[Path | None, Option("Images, or a captions file, to calibrate int8 on (onnx, litert).")] = (
        None
    )
    calibration_method: Annotated[
        CalibrationMethod | None, Option("How int8 ranges are chosen from the calibration data; minmax by default.")
    ] = None
    max_recall_drop: Annotated[
        float | None,
        Option(
            "Mean recall (at 1, 5, 10) that integers or palettes may lose on the captions of --images.",
            at_least=0,
            at_most=1,
        ),
    ] = None
    sensitivity: Annotated[
        Path | None, Option("An earlier export in this precision: choose what has more bits from its measurements.")
    ] = None
    images: Annotated[Path | None, Option("Images, or a captions file, to verify with.")] = None
    num_images: Annotated[
        int | None, Option(f"Verify with at most this many images; {VERIFIED_IMAGES} by default.", at_least=1)
    ] = None
    threshold: Annotated[
        float | None,
        Option("The least cosine; each precision has its own default.", names=("--threshold", "--min-cosine"),
               at_least=-1, at_most=1),
    ] = None  # fmt: skip
    keep_failed: Annotated[
        bool, Option("Keep an export below the threshold for inspection; the command still fails.")
    ] = False
    out: Annotated[
        Path | None,
        Option("The folder to write; by default MODEL-FORMAT-PRECISION, such as student-onnx-fp32 or "
               "student-coreml-fp16.", names=("-o", "--out")),
    ] = None  # fmt: skip
    force: Annotated[bool, Option("Replace an output that exists already.")] = False

    def check(self) -> None:
        """Refuse options that contradict each other, before anything is loaded.

        Raises:
            UsageError: Says which.
        """
        if self.layout is not None and (self.compare or self.format != "onnx" or self.keep_failed):
            raise UsageError("--layout needs --format onnx, without --compare and --keep-failed.")
        if self.compare:
            if (
                self.precision
                or self.ane
                or self.gpu_layout
                or self.dynamic_batch
                or self.max_recall_drop is not None
                or self.sensitivity is not None
            ):
                raise UsageError("--compare writes every precision, so it takes no other choice of one.")
            return
        if self.format is None:
            wanted = " or ".join(f"--format {name}" for name in FORMATS)
            raise UsageError("The format to write is missing.", hint=f"Add {wanted}, or --compare.")
        row = find_precision(self.format, self.precision)
        for flag, value in (("--max-recall-drop", self.max_recall_drop), ("--sensitivity", self.sensitivity)):
            if value is not None and not row.budgeted:
                raise UsageError(
                    f"{flag} decides what has more bits than the rest; in {row.format} {row.name} nothing has.",
                    hint="Choose a precision of integers or palettes.",
                )
        if self.max_recall_drop is not None and self.images is None:
            raise UsageError(
                "--max-recall-drop needs images with captions.", hint="Pass a captions file with --images."
            )
        check_precision(row, ane=self.ane, gpu_layout=self.gpu_layout, calibrated=self.calibration is not None)
        _check_batch(row, dynamic=self.dynamic_batch)

    def check_places(self) -> None:
        """Refuse a model, images and an output that cannot be used, before torch is imported.

        Raises:
            MckitError: The model or the images do not exist, or the output exists or cannot be written.
        """
        # Imported here, so that contradictory options are told without numpy.
        from mobileclip_kit.data.sources import check_source
        from mobileclip_kit.exporting.folder import open_export
        from mobileclip_kit.files import check_can_write
        from mobileclip_kit.model_names import check_model_name

        check_model_name(self.model)
        for source in filter(None, (self.images, self.calibration)):
            check_source(source)
        if self.sensitivity is not None:
            open_export(self.sensitivity)
        marker = "comparison.json" if self.compare else "export.json" if self.layout is None else "layout.json"
        check_can_write(self.destination(), force=self.force, kinds=(marker,))

    def options_without_effect(self) -> list[str]:
        """A sentence for each option that changes nothing beside the others."""
        formats = FORMATS if self.format is None else (self.format,)
        rows = [find_precision(format, self.precision) for format in formats]
        if self.compare:
            rows = [row for row in PRECISIONS if row.format in formats]
        calibrates = any(row.calibrated for row in rows)
        found = []
        if self.calibration is not None and not calibrates:
            found.append("--calibration has no effect here: only int8 of the formats onnx and litert is calibrated.")
        if self.calibration_method is not None and (
            self.calibration is None or not any(row.calibrated and row.format == "onnx" for row in rows)
        ):
            found.append("--calibration-method has no effect here: it needs --format onnx --int8 --calibration.")
        if self.num_images is not None and self.images is None:
            found.append("--num-images has no effect without --images: the generated ones have their own number.")
        return found

    @property
    def _layout(self) -> str | None:
        return "ane" if self.ane else "gpu" if self.gpu_layout else None

    def destination(self) -> Path:
        """``out``, or ``MODEL-FORMAT-PRECISION`` beside a model folder, or here for an open_clip name."""
        if self.out is not None:
            return self.out
        folder = Path(self.model.removeprefix("local-dir:"))
        name = folder.resolve().name if folder.is_dir() else self.model.replace("/", "-").replace(":", "-")
        parts = [name, self.format, "compared"]
        if self.format is not None and not self.compare:
            batch = "batch" if self.dynamic_batch else None
            parts[2:] = [find_precision(self.format, self.precision).name, self._layout, batch, self.layout]
        return (folder.resolve().parent if folder.is_dir() else Path()) / "-".join(part for part in parts if part)


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What :func:`~mobileclip_kit.exporting.exporter.export_model` takes beside the model.

    Attributes:
        format: A key of :data:`~mobileclip_kit.exporting.precisions.FORMATS`.
        precision: One of the format's; None for its default.
        images: To verify the image tower with; None generates some.
        texts: To verify the text tower with; None takes built-in prompts.
        calibration: Images whose activations set the image tower's int8 ranges.
        calibration_texts: The same for the text tower; None takes built-in prompts.
        calibration_method: How int8 ranges are chosen from what was observed.
        threshold: The least cosine; None takes the precision's own. It is also the budget by which operators are kept
            in float32, and by which weights of integers and palettes have more bits.
        choice_cosine: What the choice of operators and bits has to reach on the inputs that it is measured on; None
            takes the least cosine. It is set where a first choice missed that on the inputs of verification.
        recall: How much mean recall integers or palettes may lose, and on what; None for no such budget.
        measured: An export of the same model in the same precision whose measured sensitivities are used again.
        base: The same model's export in the format's default precision: reduced without converting the network again.
        ane: The layout of the Neural Engine and of GPU delegates, see :mod:`mobileclip_kit.networks.channels_first`.
        dynamic_batch: Accept up to 64 inputs at once in place of one (coreai).
        layout: The program that the folder is for, see :mod:`mobileclip_kit.exporting.layouts`; None for mckit's own.
        force: Replace what stands at the destination.
        keep_failed: Keep an export below the threshold; the error is raised all the same.
        report: Called with a line about each step.
    """

    format: str = "onnx"
    precision: str | None = None
    images: ImageInputs | None = None
    texts: TextInputs | None = None
    calibration: ImageInputs | None = None
    calibration_texts: TextInputs | None = None
    calibration_method: CalibrationMethod = "minmax"
    threshold: float | None = None
    choice_cosine: float | None = None
    recall: RecallBudget | None = None
    measured: Export | None = None
    base: Export | None = None
    ane: bool = False
    dynamic_batch: bool = False
    layout: Layout | None = None
    force: bool = False
    keep_failed: bool = False
    report: Report = lambda line: None

    @property
    def row(self) -> Precision:
        """The precision's row of the table."""
        return find_precision(self.format, self.precision)

    @property
    def least_cosine(self) -> float:
        """The threshold that applies."""
        return self.row.threshold if self.threshold is None else self.threshold

    def check(self, *, has_images: bool) -> None:
        """Refuse what cannot work before minutes are spent on it.

        Args:
            has_images: Whether the model has an image tower.

        Raises:
            UsageError: The format has no such precision or layout, or int8 has too few calibration images.
        """
        gpu_layout = self.ane and FORMATS[self.format].gpu_layout
        check_precision(
            self.row, ane=self.ane and not gpu_layout, gpu_layout=gpu_layout,
            calibrated=self.calibration is not None or not has_images,
        )  # fmt: skip
        _check_batch(self.row, dynamic=self.dynamic_batch)
        if self.row.calibrated and self.calibration is not None:
            require_calibration(len(self.calibration.pixels), "image(s)")


def check_precision(row: Precision, *, ane: bool, gpu_layout: bool, calibrated: bool) -> None:
    """Refuse a layout that the format does not have, and a calibrated precision without images.

    Raises:
        UsageError: Says which.
    """
    if ane and not FORMATS[row.format].neural_engine:
        raise UsageError(f"--ane is a layout for Core ML, not for {row.format}.", hint="Add --format coreml.")
    if gpu_layout and not FORMATS[row.format].gpu_layout:
        raise UsageError(f"--gpu-layout is a layout for LiteRT, not for {row.format}.", hint="Add --format litert.")
    if row.calibrated and not calibrated:
        raise UsageError(
            f"{row.name} needs images of the kind that the model will meet, to observe the ranges of its activations.",
            hint="Pass a folder of them with --calibration.",
        )


def _check_batch(row: Precision, *, dynamic: bool) -> None:
    if dynamic and row.format != "coreai":
        batch = "takes any number of inputs" if row.format == "onnx" else "always takes one input at a time"
        raise UsageError(
            f"--dynamic-batch is for Core AI; {FORMATS[row.format].title} {batch}.", hint="Omit --dynamic-batch."
        )


def require_calibration(count: int, what: str) -> None:
    """Refuse a calibration that shows no range of values.

    Raises:
        UsageError: Fewer than two inputs.
    """
    if count < LEAST_CALIBRATION:
        raise UsageError(
            f"int8 would be calibrated with {count} {what}; observing ranges takes at least {LEAST_CALIBRATION}, and "
            "100 are good.",
            hint="Pass more with --calibration.",
        )
