"""Write measured figures into README.md and pages of docs, so that they are those of benchmarks/results.

    python benchmarks/readme_figures.py [--check]

A figure in these pages stands between two comments, which a reader of the page does not see::

    <!-- =real_photos:bench[kind=onnx int8].latency_ms.p50 .1f -->15.5<!-- = -->

The first one names a file of ``benchmarks/results``, a place in it and Python's format for numbers. A place is a path
of keys; ``[key=value]`` picks the entry of a list, ``[3]`` one by its number. ``A / B`` is a quotient of two places,
``1 - A / B`` what is missing to one. After the format may stand ``M`` (millionths: bytes as MB) and ``pp`` (a hundred
times: points). With --check nothing is written and the exit code is 1 when a figure differs.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from harness import HERE, RESULTS, parse

ROOT = HERE.parent
PAGES = (ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in ("performance", "search", "index-format")))
_FIGURE = re.compile(r"<!-- =(?P<asked>.+?) (?P<format>[^ ]+?)(?P<unit>| M| pp) -->(?P<text>.*?)<!-- = -->")
_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]|\[([^=\]]+)=([^\]]*)\]")
_UNITS = {"": 1, " M": 1e-6, " pp": 100}


class FigureError(Exception):
    """A figure that cannot be found; says which."""


def main() -> int:
    """Write, or compare."""
    chosen = parse(check=False, pages=PAGES, results_folder=RESULTS)
    differ = False
    for page in chosen.pages:
        text = page.read_text(encoding="utf-8")
        try:
            written, changes = fill(text, chosen.results_folder)
        except FigureError as error:
            print(f"error: {page.name}: {error}", file=sys.stderr)
            return 1
        for change in changes:
            print(f"{page.name}: {change}")
        differ |= bool(changes)
        if changes and not chosen.check:
            page.write_text(written, encoding="utf-8")
    return 1 if chosen.check and differ else 0


def fill(text: str, results: Path) -> tuple[str, list[str]]:
    """The text with every figure as the results have it, and a line for each figure that differed.

    Raises:
        FigureError: A file, a place or a format is not there.
    """
    changes: list[str] = []

    def replace(found: re.Match[str]) -> str:
        wanted = render(found["asked"], found["format"], found["unit"], results)
        if wanted != found["text"]:
            changes.append(f"{found['asked']}: {found['text']!r} → {wanted!r}")
        start = found["text"]
        whole = found.group(0)
        return whole[: -len(start + "<!-- = -->")] + wanted + "<!-- = -->"

    return _FIGURE.sub(replace, text), changes


def render(asked: str, form: str, unit: str, results: Path) -> str:
    """One figure as text: ``real_photos:distill.steps``, ``.1f``."""
    file, _, expression = asked.partition(":")
    path = results / f"{file}.json"
    if not path.is_file():
        raise FigureError(f"{asked}: {path} does not exist; run benchmarks/{file}.py.")
    document = json.loads(path.read_text(encoding="utf-8"))
    value = evaluate(expression, document, asked)
    try:
        text = format(value * _UNITS[unit], form)
    except (TypeError, ValueError) as error:
        raise FigureError(f"{asked}: {value!r} cannot be written as {form!r}: {error}.") from error
    return text.replace("%", " %").replace("-", "−")


def evaluate(expression: str, document: Any, asked: str) -> Any:
    """A place, ``A / B`` or ``1 - A / B``."""
    if expression.startswith("1 - "):
        return 1 - evaluate(expression.removeprefix("1 - "), document, asked)
    values = [find(place.strip(), document, asked) for place in expression.split(" / ")]
    return values[0] if len(values) == 1 else values[0] / values[1]


def find(place: str, document: Any, asked: str) -> Any:
    """The value at a place of a document."""
    value, at = document, 0
    while at < len(place):
        step = _STEP.match(place, at)
        if step is None:
            raise FigureError(f"{asked}: {place[at:]!r} is no step of a path.")
        key, number, name, wanted = step.groups()
        try:
            if key is not None:
                value = value[key]
            elif number is not None:
                value = value[int(number)]
            else:
                value = next(entry for entry in value if str(entry.get(name)) == wanted)
        except (KeyError, IndexError, TypeError, AttributeError, StopIteration):
            raise FigureError(f"{asked}: there is no {step.group(0)!r}.") from None
        at = step.end()
    return value


if __name__ == "__main__":
    sys.exit(main())
