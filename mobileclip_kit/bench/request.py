"""The options of a bench run. This module imports no model library."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from mobileclip_kit.bench.machine import usable_cores
from mobileclip_kit.errors import UsageError
from mobileclip_kit.model_names import DEVICES, DeviceOption, check_device_name
from mobileclip_kit.options import Option

_LEAST_SCENES = 50


@dataclass(frozen=True, kw_only=True)
class BenchSettings:
    """How models are measured.

    Attributes:
        threads: Of every model's process.
        device: Where every model computes; None for the default of its runtime.
        seconds: Each model's share of the latency turns, and again of the throughput turns.
        rounds: Turns of each model.
        timeout_seconds: Longest wait for one answer of a model.
        queries: File of text vectors that indexes are queried with.
    """

    threads: int
    device: str | None = None
    seconds: float = 4.0
    rounds: int = 10
    timeout_seconds: float = 900.0
    queries: Path | None = None


@dataclass(frozen=True, kw_only=True)
class BenchRequest:
    """What to measure, on which images, and what the report contains."""

    models: Annotated[tuple[str, ...], Option("Models.", names=("models",))] = ()
    device: DeviceOption = None
    images: Annotated[Path | None, Option("Images to evaluate on: a folder, or a captions file.")] = None
    captions: Annotated[Path | None, Option("Captions file (CSV, TSV, JSONL) for recall, besides --images.")] = None
    labels: Annotated[Path | None, Option("Images with classes for zero-shot: CLASS/IMAGE, or CSV of image,label.")] = (
        None
    )
    templates: Annotated[Path | None, Option("Prompts with {} in place of a class, one a line, for --labels.")] = None
    dataset: Annotated[str | None, Option("A data set of CLIP_benchmark, if that is installed.", metavar="NAME")] = None
    dataset_root: Annotated[Path, Option("Folder of the data set.")] = Path("datasets")
    scenes: Annotated[int | None, Option("Draw N synthetic scenes and evaluate on them.", metavar="N")] = None
    teacher: Annotated[str | None, Option("Model folder, export or open_clip name to measure agreement with.")] = None
    cache: Annotated[Path | None, Option("Teacher cache to use instead of a live teacher.")] = None
    queries: Annotated[
        Path | None, Option("Text vectors of the teacher (.npy), used as queries to images and indexes.")
    ] = None
    limit: Annotated[int | None, Option("Evaluate at most N images of each source.", metavar="N", at_least=1)] = None
    phone: Annotated[tuple[Path, ...], Option("JSON that the app's bench screen shared; may be repeated.")] = ()
    published: Annotated[bool, Option("Add rows that others published, marked as such.")] = False
    threads: Annotated[int | None, Option("Threads of each model. [default: all cores]", at_least=1)] = None
    seconds: Annotated[float, Option("Time of each model for latency, and again for throughput.")] = 4.0
    rounds: Annotated[int, Option("Turns of each model.", at_least=1)] = 10
    out: Annotated[
        Path | None,
        Option("Folder for the report: a page, JSON, Markdown, CSV and a plot.", names=("-o", "--out")),
    ] = None
    gate: Annotated[
        Path | None, Option("Bounds that figures must keep, see above; exit 1 if one is missed.", metavar="TOML")
    ] = None
    explain: Annotated[bool, Option("Draw heat maps (Grad-CAM) and a map of vectors (t-SNE) of the first model.")] = (
        False
    )
    ask: Annotated[
        tuple[str, ...], Option("A text for the heat maps of --explain; may be repeated.", metavar="TEXT")
    ] = ()

    @property
    def measures(self) -> bool:
        """Whether anything is measured: not if only a phone's figures are shown."""
        return bool(self.models) or not self.phone

    @property
    def explains(self) -> bool:
        """Whether a model is explained; ``ask`` implies it."""
        return self.explain or bool(self.ask)

    @property
    def source(self) -> Path | None:
        """The images that an explanation shows."""
        return self.captions or self.images

    def settings(self) -> BenchSettings:
        """How the models are measured."""
        return BenchSettings(
            threads=self.threads or usable_cores(),
            device=self.device,
            seconds=self.seconds,
            rounds=self.rounds,
            queries=self.queries,
        )

    def check(self) -> None:
        """Refuse contradictory options before any work.

        Raises:
            UsageError: Names the options.
        """
        if self.device is not None:
            check_device_name(self.device, DEVICES)
        if not (math.isfinite(self.seconds) and self.seconds > 0):
            raise UsageError(f"--seconds {self.seconds} is not a length of time.", hint="Pass a number of seconds.")
        images = {"--images": self.images, "--captions": self.captions}
        classes: Mapping[str, object] = {"--labels": self.labels, "--dataset": self.dataset}
        if any((*images.values(), *classes.values(), self.scenes)) and not self.models:
            raise UsageError("Random weights have no accuracy to measure.", hint="Name the models to measure.")
        if self.teacher and self.cache:
            raise UsageError("--teacher and --cache exclude each other.", hint="Keep one of them.")
        if (self.teacher and not any((*images.values(), *classes.values()))) or (
            self.cache and not any(images.values())
        ):
            raise UsageError("Agreement with a teacher needs images.", hint="Add --images.")
        if self.templates and not self.labels:
            raise UsageError("--templates are prompts for classes.", hint="Add --labels.")
        if self.scenes is not None and self.scenes < _LEAST_SCENES:
            raise UsageError(
                f"{self.scenes} synthetic scenes are too few for a figure.", hint=f"Draw {_LEAST_SCENES} or more."
            )
        if self.explains:
            self._check_explain()

    def _check_explain(self) -> None:
        if self.source is None:
            raise UsageError("--explain draws on images.", hint="Add --images.")
        if self.out is None:
            raise UsageError("--explain draws into the report.", hint="Name its folder with -o.")
        if any(not text.strip() for text in self.ask):
            raise UsageError("--ask was given an empty text.")
