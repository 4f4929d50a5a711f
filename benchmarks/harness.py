"""What the scripts of this folder share: options, running mckit and other programs, timing in turns, results, plots.

Wall time on a machine with other work measures the other work. Processor time counts what this process computed; what
is left of the others is that they share caches and the memory's bandwidth, so the measured things take turns.

Other environments' processes import this module too: at its head it imports the standard library only.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import random
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
RESULTS = HERE / "results"
Call = Callable[[], Any]


def parse(*positional: str, choices: Mapping[str, Sequence[str]] | None = None, **options: Any) -> argparse.Namespace:
    """Parse the command line of the calling script, whose docstring is its help.

    Args:
        positional: Names of paths; ``name*`` takes any number of texts.
        choices: What the values of an option, or of a positional one, can be.
        options: Name to default. A type makes a required option, False a flag, a sequence an option of several values
            (of its first one's type), None an optional path.
    """
    doc = inspect.stack()[1].frame.f_globals["__doc__"]
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    choices = choices or {}
    for name in positional:
        several: Any = {"nargs": "*", "choices": choices.get(name[:-1])} if name.endswith("*") else {"type": Path}
        parser.add_argument(name.rstrip("*"), **several)
    for name, default in options.items():
        flags = ["-o", "--out", "--results"] if name == "out" else [f"--{name.replace('_', '-')}"]
        if default is False:
            parser.add_argument(*flags, action="store_true")
            continue
        if isinstance(default, type):
            given: dict[str, Any] = {"type": default, "required": True}
        elif default is None or isinstance(default, Path):
            given = {"type": Path, "default": default}
        elif isinstance(default, str | int | float):
            given = {"type": type(default), "default": default}
        else:
            values = list(default)
            given = {"nargs": "*", "default": values, "type": type(values[0]) if values else str}
        parser.add_argument(*flags, dest=name, choices=choices.get(name), **given)
    return parser.parse_args()


class Mckit:
    """Calls ``mckit`` with ``--json`` and remembers what was called and how long it took.

    Args:
        folder: Where the commands run; None for here.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder, self.commands = folder, list[dict[str, Any]]()

    def __call__(self, *arguments: object) -> dict[str, Any]:
        """The document of one command. A failure ends the script with the command's own sentence."""
        words = [str(argument) for argument in arguments]
        line = shlex.join(["mckit", *words])
        print(f"$ {line}", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", "mobileclip_kit", *words, "--json"]
        started = time.monotonic()
        done = subprocess.run(command, cwd=self.folder, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{line}\nended with exit code {done.returncode}: {done.stdout}")
        self.commands.append({"command": line, "seconds": round(time.monotonic() - started, 1)})
        document: dict[str, Any] = json.loads(done.stdout)
        return document


def last_line(text: str) -> str:
    """What a program said last."""
    return (text.strip().splitlines() or ["it said nothing"])[-1]


def told(text: str | bytes | None) -> list[dict[str, Any]]:
    """The JSON objects among the lines of a program's output."""
    lines = (text.decode() if isinstance(text, bytes) else text or "").splitlines()
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]


def answer_requests(handlers: Mapping[str, Callable[..., dict[str, Any]]]) -> None:
    """Answer JSON requests line by line until stdin ends, as workers of :mod:`mobileclip_kit.bench.process` do.

    Args:
        handlers: The request's ``do`` to a function of its other keys; what it raises becomes the answer's reason.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries print
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = handlers[request.pop("do")](**request)
        except Exception as error:  # whatever a peer raises becomes its row's reason
            text = (str(error).strip().splitlines() or ["no reason given"])[0]
            answer = {"error": {"message": f"{type(error).__name__}: {text}", "hint": None}}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


class Clock:
    """Seconds of the wall clock and of all processors since it was made; child processes count once they have ended."""

    def __init__(self) -> None:
        self.seconds, self.cpu_s = -time.perf_counter(), -sum(os.times()[:4])

    def stop(self) -> Clock:
        """Count up to now."""
        self.seconds += time.perf_counter()
        self.cpu_s += sum(os.times()[:4])
        return self


def cpu_seconds(call: Call) -> float:
    """Processor seconds of one call, all threads of this process together."""
    started = time.process_time()
    call()
    return time.process_time() - started


def in_turns(calls: Mapping[str, Call], *, rounds: int, measure: Callable[[Call], Any] = cpu_seconds,
             warm: bool = True) -> dict[str, list[Any]]:  # fmt: skip
    """What ``measure`` gives for each call in each round, in an order drawn anew; a first call does not count."""
    order, names = random.Random(0), list(calls)
    for name in names if warm else ():
        calls[name]()
    found: dict[str, list[Any]] = {name: [] for name in names}
    for _ in range(rounds):
        order.shuffle(names)
        for name in names:
            found[name].append(measure(calls[name]))
    return found


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, and the middle 80 % of the rounds."""
    import numpy as np

    low, high = np.percentile(values, [10, 90])
    return {"median": float(np.median(values)), "low": float(low), "high": float(high)}


def mean_and_deviation(values: Sequence[float]) -> str:
    """Mean ± standard deviation in percent; a dash for no value."""
    import statistics

    if not values:
        return "–"
    deviation = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.1f}{deviation}"


def operator_times(model: Path | str, pixels: Any, calls: int) -> dict[tuple[str, str], float]:
    """Milliseconds of each kernel of an ONNX image tower, by operator and name: the least of several calls, one thread.

    Args:
        model: ``image.onnx``.
        pixels: ``(n, 3, height, width)`` float32; each call takes the next row.
        calls: How many.
    """
    import tempfile

    import onnxruntime

    with tempfile.TemporaryDirectory(prefix="mckit-profile-") as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_profiling, options.profile_file_prefix = True, str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        for call in range(calls):
            row = call % len(pixels)
            session.run(None, {"image": pixels[row : row + 1]})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    least: dict[tuple[str, str], float] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            key = event["args"]["op_name"], event["name"]
            least[key] = min(least.get(key, float("inf")), event["dur"] / 1000)
    return least


def write(path: Path, document: Mapping[str, Any]) -> dict[str, Any]:
    """Write a results file; one that does not say its machine gets this one."""
    from mobileclip_kit.bench.machine import describe_machine
    from mobileclip_kit.files import write_json

    whole = {**document}
    if "machine" not in whole:
        first = {key: whole.pop(key) for key in ("claim",) if key in whole}
        whole = {**first, "machine": describe_machine(), **whole}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, whole)
    return whole


