"""``mckit inspect``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from mobileclip_kit.cli.output import emit, json_option


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@json_option
def command(path: Path, as_json: bool) -> None:
    """Say what a file or folder is: a model, an export, a cache, an index, a bundle, vectors, images.

    \b
    Examples:
      mckit inspect student
      mckit inspect student-coreml-fp16/image.mlpackage --json
    """  # noqa: D301 (click's mark for lines as they stand is a backspace)
    from mobileclip_kit.inspection import inspect_path

    finding = inspect_path(path)
    width = max(map(len, finding.facts), default=0)
    lines = [f"{path}: {finding.kind}"]
    lines += [f"  {name.ljust(width)}  {_shown(value)}" for name, value in finding.facts.items() if value is not None]
    emit({"path": str(path), "kind": finding.kind, **finding.facts}, "\n".join(lines), as_json=as_json)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    return str(value)
