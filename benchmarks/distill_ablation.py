"""What each recipe of distillation brings, by the size of the student: the bundled teacher on the synthetic scenes.

    python benchmarks/distill_ablation.py -o distill_ablation.json --table docs/distill-ablation.md

Every recipe trains students of a half, a quarter and an eighth of the teacher's image tower with three seeds, all with
equal steps, images and batches. Learning rates are the recipe's own unless --lr says otherwise; RECIPE@LR is a recipe
with another one, so that none loses for having been meant for longer training. Each student is asked
on galleries that it has not seen: the share of questions whose first answer is right (of the teacher's, too), recall
of captions, and how far its ranking of images agrees with the teacher's (MAP@20). Rows that are in the output already
are kept, so that it can be interrupted and run again; --recipes and --sizes choose a part.

`lightclip` has no teacher: it trains both towers from the same pairs. `tinyclip-auto` cuts both towers of the teacher
down to the share that the size names.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mobileclip_kit.bench.machine import describe_machine
from mobileclip_kit.bench.scenes import evaluate_scenes
from mobileclip_kit.cache.build import build_cache
from mobileclip_kit.cache.texts import cache_texts
from mobileclip_kit.data.sources import open_source
from mobileclip_kit.distillation.from_pairs import train as train_from_pairs
from mobileclip_kit.distillation.recipe import Recipe, load_recipe
from mobileclip_kit.distillation.request import DistillRequest, TrainRequest
from mobileclip_kit.distillation.run import distill
from mobileclip_kit.errors import MckitError
from mobileclip_kit.files import read_json, sha256_of_file, write_json
from mobileclip_kit.metrics import agreement, flatten_recall, recall_at_k
from mobileclip_kit.networks.model import load_model
from mobileclip_kit.resources import models_folder
from mobileclip_kit.runtime.encoder import Encoder
from mobileclip_kit.runtime.open import open_encoder
from mobileclip_kit.scenes.folder import SceneSet, write_scenes
from mobileclip_kit.textness.gallery import EncodedGallery, encode_gallery

RECIPES = ("piccollage", "tinyclip", "tinyclip-auto", "lightclip", "mckit")
SIZES = {"1/2": 2, "1/4": 4, "1/8": 8}
FIGURES = (
    "precision_at_1",
    "precision_at_1_of_teacher",
    "map_at_20",
    "recall_at_1_text_to_image",
    "recall_at_5_text_to_image",
)
# Tower of a teacher → its name in the table of students, whose sizes are called NAME-2, NAME-4 and NAME-8.
STUDENTS = {"mckit_conv_x_64": "conv-x", "mckit_conv_l_64": "conv-l"}


@dataclass(frozen=True)
class Run:
    """One student to be trained."""

    recipe: str
    size: str
    seed: int

    @property
    def key(self) -> str:
        """Its name in the results."""
        return f"{self.recipe}/{self.size}/{self.seed}"


def main() -> None:
    """Train and measure what is missing; write the results and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, default=Path("distill_ablation.json"))
    parser.add_argument("--table", type=Path, help="Markdown file for the table")
    parser.add_argument("--teacher", type=Path, default=models_folder() / "scenes-teacher")
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), metavar="R",
                        help="presets or TOML files, or either with @LR behind it")  # fmt: skip
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--steps", type=int, default=2_000)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--lr", type=float, help="one learning rate for all recipes, in place of their own")
    parser.add_argument("--gallery", type=int, default=1_000)
    parser.add_argument("--work", type=Path, help="keep the synthetic scenes and the cache here for the next time")
    arguments = parser.parse_args()
    settings = {name: getattr(arguments, name) for name in ("images", "steps", "batch_size", "lr", "gallery")}
    settings["teacher"] = load_model(arguments.teacher).spec.model_hash
    document = read_json(arguments.out) if arguments.out.is_file() else {}
    if document.get("settings") not in (None, settings):
        parser.error(f"{arguments.out} was made with other settings: {document['settings']}")
    document = {"settings": settings, "machine": describe_machine(), "teacher": document.get("teacher"),
                "runs": document.get("runs", {})}  # fmt: skip
    wanted = [Run(recipe, size, seed) for seed in range(arguments.seeds) for size in arguments.sizes
              for recipe in arguments.recipes]  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="distill-ablation-") as name:
        folder = arguments.work or Path(name)
        missing = [run for run in wanted if is_missing(run, document["runs"])]
        if missing:
            bench = Bench(folder, arguments.teacher, settings)
            document["teacher"] = bench.measure(bench.teacher)
            write_json(arguments.out, document)
        for run in missing:
            print(f"{run.key} …", flush=True)
            document["runs"][run.key] = bench.train_and_measure(run)
            write_json(arguments.out, document)
    # Sizes have a slash of their own: "mckit/1/4/0".
    made = dict.fromkeys(key.rsplit("/", 3)[0] for key in document["runs"])
    lines = table(
        document, [*(name for name in RECIPES if name in made), *(name for name in made if name not in RECIPES)]
    )
    print("\n".join(lines))
    if arguments.table:
        arguments.table.write_text("\n".join(page(document, lines)) + "\n", encoding="utf-8")


