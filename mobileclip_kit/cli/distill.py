"""``mckit distill``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from mobileclip_kit.cli.output import data_place, emit, force_option, json_option, note, resumable
from mobileclip_kit.inherit.choice import Choice

if TYPE_CHECKING:
    from mobileclip_kit.distillation.distillation import DistillReport

_LISTED = 10


@click.command()
@click.option("--teacher", metavar="T", help="A model folder, an open_clip name (ViT-B-32:openai) or hf-hub:….")
@click.option("--cache", "caches", type=click.Path(path_type=Path), multiple=True, metavar="CACHE",
              help="A teacher's stored vectors instead; several are averaged in the affinity.")  # fmt: skip
@click.option("--data", type=data_place, required=True, metavar="D",
              help="A folder of images or a captions file; not every recipe needs captions.")  # fmt: skip
@click.option("--student", metavar="S", help="A new image tower, such as vit-s6-h12.")
@click.option("--text", metavar="X", help="A new text tower, such as motis-4; teacher trains the teacher's own.")
@click.option("--recipe", default="piccollage", show_default=True, metavar="R", help="A preset's name or a TOML file.")
@click.option("-o", "out", type=click.Path(path_type=Path), required=True, metavar="MODEL", help="The folder to make.")
@click.option(
    "--text-from", metavar="T", help="The model whose text tower the student carries; default: the teacher's."
)
@click.option("--init", metavar="MODEL", help="Start from this model's image tower (24 heads from 12).")
@click.option("--inherit", is_flag=False, flag_value="leading", type=click.Choice(get_args(Choice)),
              help="Start new towers from the leading or the heaviest channels of a wider teacher's.")  # fmt: skip
@click.option("--bank", type=click.Path(path_type=Path), metavar="FILE",
              help="Texts to compare images with, one class name or text a line.")  # fmt: skip
@click.option("--templates", type=click.Path(path_type=Path), metavar="FILE",
              help="With --bank: one template a line, such as: a photo of a {}")  # fmt: skip
@click.option("--trim-vocab", is_flag=True, help="Keep only the vocabulary that captions and bank need, and bytes.")
@click.option("--holdout", metavar="SHARE|FILE", help="Images kept out of training: a share, or a file of names.")
@click.option("--epochs", type=int, metavar="N", help="Passes over the images.")
@click.option("--steps", type=int, metavar="N", help="Updates in all, instead of --epochs.")
@click.option("--batch-size", type=int, metavar="N", help="Images in an update.")
@click.option("--lr", type=float, help="Peak learning rate.")
@click.option("--seed", type=int, help="Of weights, order and augmentation.")
@click.option("--precision", type=click.Choice(["float32", "bfloat16", "float16"]), help="Of matrix products.")
@click.option("--micro-batch", type=int, metavar="N", help="Images that pass the model at once; the loss stays the "
              "whole batch's.")  # fmt: skip
@click.option("--limit", type=click.IntRange(min=2), metavar="N", help="Take the first N images only.")
@click.option("--fast-decode", "draft", is_flag=True, help="Decode large JPEGs at reduced resolution.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, mps or auto.")
@click.option("--checkpoint-seconds", type=click.FloatRange(min=0), default=60, show_default=True, metavar="S",
              help="Time between checkpoints.")  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on with an interrupted run.")
@force_option
@json_option
def command(teacher: str | None, caches: tuple[Path, ...], data: Path | str, student: str | None, text: str | None,
            recipe: str, out: Path, text_from: str | None, init: str | None, inherit: Choice | None, bank: Path | None,
            templates: Path | None, trim_vocab: bool, holdout: str | None, epochs: int | None, steps: int | None,
            batch_size: int | None, lr: float | None, seed: int | None, precision: str | None,
            micro_batch: int | None, limit: int | None,
            draft: bool, device: str, checkpoint_seconds: float, resume: bool, force: bool,
            as_json: bool) -> None:  # fmt: skip
    """Distil a teacher into a small student.

    The checkpoint lies in MODEL.run until the model is made; after Ctrl-C or a crash, --resume goes on from it. A
    student of a live teacher carries its text tower; one of a cache has none, unless --text-from names the teacher's
    model.

    --text trains a text tower, beside a new image tower or beside a finished one. Under torchrun the processes share
    each batch.

    Recipes with [stages], such as tinyclip-auto, cut the teacher itself down, both towers under one budget of
    parameters; --steps and --epochs then count the recovery of each stage.

    \b
    Examples:
      mckit distill --teacher ViT-B-32:openai --data photos --student vit-s6-h12 -o student
      mckit distill --cache photos.cache --data photos --student vit-s6-h12 --holdout 0.1 -o student
      mckit distill --cache photos.cache --data photos --student vit-s6-h24 --init student -o student24
      mckit distill --teacher ViT-B-32:openai --data captions.csv --text motis-4 --init student -o both
      mckit distill --teacher ViT-B-32:openai --data photos --student vit-s6-h12 --recipe tinyclip --bank classes.txt \\
        --templates templates.txt -o student
      mckit distill --teacher ViT-B-32:openai --data captions.csv --recipe tinyclip-auto -o quarter
      torchrun --nproc-per-node 8 -m mobileclip_kit distill --device cuda …
    """  # noqa: D301 (click's mark for lines as they stand is a backspace)
    from mobileclip_kit.distillation.distillation import DistillRequest, distill
    from mobileclip_kit.distillation.ranks import is_first_process
    from mobileclip_kit.distillation.recipe import load_recipe

    resolved = load_recipe(recipe).with_training(
        epochs=epochs, steps=steps, batch_size=batch_size, lr=lr, seed=seed, precision=precision,
        micro_batch=micro_batch,
    )  # fmt: skip
    request = DistillRequest(
        data=data, out=out, student=student, text=text, recipe=resolved, teacher=teacher, cache=caches,
        text_from=text_from, init=init, inherit=inherit, bank=bank, templates=templates,
        trim_vocab=trim_vocab, limit=limit, holdout=holdout, draft=draft, device=device,
        checkpoint_seconds=checkpoint_seconds,
        resume=resume, force=force,
    )  # fmt: skip
    with resumable(out):
        report = distill(request)
    if is_first_process():
        _print(out, report, as_json)


def _print(out: Path, report: DistillReport, as_json: bool) -> None:
    for line in report.notes:
        note(f"note: {line}")
    for skip in report.skipped[:_LISTED]:
        note(f"skipped {skip.item}: {skip.reason}")
    if len(report.skipped) > _LISTED:
        note(f"… and {len(report.skipped) - _LISTED} more; {out / 'training.json'} lists all.")
    result = report.result
    document = {
        "model": str(out),
        "steps": result.steps,
        "seconds": round(result.seconds, 3),
        "images_per_s": round(result.images_per_s, 1),
        "metrics": report.metrics,
        "images": report.images,
        "towers": list(report.spec.towers),
        "notes": report.notes,
        "skipped": [{"item": skip.item, "reason": skip.reason} for skip in report.skipped],
    }
    figures = ", ".join(f"{name} {value:.4g}" for name, value in report.metrics.items())
    towers = " and ".join(report.spec.towers)
    text = f"{out}: {towers} tower after {result.steps} steps on {report.images} images; {figures}"
    emit(document, text, as_json=as_json)
