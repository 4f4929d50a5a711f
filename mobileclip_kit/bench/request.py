"""One call of the bench: what to measure, on what, and what the report shall hold."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.bench.candidate import Candidate, describe_candidates, phone_students, random_students
from mobileclip_kit.bench.dataset import read_dataset
from mobileclip_kit.bench.elsewhere import published_rows, read_phone, with_unique_names
from mobileclip_kit.bench.examples import ImageRows, draw_examples
from mobileclip_kit.bench.gate import check_models, judge, read_gates
from mobileclip_kit.bench.judging import Judged, Material, ScenesMaterial
from mobileclip_kit.bench.labels import read_labelled, read_templates
from mobileclip_kit.bench.material import ask_teacher, cached_teacher, read_gallery, read_queries
from mobileclip_kit.bench.measure import Settings, run_bench
from mobileclip_kit.bench.quality import Gallery
from mobileclip_kit.errors import UsageError
from mobileclip_kit.scenes.folder import SceneSet, write_scenes

_WORLD_SEED, _WORLD_SIZE = 1, 64  # the size that `mckit scenes` draws by itself
_LEAST_WORLD = 50


@dataclass(frozen=True, kw_only=True)
class BenchRequest:
    """What ``mckit bench`` was asked for; see its ``--help``.

    Attributes:
        models: Model folders, exports, indexes, open_clip names; none for the students' bare architectures.
        settings: How to measure.
        images: Images to judge on.
        captions: Captions file to judge on, too.
        labels: Images with classes.
        templates: File of sentences for the classes.
        dataset: A data set of CLIP_benchmark.
        dataset_root: Where it lies.
        world: Images of the synthetic scenes to draw and judge on.
        teacher: Model to agree with.
        cache: Its stored vectors, in its place.
        queries: File of its text vectors.
        limit: Judge on so many images of each source.
        phone: Documents of the app's bench screen.
        published: Whether others' figures shall stand beside ours.
        gates: File of gates.
        explained: Whether the report explains a model.
        reported: Whether there will be a report, with a page of examples.
    """

    models: Sequence[str]
    settings: Settings
    images: Path | None = None
    captions: Path | None = None
    labels: Path | None = None
    templates: Path | None = None
    dataset: str | None = None
    dataset_root: Path = Path("datasets")
    scenes: int | None = None
    teacher: str | None = None
    cache: Path | None = None
    queries: Path | None = None
    limit: int | None = None
    phone: Sequence[Path] = ()
    published: bool = False
    gates: Path | None = None
    explained: bool = False
    reported: bool = False

    @property
    def measures(self) -> bool:
        """Whether anything is measured here: not when a phone's figures are only shown."""
        return bool(self.models) or not self.phone

    def check(self) -> None:
        """Refuse what contradicts itself, before any work.

        Raises:
            UsageError: Names the flags.
        """
        if not math.isfinite(self.settings.seconds):
            raise UsageError(f"--seconds {self.settings.seconds} is no length of time.", hint="Say how many seconds.")
        judged = {"--labels": self.labels, "--dataset": self.dataset, "--scenes": self.scenes}
        images = {"--images": self.images, "--captions": self.captions, **judged}
        if any(images.values()) and not self.models:
            raise UsageError("Random weights have no accuracy to judge.", hint="Name the models to measure.")
        if self.teacher and self.cache:
            raise UsageError("--teacher and --cache exclude each other.", hint="Keep one of them.")
        if self.teacher and not any((self.images, self.captions, self.labels, self.dataset)):
            raise UsageError("Agreement with a teacher needs images.", hint="Add --images.")
        if self.cache and not (self.images or self.captions):
            raise UsageError("Agreement with a teacher needs images.", hint="Add --images.")
        if self.templates and not self.labels:
            raise UsageError("--templates are sentences for classes.", hint="Add --labels.")
        if self.scenes is not None and self.scenes < _LEAST_WORLD:
            raise UsageError(
                f"{self.scenes} images of the synthetic scenes tell nothing.", hint=f"Draw {_LEAST_WORLD} or more."
            )