def is_missing(run: Run, runs: dict[str, dict[str, Any]]) -> bool:
    """Whether a run is to be made, or made again because its recipe has changed since or it failed."""
    found = runs.get(run.key)
    return found is None or "error" in found or found["recipe_sha256"] != recipe_hash(run.recipe)


def split_rate(name: str) -> tuple[str, float | None]:
    """``tinyclip@1e-3`` → its recipe and its learning rate; None where it is the recipe's own."""
    recipe, _, rate = name.partition("@")
    return recipe, float(rate) if rate else None


def recipe_hash(name: str) -> str:
    """SHA-256 of a recipe's file."""
    name = split_rate(name)[0]
    path = Path(name)
    return sha256_of_file(path if path.is_file() else models_folder() / "recipes" / f"{name}.toml")


class Bench:
    """The worlds, the cache and the teacher that all runs share.

    Args:
        folder: Where worlds and cache are made, or lie already.
        teacher: Its model folder.
        settings: Numbers of images.
    """

    def __init__(self, folder: Path, teacher: Path, settings: dict[str, Any]) -> None:
        self.folder, self.settings, self._teacher_path = folder, settings, teacher
        self.teacher = open_encoder(teacher)
        draw_scenes(folder, settings)
        model = load_model(teacher)
        tower = model.config["model_cfg"]["vision_cfg"].get("timm_model_name")
        if tower not in STUDENTS:
            raise SystemExit(f"There are no students of several sizes for the tower {tower} of {teacher}.")
        self.tower = STUDENTS[tower]
        pairs = list(open_source(folder / "train"))
        self.cache = folder / f"cache-{settings['teacher'][:12]}"
        build_cache(model, pairs, self.cache)
        cache_texts(model, [caption for pair in pairs for caption in pair.captions], self.cache)
        self._galleries: dict[str, EncodedGallery] = {}
        self._teacher_figures = self.measure(self.teacher)

    def train_and_measure(self, run: Run) -> dict[str, Any]:
        """One student's figures, or why there are none."""
        started = time.monotonic()
        model = self.folder / "model"
        try:
            seconds, loss = self._train(run, model)
            figures = self.measure(open_encoder(model))
        except MckitError as error:
            print(f"  {error.message}")
            return {"error": error.message, "recipe_sha256": recipe_hash(run.recipe)}
        share = figures["precision_at_1"] / self._teacher_figures["precision_at_1"]
        return {
            "seconds": seconds,
            "loss": loss,
            "wall_seconds": round(time.monotonic() - started, 1),
            "image_parameters": sum(p.numel() for p in load_model(model).network.visual.parameters()),
            "recipe_sha256": recipe_hash(run.recipe),
            "precision_at_1_of_teacher": share,
            **figures,
        }

    def _train(self, run: Run, model: Path) -> tuple[float, float]:
        recipe = self._recipe(run)
        student = f"{self.tower}-{SIZES[run.size]}"
        train = self.folder / "train"
        if recipe.objective == "pairs":
            made = train_from_pairs(TrainRequest(
                data=train, out=model, recipe=recipe, student=student, text="text-2", trim_vocab=True,
                embedding_dim=self.teacher.spec.embedding_dim, force=True,
            ))  # fmt: skip
            return made.result.seconds, made.result.loss
        live = recipe.stages is not None
        report = distill(DistillRequest(
            data=train, out=model, recipe=recipe, student=None if recipe.stages is not None else student,
            teacher=str(self._teacher_path) if live else None, cache=() if live else self.cache,
            text_from=None if live else str(self._teacher_path), force=True,
        ))  # fmt: skip
        return report.result.seconds, report.result.loss

    def _recipe(self, run: Run) -> Recipe:
        """The recipe at equal steps: stages share them out."""
        settings = self.settings
        name, rate = split_rate(run.recipe)
        recipe = load_recipe(name).with_training(
            steps=settings["steps"], batch_size=settings["batch_size"], lr=rate or settings["lr"], seed=run.seed
        )
        if recipe.stages is None:
            return recipe
        share = 1 / SIZES[run.size]
        shares = (*(kept for kept in (0.75, 0.5, 0.25) if kept > share), share)
        each = settings["steps"] // (2 * len(shares))
        # Gates start far open: in fewer steps they have to move as far as in the recipe's own.
        haste = recipe.stages.mask_steps / each
        stages = replace(recipe.stages, shares=shares, mask_steps=each, mask_warmup_steps=each // 3,
                         gate_lr=recipe.stages.gate_lr * haste,
                         multiplier_lr=recipe.stages.multiplier_lr * haste)  # fmt: skip
        return replace(recipe, stages=stages).with_training(steps=each)

    def measure(self, encoder: Encoder) -> dict[str, float]:
        """Figures on the galleries; the agreement is with the teacher's ranking of the mixed one."""
        mixed, fair = (encode_gallery(self.folder / name, encoder) for name in ("mixed", "fair"))
        if not self._galleries:
            self._galleries["mixed"] = mixed
        rows = {truth.image: row for row, truth in enumerate(mixed.truth)}
        pairs = open_source(self.folder / "mixed")
        captions = [(caption, rows[pair.key]) for pair in pairs for caption in pair.captions]
        texts = encoder.encode_texts([caption for caption, _ in captions])
        recall = recall_at_k(mixed.vectors, texts, [row for _, row in captions])
        agreed = agreement(mixed.vectors, self._galleries["mixed"].vectors)
        return {**evaluate_scenes(encoder, mixed, fair), **flatten_recall(recall), "map_at_20": agreed["map_at_20"]}