def table(header: Sequence[str], rows: Iterable[Sequence[object]], *, texts: int = 1) -> list[str]:
    """Lines of a Markdown table whose first ``texts`` columns are texts and whose others are numbers."""
    marks = "---|" * texts + "---:|" * (len(header) - texts)
    return [f"| {' | '.join(header)} |", f"|{marks}", *(f"| {' | '.join(map(str, row))} |" for row in rows)]


def page(name: str, lines: Sequence[str], **values: Any) -> str:
    """The Markdown page ``pages/NAME.md`` around a table."""
    template = (HERE / "pages" / f"{name}.md").read_text(encoding="utf-8")
    return template.format(table="\n".join(lines), **values)


class Bar(NamedTuple):
    """One bar: a label, a value with its spread, a note at its end."""

    label: str
    value: float
    note: str = ""
    ours: bool = True
    spread: tuple[float, float] | None = None


class Chart(NamedTuple):
    """Bars that share an axis; ``left`` is where they start, ``marks`` are dotted lines."""

    title: str
    axis: str
    bars: Sequence[Bar]
    marks: Sequence[float] = ()


def draw(charts: Sequence[Chart], machine: object, path: Path) -> None:
    """One image of all charts, one below the other."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    heights = [0.36 * len(chart.bars) + 1.1 for chart in charts]
    figure = Figure(figsize=(8, sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(charts), height_ratios=heights, squeeze=False)[:, 0]
    for axes, chart in zip(panels, charts, strict=True):
        for place, bar in enumerate(chart.bars):
            axes.barh(place, bar.value, color="tab:blue" if bar.ours else "0.6")
            if bar.spread is not None:
                axes.plot(bar.spread, [place, place], color="black")
            axes.annotate(bar.note, (bar.value, place), xytext=(4, 0), textcoords="offset points", va="center", size=8)
        for mark in chart.marks:
            axes.axvline(mark, color="0.5", linestyle=":")
        axes.set_yticks(range(len(chart.bars)), [bar.label for bar in chart.bars], size=8)
        if any(bar.note for bar in chart.bars):
            axes.set_xlim(0, 1.45 * max(bar.value for bar in chart.bars))
        axes.set_xlabel(chart.axis, size=8)
        axes.set_title(chart.title, size=9)
    if isinstance(machine, dict):
        figure.suptitle(f"{machine['cpu']}, load {machine.get('load', '?')}; blue: mckit", size=8)
    figure.savefig(path, dpi=110)
