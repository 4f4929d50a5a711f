"""``mckit distill``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mobileclip_kit.cli.options import options_from
from mobileclip_kit.cli.output import emit, json_option, note, resumable
from mobileclip_kit.distillation.request import DistillRequest
from mobileclip_kit.files import counted, told

if TYPE_CHECKING:
    from mobileclip_kit.distillation.run import TrainingReport

_LISTED = 10


@click.command()
@options_from(DistillRequest)
@json_option
def command(request: DistillRequest, as_json: bool) -> None:
    """Distil a teacher into a small student.

    The checkpoint is kept in MODEL.run until the model is made; after Ctrl-C or a crash, --resume continues from it. A
    student of a live teacher has its text tower; one of a cache has none, unless --text-from names the teacher's model.

    --text trains a text tower, beside a new image tower or beside a finished one. Under torchrun the processes share
    each batch.

    Recipes with [stages], such as tinyclip-auto, train no new tower: they prune both towers of the teacher to one
    budget of parameters. --steps and --epochs then count the training that follows the pruning in each stage.

    \b
    Examples:
      mckit distill --teacher ViT-B-32:openai --data photos --student vit-s6-h12 -o student
      mckit distill --cache photos.cache --data photos --student vit-s6-h12 --holdout 0.1 -o student
      mckit distill --cache photos.cache --data photos --student my-student.json -o student
      mckit distill --cache photos.cache --data photos --student vit-s6-h24 --init student -o student24
      mckit distill --teacher ViT-B-32:openai --data captions.csv --text motis-4 --init student -o both
      mckit distill --teacher ViT-B-32:openai --data photos --student vit-s6-h12 --recipe tinyclip --bank classes.txt \\
        --templates templates.txt -o student
      mckit distill --teacher ViT-B-32:openai --data captions.csv --recipe tinyclip-auto -o quarter
      torchrun --nproc-per-node 8 -m mobileclip_kit distill --device cuda …
    """  # noqa: D301 (click's mark for lines as they stand is a backspace)
    request.check()  # before torch is imported
    from mobileclip_kit.distillation.distributed import is_first_process
    from mobileclip_kit.distillation.run import distill

    with resumable(request.out):
        report = distill(request)
    if is_first_process():
        print_report(report, as_json)


def print_report(report: TrainingReport, as_json: bool) -> None:
    """Say what a run made and what it left out."""
    for skip in report.skipped[:_LISTED]:
        note(f"skipped {told(skip.item, skip.reason)}")
    if len(report.skipped) > _LISTED:
        note(f"… and {len(report.skipped) - _LISTED} more; {report.path / 'training.json'} lists all.")
    figures = ", ".join(f"{name} {value:.4g}" for name, value in report.metrics.items())
    towers = " and ".join(report.spec.towers)
    steps = counted(report.result.steps, "step")
    text = f"{report.path}: {towers} tower after {steps} on {report.images} images"
    emit(report.to_json(), f"{text}; {figures}" if figures else text, as_json=as_json)
