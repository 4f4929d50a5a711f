"""One tour of the house: where its things lie, what is done already, what each stage found.

A stage that is done is written down in ``quickstart.json`` beside what it made, so an interrupted tour goes on where it
stopped.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mobileclip_kit.errors import OutputError
from mobileclip_kit.files import check_can_write, read_json, write_json

STATE_FILE = "quickstart.json"
REPORT_FILE = "report.html"
EXPLAIN_FOLDER = "explain"
SCALES_PLOT = "textness-scales.png"

Figures = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class TourPlan:
    """How large the tour is.

    Attributes:
        student: A row of ``STUDENTS``.
        recipe: Preset or file that the student is distilled with.
        train_images: Scenes to distil on; the teacher's training never saw them.
        word_share: Of these, how many show a word alone.
        pair_share: And two kinds of things, which teach which has which colour.
        test_images: Scenes to measure on, unseen combinations among them.
        fair_images: Scenes to measure the weakness on, as many words as things.
        pairs: Scenes drawn with and without a word, to learn textness from.
        size: Pixels of the images' sides.
        seed: Of the scenes and of the student.
        bench_seconds: Each model's time for latency, and again for throughput.
    """

    student: str = "hybrid-x"
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


@dataclass
class Tour:
    """A tour under way.

    Attributes:
        out: Its folder.
        teacher: The bundled teacher's folder.
        plan: How large it is.
        say: Tells the user what happens.
        figures: What the finished stages found, by stage.
        seconds: How long each took.
    """

    out: Path
    teacher: Path
    plan: TourPlan
    say: Callable[[str], None] = lambda sentence: None
    figures: dict[str, Figures] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.out = self.out.absolute()

    @property
    def student(self) -> Path:
        """The distilled model."""
        return self.out / "student"

    @property
    def index(self) -> Path:
        """The index of the test images."""
        return self.out / "index"

    @property
    def textness(self) -> Path:
        """The student's textness vector."""
        return self.out / "textness.json"

    @property
    def bundle(self) -> Path:
        """What the app on the phone takes."""
        return self.out / "bundle"

    def scenes(self, split: str) -> Path:
        """The folder of one split of the synthetic scenes."""
        return self.out / "scenes" / split

    def export(self, kind: str) -> Path:
        """The folder of one export, such as ``onnx-int8``."""
        return self.out / "exports" / kind

    def open(self, *, force: bool) -> None:
        """Make the folder, or go on with an interrupted tour.

        Args:
            force: Begin anew: whatever mckit made there goes.

        Raises:
            OutputError: A finished tour, one of another size or a damaged one lies there and ``force`` is False; or the
                folder holds something else.
        """
        state = self.out / STATE_FILE
        if force and self.out.exists():
            check_can_write(self.out, force=True)
            _empty(self.out)
        if not state.is_file():
            check_can_write(self.out, force=force)
            self.out.mkdir(parents=True, exist_ok=True)
        else:
            document = read_json(state)
            if document.get("plan") != asdict(self.plan):
                raise OutputError(f"{self.out} holds a tour of another size.", hint="Choose another -o or add --force.")
            if document.get("finished"):
                raise OutputError(f"{self.out} holds a finished tour.", hint="Choose another -o or add --force.")
            figures, seconds = document.get("figures"), document.get("seconds")
            if not isinstance(figures, dict) or not isinstance(seconds, dict):
                raise OutputError(f"{state} is damaged.", hint="Choose another -o or add --force.")
            self.figures, self.seconds = figures, seconds
            self.say(f"Going on in {self.out}, done so far: {', '.join(figures) or 'nothing'}.")
        self.write(finished=False)

    def write(self, *, finished: bool) -> None:
        """Write down where the tour stands."""
        write_json(
            self.out / STATE_FILE,
            {"finished": finished, "plan": asdict(self.plan), "figures": self.figures, "seconds": self.seconds},
        )

    def stage(self, name: str, title: str, work: Callable[[Tour], Figures]) -> None:
        """Do a stage unless it is done."""
        if name in self.figures:
            return
        self.say(f"── {title}")
        started = time.monotonic()
        figures = work(self)
        self.seconds[name] = round(time.monotonic() - started, 2)
        self.figures[name] = figures
        self.write(finished=False)


def _empty(folder: Path) -> None:
    """Remove what a folder holds; it may itself be a link to another place."""
    if not folder.is_dir():
        raise OutputError(f"{folder} is a file.", hint="Choose another -o.")
    for child in folder.iterdir():
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        else:
            child.unlink()
