"""``mckit inspect``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from mobileclip_kit.cli.output import LocalPath, emit, json_option

_LINE_CHARACTERS = 100


@click.command()
@click.argument("path", type=LocalPath())
@json_option
def command(path: Path, as_json: bool) -> None:
    """Identify a file or folder: anything that mckit writes, images, captions, vectors, weights.

    \b
    Examples:
      mckit inspect student
      mckit inspect student-coreml-fp16/image.mlpackage --json
    """  # noqa: D301 (click's mark for lines to keep as they are)
    from mobileclip_kit.inspection import inspect_path

    found = inspect_path(path)
    lines = [f"{path}: {found.kind}", *_lines(found.facts)]
    emit({"path": str(path), "kind": found.kind, **found.facts}, "\n".join(lines), as_json=as_json)


def _lines(facts: dict[str, Any], indent: str = "  ") -> Iterator[str]:
    """Names and values in two columns; nested objects that do not fit on a line are indented."""
    shown = {name: value for name, value in facts.items() if value not in (None, [], {})}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        text = _text(value)
        if len(text) <= _LINE_CHARACTERS or not isinstance(value, dict):
            yield f"{indent}{name.ljust(width)}  {text}"
        else:
            yield f"{indent}{name}"
            yield from _lines(value, indent + "  ")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        shape = bool(value) and all(isinstance(each, int) for each in value)
        return (" × " if shape else ", ").join(map(_text, value))
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_text(each)}" for name, each in value.items())
    return str(value)
