"""``mckit quickstart``: a run of the whole pipeline on synthetic scenes, in stages.

A finished stage is recorded in ``quickstart.json`` beside its files, so an interrupted run continues where it stopped.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mobileclip_kit.bench.machine import describe_machine
from mobileclip_kit.errors import ModelError, OutputError
from mobileclip_kit.files import check_can_write
from mobileclip_kit.formats import read, write
from mobileclip_kit.resources import models_folder

TEACHER = "scenes-teacher"
STATE_FILE = "quickstart.json"
REPORT_FILE = "report.html"
EXPLAIN_FOLDER = "explain"
SCALES_PLOT = "textness-scales.png"
_AGAIN = "Choose another -o or add --force."

Figures = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class QuickstartPlan:
    """The size of a run.

    Attributes:
        student: A row of ``STUDENTS``.
        recipe: Preset or file that the student is distilled with.
        train_images: Scenes for distillation; the teacher's training never saw them.
        word_share: Share of them that shows a word alone.
        pair_share: Share that shows two kinds of things, which teaches which one has which colour.
        test_images: Scenes for evaluation, with unseen combinations.
        fair_images: Scenes for the typographic error rate, as many words as things.
        pairs: Scenes drawn with and without a word, for the textness vector.
        size: Width and height of the images in pixels.
        seed: Of the scenes and of the student.
        bench_seconds: Time of each model for latency, and again for throughput.
    """

    student: str = "conv-x-4r"
    recipe: str = "quickstart"
    train_images: int = 10000
    word_share: float = 0.24
    pair_share: float = 0.45
    test_images: int = 1000
    fair_images: int = 800
    pairs: int = 500
    size: int = 64
    seed: int = 100
    bench_seconds: float = 0.6


@dataclass(frozen=True)
class QuickstartState:
    """The content of ``quickstart.json``.

    Attributes:
        finished: Whether all stages and the report are done.
        plan: The size of the run.
        figures: Results of the finished stages, by stage.
        seconds: Duration of each.
    """

    finished: bool
    plan: QuickstartPlan
    figures: dict[str, Any]
    seconds: dict[str, float]


@dataclass
class QuickstartRun:
    """A run in progress.

    Attributes:
        out: Its folder.
        teacher: The bundled teacher's folder.
        plan: Its size.
        say: Shows a line to the user.
        figures: Results of the finished stages, by stage.
        seconds: Duration of each.
    """

    out: Path
    teacher: Path
    plan: QuickstartPlan
    say: Callable[[str], None] = lambda sentence: None
    figures: dict[str, Figures] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.out = self.out.absolute()
        self.student = self.out / "student"
        self.index = self.out / "index"
        self.textness = self.out / "textness.json"
        self.bundle = self.out / "bundle"

    def scenes(self, split: str) -> Path:
        """The folder of one split of the synthetic scenes."""
        return self.out / "scenes" / split

    def export(self, kind: str) -> Path:
        """The folder of one export, such as ``onnx-int8``."""
        return self.out / "exports" / kind

    def open(self, *, force: bool) -> None:
        """Make the folder, or continue an interrupted run.

        Args:
            force: Start again: everything that mckit made in the folder is removed.

        Raises:
            OutputError: The folder holds a finished run, one of another size or a damaged one and ``force`` is False;
                or it holds something else.
        """
        path = self.out / STATE_FILE
        if force and self.out.exists():
            check_can_write(self.out, force=True, kinds=(STATE_FILE,))
            _empty(self.out)
        if not path.is_file():
            check_can_write(self.out, force=force, kinds=(STATE_FILE,))
            self.out.mkdir(parents=True, exist_ok=True)
        else:
            state = read(path, QuickstartState, error=OutputError, hint=_AGAIN)
            if state.plan != self.plan:
                raise OutputError(f"{self.out} holds a quickstart of another size or student.", hint=_AGAIN)
            if state.finished:
                raise OutputError(f"{self.out} holds a finished quickstart.", hint=_AGAIN)
            self.figures, self.seconds = state.figures, state.seconds
            self.say(f"Continuing in {self.out}; done so far: {', '.join(self.figures) or 'nothing'}.")
        self.write(finished=False)

    def write(self, *, finished: bool) -> None:
        """Record the state of the run."""
        write(self.out / STATE_FILE, QuickstartState(finished, self.plan, self.figures, self.seconds))

    def stage(self, name: str, title: str, work: Callable[[QuickstartRun], Figures]) -> None:
        """Do a stage unless it is done."""
        if name in self.figures:
            return
        self.say(f"── {title}")
        started = time.monotonic()
        figures = work(self)
        self.seconds[name] = round(time.monotonic() - started, 2)
        self.figures[name] = figures
        self.write(finished=False)


def run_quickstart(
    out: Path,
    plan: QuickstartPlan | None = None,
    *,
    force: bool = False,
    say: Callable[[str], None] = lambda sentence: None,
) -> dict[str, Any]:
    """Run the whole pipeline on the synthetic scenes.

    Args:
        out: The folder to make. An interrupted run in it is continued.
        plan: The size of the run.
        force: Replace the run that is in ``out``.
        say: Shows a line to the user.

    Returns:
        The document of ``mckit quickstart --json``.

    Raises:
        ModelError: The bundled teacher is missing.
        OutputError: ``out`` holds a finished run or something else.
        MckitError: A stage failed; the files of earlier stages stay.
    """
    teacher = models_folder() / TEACHER
    if not teacher.is_dir():
        raise ModelError(f"The bundled teacher is not at {teacher}.", hint="The installation is incomplete; repeat it.")
    run = QuickstartRun(out, teacher, plan or QuickstartPlan(), say=say)
    run.open(force=force)  # before torch is imported
    from mobileclip_kit.quickstart.page import write_quickstart_page
    from mobileclip_kit.quickstart.stages import STAGES

    for name, title, work in STAGES:
        run.stage(name, title, work)
    document = summary(run)
    write_quickstart_page(run, document)
    run.write(finished=True)
    return document


def summary(run: QuickstartRun) -> dict[str, Any]:
    """The results of a run, with the keys that other programs rely on."""
    found = run.figures
    textness = found["textness"]
    suppress = textness["suppress"] or {}
    return {
        "out": str(run.out),
        "seconds": round(sum(run.seconds.values()), 1),
        "stages": run.seconds,
        "machine": describe_machine(),
        "teacher": found["teacher"],
        "student": found["student"],
        "kept": found["student"]["precision_at_1"] / max(found["teacher"]["precision_at_1"], 1e-9),
        "exports": found["exports"]["exports"],
        "index": found["index"],
        "textness": {
            **{key: suppress.get(key) for key in ("scale", "errors_removed", "clean_drop")},
            "accuracy": textness["accuracy"],
            "promote": textness["promote"],
        },
        "bundle": found["bundle"],
        "bench": found["bench"]["rows"],
        "report": str(run.out / REPORT_FILE),
    }


def describe(document: dict[str, Any]) -> str:
    """The summary for the terminal: what was made, how good it is, and what to type next."""
    from mobileclip_kit.quickstart.page import next_commands

    teacher, student = document["teacher"], document["student"]
    out = Path(document["out"])
    share = student["parameters"]["image"] / teacher["parameters"]["image"]
    lines = [
        "",
        f"Done in {document['seconds']:.0f} s. Everything is in {out}",
        "",
        f"  student        {out.name}/student: {student['parameters']['image'] / 1e6:.2f} M image parameters,"
        f" {share:.0%} of the teacher's",
        f"                 precision@1 {student['precision_at_1']:.1%} (teacher {teacher['precision_at_1']:.1%});"
        f" MAP@20 with the teacher {student['map_at_20']:.2f}",
        *(
            f"  {'export' if number == 0 else '':14} {row['path']} {row['tower']}: {row['size_bytes'] / 1e6:.2f} MB,"
            f" lowest cosine {row['cosine_min']:.4f} (threshold {row['threshold']:g})"
            f" {'passed' if row['passed'] else 'FAILED'}"
            for number, row in enumerate(document["exports"])
        ),
        f"  index          {out.name}/index: {document['index']['items']} images",
        *_textness_lines(document["textness"], out),
        f"  bundle         {out.name}/bundle: {document['bundle']['size_bytes'] / 1e6:.2f} MB for the app in ios_demo",
        f"  report         {out.name}/{REPORT_FILE}",
        "",
        "Next:",
        *(f"  {line}" for line in next_commands(out).splitlines()),
    ]
    return "\n".join(lines)


def _textness_lines(textness: dict[str, Any], out: Path) -> list[str]:
    if textness["scale"] is None:
        return [f"  textness       {out.name}/textness.json"]
    removed = "none to remove" if textness["errors_removed"] is None else f"{textness['errors_removed']:.0%} fewer"
    lines = [
        f"  textness       {out.name}/textness.json: scale {textness['scale']:g}: {removed} typographic errors,"
        f" precision@1 without words {-100 * textness['clean_drop']:+z.1f} points"
    ]
    promote = textness["promote"]
    if promote:
        lines.append(
            f"                 scale {promote['scale']:+g}: the written word first for"
            f" {promote['reading_precision_at_1']:.0%} of bare words"
            f" ({promote['reading_precision_at_1_before']:.0%} before)"
        )
    return lines


def _empty(folder: Path) -> None:
    """Remove what a folder holds; the folder may be a link to another place."""
    if not folder.is_dir():
        raise OutputError(f"{folder} is a file.", hint="Choose another -o.")
    for child in folder.iterdir():
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        else:
            child.unlink()
