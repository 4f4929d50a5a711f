"""``mckit check``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from mobileclip_kit.cli.output import LocalPath, emit, json_option
from mobileclip_kit.files import counted


@click.command(name="check")
@click.argument("path", type=LocalPath())
@json_option
def command(path: Path, as_json: bool) -> None:
    """Check whether files that mckit wrote are still what it wrote.

    PATH is a model, an export, an index, a teacher cache, a bundle, a textness vector, scenes, dumped vectors, an
    interrupted run, or a folder of these. Every byte is read and compared with its checksum. The exit code is 1 if a
    file is damaged.

    \b
    Examples:
      mckit check photos.index
      mckit check student-coreml-fp16 --json
    """  # noqa: D301 (click's mark for lines to keep as they are)
    from mobileclip_kit.checking import check_path

    checked = check_path(path)
    damaged = [file for file in checked if file.problem is not None]
    lines = [f"{'DAMAGED' if file.problem else 'ok':8} {file.path}  ({file.how})" for file in checked]
    lines += [f"{file.problem} {file.hint}" for file in damaged]
    lines.append(f"{path}: {counted(len(checked), 'file')} checked, {len(damaged)} damaged.")
    rows = [{"path": str(file.path), "ok": file.problem is None, "how": file.how, "problem": file.problem,
             "hint": file.hint} for file in checked]  # fmt: skip
    emit({"path": str(path), "files": rows, "damaged": len(damaged)}, "\n".join(lines), as_json=as_json)
    if damaged:
        sys.exit(1)
