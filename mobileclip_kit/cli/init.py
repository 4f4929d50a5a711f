"""``mckit init``."""

from __future__ import annotations

from pathlib import Path

import click

from mobileclip_kit.cli.output import emit, force_option, json_option
from mobileclip_kit.data.sources import check_source
from mobileclip_kit.errors import OutputError
from mobileclip_kit.model_names import check_model_name
from mobileclip_kit.project import PROJECT_FILE, Project
from mobileclip_kit.resources import tower_config
from mobileclip_kit.urls import as_place


@click.command(name="init")
@click.option("--data", type=as_place, required=True, metavar="PHOTOS", help="A folder of images or a captions file.")
@click.option("--teacher", default="ViT-B-32:openai", show_default=True, metavar="T", help="The model to learn from.")
@click.option("--student", default="vit-s6-h12", show_default=True, metavar="S", help="The image tower to train.")
@force_option
@json_option
def command(data: Path | str, teacher: str, student: str, force: bool, as_json: bool) -> None:
    """Write a mckit.toml: the defaults of every command in this folder.

    With it, these lines run one after the other without further arguments. Options of the command line override the
    file, and a table such as [distill] in it sets options of one command.

    \b
    Examples:
      mckit init --data photos
      mckit distill
      mckit export --format coreml --fp16
      mckit export --format onnx
      mckit bench --device cpu
      mckit index
      mckit search "a red bicycle"
      mckit bundle
    """  # noqa: D301 (click's own mark for "leave these lines alone")
    check_source(data)
    check_model_name(teacher)
    tower_config("student", student)
    path = Path(PROJECT_FILE)
    if path.exists() and not force:
        raise OutputError(f"{path} exists already.", hint="Edit it, or add --force to replace it.")
    Project(data=str(data), teacher=teacher, student=student).write(path)
    document = {"project": str(path), "data": str(data), "teacher": teacher, "student": student}
    emit(document, f"{path}: {student} learns from {teacher} on {data}. Next: mckit distill", as_json=as_json)
