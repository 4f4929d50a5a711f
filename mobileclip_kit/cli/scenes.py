"""``mckit scenes``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import get_args

import click

from mobileclip_kit.cli.output import emit, force_option, is_explicit, json_option, note
from mobileclip_kit.files import atomic_folder
from mobileclip_kit.progress import Progress
from mobileclip_kit.scenes.folder import SceneSet, write_scenes
from mobileclip_kit.scenes.plan import SceneConfig
from mobileclip_kit.scenes.scene import DEFAULT_CONFIG, Split


@click.command()
@click.argument("items", metavar="N", type=int)
@click.option("-o", "out", metavar="DIR", required=True, type=click.Path(path_type=Path), help="The folder to make.")
@click.option("--seed", default=0, show_default=True, help="Which world; equal seeds give equal images.")
@click.option("--size", default=64, show_default=True, metavar="PX", help="Pixels of each side, 16 to 1024.")
@click.option(
    "--split",
    type=click.Choice(get_args(Split)),
    default="train",
    show_default=True,
    help="train: without the held-out combinations of kind and colour. test: with them. unseen: them alone. "
    "gallery: as many images of words as of things. pairs: each scene without and with a word on it.",
)
@click.option(
    "--word-share",
    type=float,
    default=DEFAULT_CONFIG.word_share,
    show_default=True,
    help="Share of images of a word alone, in the splits train and test.",
)
@click.option(
    "--pair-share",
    type=float,
    default=DEFAULT_CONFIG.pair_share,
    show_default=True,
    help="Share of images of two kinds of things, likewise.",
)
@click.option(
    "--captions", type=int, default=DEFAULT_CONFIG.captions, show_default=True, help="Captions of an image, at most."
)
@click.option("--workers", type=int, help="Processes. The images do not depend on it.  [default: one a processor]")
@force_option
@json_option
def command(
    items: int,
    out: Path,
    seed: int,
    size: int,
    split: Split,
    word_share: float,
    pair_share: float,
    captions: int,
    workers: int | None,
    force: bool,
    as_json: bool,
) -> None:
    """Draw the synthetic scenes: N images with captions and exact truth.

    DIR gets images/*.png, captions.csv (image,caption), truth.jsonl (what each image shows) and scenes.json.

    \b
    Examples:
      mckit scenes 20000 -o world
      mckit scenes 1000 -o gallery --split gallery --seed 1 --size 224
    """  # noqa: D301 (click's own mark for "leave these lines alone")
    config = SceneConfig(word_share=word_share, pair_share=pair_share, captions=captions)
    scenes = SceneSet(items=items, seed=seed, size=size, split=split, config=config)
    for option in _idle_shares(split):
        note(f"warning: {option} has no effect with --split {split}, which settles what its images show.")
    started = time.perf_counter()
    with atomic_folder(out, force=force) as staging, Progress("draw", total=items, unit="images") as progress:
        write_scenes(staging, scenes, workers=workers, advance=progress.advance)
    seconds = time.perf_counter() - started
    document = {
        "scenes": str(out),
        "items": items,
        "seconds": round(seconds, 3),
        "images_per_s": round(items / seconds, 1),
    }
    emit(document, f"Drew {items} images of {size} px into {out} in {seconds:.1f} s.", as_json=as_json)


def _idle_shares(split: Split) -> list[str]:
    """The shares of the command line that a split does not ask for."""
    if split in ("train", "test"):
        return []
    return [f"--{name.replace('_', '-')}" for name in ("word_share", "pair_share") if is_explicit(name)]
