"""What each of LightCLIP's three losses brings, on the synthetic scenes.

    python benchmarks/lightclip_ablation.py -o lightclip_ablation.json --table docs/lightclip-ablation.md

Five mixtures (InfoNCE alone; + (a) softened alignment; + (a) and (b) token matching; + (a) and (c) masked language;
all), two image encoders, three seeds, all with equal steps, images, batches and order. Every model is measured on two
galleries that it has not seen: 1,000 images of everything, and one with as many images of words as of things. The
world has a dozen kinds of things, so that a few minutes' training lands where mixtures can differ: neither at chance
nor at the top. Runs that are in the output already are kept, so that it can be interrupted and run again.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mobileclip_kit.bench.machine import describe_machine
from mobileclip_kit.bench.scenes import evaluate_scenes
from mobileclip_kit.distillation.from_pairs import train
from mobileclip_kit.distillation.recipe import Recipe
from mobileclip_kit.distillation.request import TrainRequest
from mobileclip_kit.distillation.tables import LightClipLoss, PairOptions, TrainingPlan
from mobileclip_kit.files import read_json, write_json
from mobileclip_kit.runtime.open import open_encoder
from mobileclip_kit.scenes.folder import SceneSet, write_scenes
from mobileclip_kit.scenes.objects import KINDS
from mobileclip_kit.scenes.plan import SceneConfig
from mobileclip_kit.textness.gallery import encode_gallery

# Name in the table → which losses are on.
MIXTURES: dict[str, tuple[LightClipLoss, ...]] = {
    "InfoNCE": (),
    "+ (a)": ("align",),
    "+ (a) (b)": ("align", "tokens"),
    "+ (a) (c)": ("align", "mlm"),
    "all": ("align", "tokens", "mlm"),
}
FIGURES = (
    "precision_at_1",
    "precision_at_1_unseen",
    "reading_precision_at_1",
    "count_precision_at_1",
    "relation_precision_at_1",
)


@dataclass(frozen=True)
class Run:
    """One model to be trained."""

    encoder: str
    mixture: str
    seed: int

    @property
    def key(self) -> str:
        """Its name in the results."""
        return f"{self.encoder}/{self.mixture}/{self.seed}"


def main() -> None:
    """Train and measure what is missing; write the results and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, default=Path("lightclip_ablation.json"))
    parser.add_argument("--table", type=Path, help="Markdown file for the table")
    parser.add_argument("--encoders", nargs="+", default=["conv-m", "hybrid-s"], metavar="STUDENT")
    parser.add_argument(
        "--text", default="text-4-128", help="text tower; with four layers or more each stage has its own"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch-size", type=int, default=96)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--gallery", type=int, default=1_000)
    parser.add_argument("--kinds", type=int, default=12, help="kinds of things in the world")
    arguments = parser.parse_args()
    settings = {
        name: getattr(arguments, name) for name in ("text", "images", "steps", "batch_size", "lr", "gallery", "kinds")
    }
    document = read_json(arguments.out) if arguments.out.is_file() else {}
    if document.get("settings") not in (None, settings):
        parser.error(f"{arguments.out} was made with other settings: {document['settings']}")
    document = {"settings": settings, "machine": describe_machine(), "runs": document.get("runs", {})}
    wanted = [
        Run(encoder, mixture, seed)
        for seed in range(arguments.seeds)
        for encoder in arguments.encoders
        for mixture in MIXTURES
    ]
    with tempfile.TemporaryDirectory(prefix="lightclip-") as name:
        folder = Path(name)
        missing = [run for run in wanted if run.key not in document["runs"]]
        if missing:
            draw_scenes(folder, settings)
        for run in missing:
            print(f"{run.key} …", flush=True)
            document["runs"][run.key] = train_and_measure(run, settings, folder)
            write_json(arguments.out, document)
    lines = table(document["runs"], arguments.encoders)
    print("\n".join(lines))
    if arguments.table:
        arguments.table.write_text("\n".join(page(document, lines)) + "\n", encoding="utf-8")


def draw_scenes(folder: Path, settings: dict[str, Any]) -> None:
    """A world to train on and the two galleries, of other seeds."""
    config = SceneConfig(kinds=tuple(KINDS)[: settings["kinds"]])
    scene_sets = {
        "train": SceneSet(items=settings["images"], seed=0, size=64, split="train", config=config),
        "mixed": SceneSet(items=settings["gallery"], seed=1, size=64, split="test", config=config),
        "fair": SceneSet(items=settings["gallery"] // 80 * 80 or 80, seed=2, size=64, split="gallery", config=config),
    }
    for name, scenes in scene_sets.items():
        (folder / name).mkdir()
        write_scenes(folder / name, scenes, workers=None, advance=lambda count: None)


def train_and_measure(run: Run, settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One model's figures."""
    plan = TrainingPlan(
        steps=settings["steps"], batch_size=settings["batch_size"], optimizer="muon", lr=settings["lr"], seed=run.seed
    )
    options = PairOptions(student=run.encoder, text=settings["text"], embedding_dim=128, trim_vocab=True)
    options = replace(options, losses=MIXTURES[run.mixture])
    recipe = Recipe(name=run.key, objective="pairs", training=plan, options=options)
    made = train(TrainRequest(data=folder / "train", out=folder / "model", recipe=recipe, force=True))
    encoder = open_encoder(folder / "model")
    galleries = (encode_gallery(folder / name, encoder) for name in ("mixed", "fair"))
    return {"seconds": made.result.seconds, "loss": made.result.loss, **evaluate_scenes(encoder, *galleries)}


def table(runs: dict[str, dict[str, Any]], encoders: Iterable[str]) -> list[str]:
    """Markdown: mean ± standard deviation over the seeds, in percent."""
    lines = ["| encoder | losses | " + " | ".join(name.replace("_", " ") for name in FIGURES) + " | s |"]
    lines.append("|---|---|" + "---:|" * (len(FIGURES) + 1))
    for encoder in encoders:
        for mixture in MIXTURES:
            found = [value for key, value in runs.items() if key.rsplit("/", 1)[0] == f"{encoder}/{mixture}"]
            if found:
                cells = [_spread([each[name] for each in found if name in each]) for name in FIGURES]
                seconds = statistics.mean(each["seconds"] for each in found)
                lines.append(f"| {encoder} | {mixture} | {' | '.join(cells)} | {seconds:.0f} |")
    return lines


def page(document: dict[str, Any], lines: list[str]) -> list[str]:
    """The Markdown page around the table."""
    settings = document["settings"]
    return [
        "# What LightCLIP's losses bring",
        "",
        f"`benchmarks/lightclip_ablation.py`: {settings['steps']} steps of {settings['batch_size']} pairs out of "
        f"{settings['images']} images of the synthetic scenes with {settings['kinds']} kinds, text tower",
        f"{settings['text']}, Muon with a peak learning rate of {settings['lr']:g}; mean ± standard",
        f"deviation over the seeds, in percent, on {settings['gallery']} unseen images. The last column is training",
        "time in seconds: equal steps are not equal time.",
        "",
        *lines,
    ]


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "–"
    spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.1f}{spread}"


if __name__ == "__main__":
    main()