def draw_scenes(folder: Path, settings: dict[str, Any]) -> None:
    """A world to train on and the two galleries, of other seeds; those that are there already stay."""
    scene_sets = {
        "train": SceneSet(items=settings["images"], seed=0, size=64, split="train"),
        "mixed": SceneSet(items=settings["gallery"], seed=1, size=64, split="test"),
        "fair": SceneSet(items=settings["gallery"] // 80 * 80 or 80, seed=2, size=64, split="gallery"),
    }
    for name, scenes in scene_sets.items():
        if not (folder / name / "truth.jsonl").is_file():
            (folder / name).mkdir(parents=True, exist_ok=True)
            write_scenes(folder / name, scenes, workers=None, advance=lambda count: None)


def table(document: dict[str, Any], recipes: Sequence[str]) -> list[str]:
    """Markdown: mean ± standard deviation over the seeds, in percent."""
    lines = ["| size | recipe | " + " | ".join(name.replace("_", " ") for name in FIGURES) + " | seeds | s |"]
    lines.append("|---|---|" + "---:|" * (len(FIGURES) + 2))
    for size in SIZES:
        for recipe in recipes:
            found = [value for key, value in document["runs"].items() if key.rsplit("/", 1)[0] == f"{recipe}/{size}"]
            made = [value for value in found if "error" not in value]
            if made:
                cells = [spread([each[name] for each in made]) for name in FIGURES]
                seconds = statistics.mean(each["seconds"] for each in made)
                lines.append(f"| {size} | {title(recipe)} | {' | '.join(cells)} | {len(made)} | {seconds:.0f} |")
            elif found:
                lines.append(f"| {size} | {title(recipe)} | {found[0]['error']} |" + " |" * (len(FIGURES) + 1))
    return lines


def title(recipe: str) -> str:
    """A recipe's name in the table."""
    name, rate = split_rate(recipe)
    return Path(name).stem + (f", lr {rate:g}" if rate else "")


def page(document: dict[str, Any], lines: list[str]) -> list[str]:
    """The Markdown page around the table."""
    settings, teacher = document["settings"], document["teacher"]
    return [
        "# What each recipe of distillation brings",
        "",
        f"`benchmarks/distill_ablation.py`: {settings['steps']} steps of {settings['batch_size']} out of "
        f"{settings['images']} images of the synthetic scenes, students of a half, a quarter and an eighth of the",
        f"teacher's image tower; mean ± standard deviation over the seeds, in percent, on {settings['gallery']}",
        f"unseen images. The teacher itself: right first {100 * teacher['precision_at_1']:.1f}, R@1 "
        f"{100 * teacher['recall_at_1_text_to_image']:.1f}. The last column is training time in seconds: equal",
        "steps are not equal time.",
        "",
        *lines,
    ]


def spread(values: Sequence[float]) -> str:
    """Mean ± standard deviation, in percent."""
    deviation = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.1f}{deviation}"


if __name__ == "__main__":
    main()
