"""Write the measured figures of README.md and docs from benchmarks/results.

    python benchmarks/readme_figures.py [--check]

A block of a page is replaced by the template of its name, ``blocks/NAME.md``, filled with figures::

    <!-- figures: peers -->
    | runtime | ratio |
    <!-- end -->

A figure, ``{real_photos:bench[name=student].size_bytes .1f M}``, names a file of ``benchmarks/results``, a
place in it and Python's format for numbers. A place is a path of keys; ``[key=value]`` picks the first entry of a list
by a value of it (``[model=RN50;tower=text]`` by several), ``[3]`` by its number. ``A / B`` is a quotient of two places.
After the format may stand ``M`` (millionths: bytes as MB) or ``pp`` (hundredths: shares as percent). With --check
nothing is written, and the exit code is 1 when a page differs.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from harness import HERE, RESULTS, parse

ROOT = HERE.parent
NAMES = "distillation results performance search textness index-format exports choosing reliability"
PAGES = (ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in NAMES.split()))
BLOCKS = {path.stem: path.read_text(encoding="utf-8").rstrip() for path in sorted((HERE / "blocks").glob("*.md"))}
_BLOCK = re.compile(r"(<!-- figures: (?P<name>[\w-]+) -->\n)(?P<text>.*?)(<!-- end -->)", re.DOTALL)
_FIGURE = re.compile(r"\{(?P<asked>[^{}]+?) (?P<format>[^ {}]+?)(?P<unit>| M| pp)\}")
_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]|\[([^=\]]+=[^\]]*)\]")
_UNITS = {"": 1, " M": 1e-6, " pp": 100}


class FigureError(Exception):
    """A block or a figure that cannot be found; the message names it."""


def main() -> int:
    """Write, or compare."""
    chosen = parse(check=False, pages=PAGES, results_folder=RESULTS)
    differ = False
    for page in chosen.pages:
        text = page.read_text(encoding="utf-8")
        try:
            written = fill(text, chosen.results_folder)
        except FigureError as error:
            print(f"error: {page.name}: {error}", file=sys.stderr)
            return 1
        if written != text:
            differ = True
            print(f"{page.name}: {'differs' if chosen.check else 'written'}")
            if not chosen.check:
                page.write_text(written, encoding="utf-8")
    return 1 if chosen.check and differ else 0


def fill(text: str, results: Path, blocks: dict[str, str] = BLOCKS) -> str:
    """The text of a page with every block as the results have it.

    Raises:
        FigureError: A block, file, place or format does not exist.
    """

    def replace(found: re.Match[str]) -> str:
        if found["name"] not in blocks:
            raise FigureError(f"There is no template blocks/{found['name']}.md.")
        return f"{found[1]}{render(blocks[found['name']], results)}\n{found[4]}"

    return _BLOCK.sub(replace, text)


def render(template: str, results: Path) -> str:
    """A template with its figures."""
    return _FIGURE.sub(lambda found: figure(found["asked"], found["format"], found["unit"], results), template)


def figure(asked: str, form: str, unit: str, results: Path) -> str:
    """One figure as text: ``real_photos:distill.steps``, ``.1f``. None is a dash."""
    file, _, expression = asked.partition(":")
    path = results / f"{file}.json"
    if not path.is_file():
        raise FigureError(f"{asked}: {path} does not exist; run benchmarks/{file}.py.")
    document = json.loads(path.read_text(encoding="utf-8"))
    values = [find(place.strip(), document, asked) for place in expression.split(" / ")]
    value = values[0] if len(values) == 1 else values[0] / values[1]
    if value is None:
        return "–"
    try:
        return format(value * _UNITS[unit], form).replace("-", "−" if form != "s" else "-")
    except (TypeError, ValueError) as error:
        raise FigureError(f"{asked}: {value!r} cannot be written as {form!r}: {error}.") from error


def find(place: str, document: Any, asked: str) -> Any:
    """The value at a place of a document."""
    value, at = document, 0
    while at < len(place):
        step = _STEP.match(place, at)
        if step is None:
            raise FigureError(f"{asked}: {place[at:]!r} is no step of a path.")
        key, number, conditions = step.groups()
        try:
            if key is not None:
                value = value[key]
            elif number is not None:
                value = value[int(number)]
            else:
                wanted = [condition.split("=", 1) for condition in conditions.split(";")]
                value = next(entry for entry in value if all(str(entry.get(name)) == each for name, each in wanted))
        except (KeyError, IndexError, TypeError, AttributeError, StopIteration):
            raise FigureError(f"{asked}: there is no {step.group(0)!r}.") from None
        at = step.end()
    return value


if __name__ == "__main__":
    sys.exit(main())
