"""``mckit train``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mobileclip_kit.cli.output import data_place, emit, force_option, json_option, note, resumable

if TYPE_CHECKING:
    from mobileclip_kit.distillation.recipe import Recipe


@click.command()
@click.option("--data", required=True, type=data_place, help="Images with captions: a folder with "
              "captions.csv, a CSV or TSV file, or JSONL.")  # fmt: skip
@click.option("--student", help="Image tower: resnet18, mobilenetv2, swin-nano, vit-s6-h12, …  [default: the recipe's]")
@click.option("--text", help="Text tower: text-8, text-4 or text-2.  [default: the recipe's]")
@click.option("--recipe", default="lightclip", show_default=True, help="A preset's name, or a TOML file.")
@click.option("--losses", metavar="LIST", help="Which of align,tokens,mlm are on, with commas; none for plain InfoNCE.")
@click.option("--epochs", type=int, help="Passes over the images.")
@click.option("--steps", type=int, help="Updates in all, instead of --epochs.")
@click.option("--batch-size", type=int, help="Pairs in an update, at least 2.")
@click.option("--lr", type=float, help="Peak learning rate.")
@click.option("--seed", type=int, help="Of weights, order and augmentation.")
@click.option("--image-size", type=int, metavar="PX", help="Pixels of each side of the model's input.")
@click.option("--embedding-dim", type=int, help="Width of the vectors.")
@click.option("--trim-vocab", is_flag=True, help="Keep only the vocabulary that the captions use, and single bytes.")
@click.option("--init", metavar="MODEL", help="A model of the same towers to start from, its vocabulary included.")
@click.option("--limit", type=click.IntRange(min=2), help="Take the first so many pairs only.")
@click.option("-o", "out", metavar="MODEL", required=True, type=click.Path(path_type=Path), help="The folder to make.")
@click.option("--resume", is_flag=True, help="Go on with an interrupted run.")
@force_option
@json_option
def command(
    data: Path | str,
    recipe: str,
    out: Path,
    init: str | None,
    limit: int | None,
    resume: bool,
    force: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Train a small model from image-caption pairs, without a teacher.

    LightCLIP's three losses: softened instance alignment, token-level alignment, and masked language modelling helped
    by the image. What exists in training only is not in MODEL.

    \b
    Examples:
      mckit train --data world --student resnet-w16 --text text-2 --steps 2000 -o model
      mckit train --data captions.csv --recipe lightclip --losses align,tokens -o model
    """  # noqa: D301 (click's own mark for "leave these lines alone")
    from mobileclip_kit.distillation.from_pairs import train_from_pairs

    resolved = resolve_recipe(recipe, flags)
    with resumable(out):
        made = train_from_pairs(data, out, resolved, init=init, limit=limit, resume=resume, force=force)
    for line in made.notes:
        note(f"note: {line}")
    for entry in made.skipped[:10]:
        note(f"skipped {entry.item}: {entry.reason}")
    if len(made.skipped) > 10:
        note(f"… and {len(made.skipped) - 10} more; {out / 'training.json'} lists them all.")
    result = made.result
    document = {
        "model": str(out),
        "steps": result.steps,
        "seconds": round(result.seconds, 1),
        "images_per_s": round(result.images_per_s, 1),
        "images": made.images,
        "metrics": {"loss": result.loss, **{name: value for name, value in result.parts.items() if name != "loss"}},
        "skipped": [{"item": entry.item, "reason": entry.reason} for entry in made.skipped],
        "notes": list(made.notes),
    }
    text = f"Trained {out} in {result.seconds / 60:.1f} min: {result.steps} steps, loss {result.loss:.3f}."
    emit(document, text, as_json=as_json)


def resolve_recipe(name: str, flags: dict[str, Any]) -> Recipe:
    """A recipe with the command line's values in place of its own.

    Raises:
        UsageError: The recipe or a value is not usable.
    """
    from dataclasses import replace

    from mobileclip_kit.distillation.pairs import PairOptions
    from mobileclip_kit.distillation.recipe import load_recipe
    from mobileclip_kit.errors import UsageError

    recipe = load_recipe(name)
    if not isinstance(recipe.options, PairOptions):
        raise UsageError(
            f"The recipe {name} has the objective {recipe.objective!r}, which needs a teacher.",
            hint="Use `mckit distill` with it, or --recipe lightclip here.",
        )
    if flags.get("losses") is not None:
        flags["losses"] = _losses(flags["losses"])
    flags["trim_vocab"] = flags.get("trim_vocab") or None
    wanted = ("student", "text", "losses", "image_size", "embedding_dim", "trim_vocab")
    options = {key: flags[key] for key in wanted if flags.get(key) is not None}
    recipe = replace(recipe, options=replace(recipe.options, **options))
    return recipe.with_training(**{key: flags.get(key) for key in ("epochs", "steps", "batch_size", "lr", "seed")})


def _losses(text: str) -> tuple[str, ...]:
    from mobileclip_kit.errors import UsageError

    names = tuple(name.strip() for name in text.split(",") if name.strip() and name.strip() != "none")
    for name in names:
        if name not in ("align", "tokens", "mlm"):
            raise UsageError(f"--losses names {name!r}; it may name align, tokens and mlm, or be none.")
    return names