def run_request(request: BenchRequest) -> tuple[dict[str, Any], ImageRows]:
    """Measure what was asked for.

    Returns:
        The document of :func:`mobileclip_kit.bench.measure.run_bench`, with the rows from elsewhere behind the measured
        ones, and ``gates`` where gates were given; and what a few texts find, for the report's page.

    Raises:
        MckitError: Something was asked for that cannot be, or not a single model could be measured.
    """
    request.check()
    gates = [] if request.gates is None else read_gates(request.gates)
    borrowed = [row for path in request.phone for row in read_phone(path)]
    borrowed += published_rows() if request.published else []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mckit-bench-")))
        candidates = _candidates(request, folder)
        names = [candidate.name for candidate in candidates]
        borrowed = with_unique_names(borrowed, names)
        if request.gates is not None:
            check_models(gates, [*names, *(row["name"] for row in borrowed)], request.gates)
        if request.queries is not None and not (
            request.teacher or request.cache or any(candidate.is_index for candidate in candidates)
        ):
            raise UsageError("--queries are asked of the teacher too.", hint="Add --teacher or --cache.")
        materials = _materials(request, folder)
        document = run_bench(candidates, request.settings, materials)
        files = {name: path for material in reversed(materials) for name, path in material.files.items()}
        # Here, since a data set's images go with the folder.
        examples = draw_examples(document["rows"], files) if request.reported else []
    document["rows"] += borrowed
    if request.gates is not None:
        document["gates"] = judge(gates, document["rows"])
    return document, examples


def _candidates(request: BenchRequest, folder: Path) -> list[Candidate]:
    if request.models:
        return describe_candidates(request.models)
    if not request.measures:
        return []
    (folder / "students").mkdir()
    return random_students(phone_students(), folder / "students")


def _materials(request: BenchRequest, folder: Path) -> list[Judged]:
    """The captions first: where two give the same figure, that of the later one counts."""
    asked = None
    if request.queries is not None and (request.teacher or request.cache):
        asked = read_queries(request.queries)
    materials: list[Judged] = []
    for source in (request.captions, request.images):
        if source is not None:
            materials += _of_images(request, read_gallery(source, limit=request.limit), source, asked)
    if request.labels is not None:
        templates = read_templates(request.templates)
        materials.append(_taught(request, read_labelled(request.labels, limit=request.limit, templates=templates)))
    if request.dataset is not None:
        (folder / "dataset").mkdir()
        found = read_dataset(request.dataset, request.dataset_root, folder / "dataset", limit=request.limit)
        materials.append(_taught(request, found))
    if request.scenes is not None:
        materials.append(_draw_scenes(request.scenes, folder))
    return materials


def _of_images(request: BenchRequest, gallery: Gallery, source: Path, asked: Vectors | None) -> list[Judged]:
    if request.teacher is not None:
        return [Material(gallery, ask_teacher(request.teacher, gallery, request.settings, asked))]
    if request.cache is not None and source == (request.images or request.captions):
        return [Material(*cached_teacher(request.cache, gallery, asked))]
    # Without captions the images tell nothing about accuracy: they are what is timed, and the report says so.
    return [Material(gallery)]


def _taught(request: BenchRequest, gallery: Gallery) -> Material:
    """A teacher's own vectors of the classes serve models without a text tower."""
    teacher = None if request.teacher is None else ask_teacher(request.teacher, gallery, request.settings)
    return Material(gallery, teacher)


def _draw_scenes(images: int, folder: Path) -> ScenesMaterial:
    for split, seed in (("test", _WORLD_SEED), ("gallery", _WORLD_SEED + 1)):
        (folder / split).mkdir()
        write_scenes(folder / split, SceneSet(items=images, seed=seed, size=_WORLD_SIZE, split=split))  # type: ignore[arg-type]
    return ScenesMaterial(folder / "test", folder / "gallery")
