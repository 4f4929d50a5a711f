"""``mckit scenes``."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import click

from mobileclip_kit.cli.options import options_from
from mobileclip_kit.cli.output import emit, force_option, is_explicit, json_option, note
from mobileclip_kit.files import atomic_folder
from mobileclip_kit.progress import Progress
from mobileclip_kit.scenes.folder import SceneSet, write_scenes
from mobileclip_kit.scenes.plan import SceneConfig
from mobileclip_kit.scenes.scene import Split
from mobileclip_kit.scenes.truth import TRUTH_FILE


@click.command()
@options_from(SceneSet, name="scenes")
@options_from(SceneConfig, name="config")
@click.option("-o", "out", metavar="DIR", required=True, type=click.Path(path_type=Path), help="The folder to make.")
@click.option("--workers", type=int, help="Processes. The images do not depend on it.  [default: one per processor]")
@force_option
@json_option
def command(scenes: SceneSet, config: SceneConfig, out: Path, workers: int | None, force: bool, as_json: bool) -> None:
    """Draw the synthetic scenes: N images with captions and exact truth.

    DIR gets images/*.png, captions.csv (image,caption), truth.jsonl (what each image shows) and scenes.json.

    \b
    Examples:
      mckit scenes 20000 -o scenes
      mckit scenes 1000 -o gallery --split gallery --seed 1 --size 224
    """  # noqa: D301 (click's own mark for "leave these lines alone")
    scenes, items = replace(scenes, config=config), scenes.items
    for option in _idle_shares(scenes.split):
        note(f"warning: {option} has no effect with --split {scenes.split}, which determines what its images show.")
    started = time.perf_counter()
    folder = atomic_folder(out, force=force, kinds=(TRUTH_FILE,))
    with folder as staging, Progress("draw", total=items, unit="images") as progress:
        write_scenes(staging, scenes, workers=workers, advance=progress.advance)
    seconds = time.perf_counter() - started
    document = {
        "scenes": str(out),
        "items": items,
        "seconds": round(seconds, 3),
        "images_per_s": round(items / seconds, 1),
    }
    emit(document, f"Drew {items} images of {scenes.size} px into {out} in {seconds:.1f} s.", as_json=as_json)


def _idle_shares(split: Split) -> list[str]:
    """The shares of the command line that a split does not ask for."""
    if split in ("train", "test"):
        return []
    return [f"--{name.replace('_', '-')}" for name in ("word_share", "pair_share") if is_explicit(name)]
