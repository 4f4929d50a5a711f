"""What parts of a recipe bring: the recipes of distillation by the size of the student, and LightCLIP's losses.

    python benchmarks/ablation.py recipes -o distill_ablation.json --table docs/distill-ablation.md
    python benchmarks/ablation.py losses -o lightclip_ablation.json --table docs/lightclip-ablation.md

All runs of a study have equal steps, images and batches on the synthetic scenes, with several seeds, and are measured
on two galleries that they have not seen: images of everything, and one with as many images of words as of things. Runs
that are in the output already are kept, so that a study can be interrupted and run again.

``recipes``: every recipe trains students of a half, a quarter and an eighth of the bundled teacher's image tower.
Learning rates are the recipe's own unless --lr says otherwise; RECIPE@LR is a recipe with another one, so that none
loses for having been meant for longer training. RECIPE@TABLE.KEY=VALUE@… changes values of a recipe (as in TOML; no
value removes the key), and `student="NAME"` its student. Measured are precision@1 (also as a share of the teacher's),
recall of captions, and MAP@20 with the teacher's ranking. `lightclip` has no teacher: it trains both towers from the
same pairs. `tinyclip-auto` cuts both towers of the teacher down to the share that the size names. --student names
another student than that of the size, --work keeps the scenes and the cache. The quickstart's student at a quarter of
the teacher:

    python benchmarks/ablation.py recipes --recipes quickstart --sizes 1/4 --student conv-x-4r --steps 800 \
        --batch-size 64 -o results/quarter.json

What its parts bring is the same command with ``--recipes quickstart 'quickstart@inherit="heaviest"' …`` and
``-o results/quarter_changes.json``, where the runs' names are these changes.

``losses``: five mixtures of LightCLIP's losses (InfoNCE alone; + (a) softened alignment; + (a) and (b) token matching;
+ (a) and (c) masked language; all) and two image encoders. The scenes have a dozen kinds of things (--kinds), so that a
few minutes' training ends where mixtures can differ: neither at chance nor at the top. With a text tower of four layers
or more each stage has its own.
"""

from __future__ import annotations

import re
import statistics
import sys
import tempfile
import time
import tomllib
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness import mean_and_deviation, page, parse, table, write

from mobileclip_kit.bench.evaluators import evaluate_scenes
from mobileclip_kit.bench.machine import describe_machine
from mobileclip_kit.cache.build import build_cache
from mobileclip_kit.cache.texts import cache_texts
from mobileclip_kit.data.sources import open_source
from mobileclip_kit.distillation.from_pairs import train
from mobileclip_kit.distillation.recipe import Recipe, recipe_from
from mobileclip_kit.distillation.request import DistillRequest, TrainRequest
from mobileclip_kit.distillation.run import distill
from mobileclip_kit.distillation.tables import LightClipLoss, PairOptions, TrainingPlan
from mobileclip_kit.errors import MckitError
from mobileclip_kit.files import read_json, sha256_of_file
from mobileclip_kit.formats import read_toml
from mobileclip_kit.metrics import agreement, flatten_recall, recall_at_k
from mobileclip_kit.networks.model import load_model
from mobileclip_kit.resources import models_folder, preset_file
from mobileclip_kit.runtime.encoder import Encoder
from mobileclip_kit.runtime.open import open_encoder
from mobileclip_kit.scenes.folder import SceneSet, write_scenes
from mobileclip_kit.scenes.objects import KINDS
from mobileclip_kit.scenes.plan import SceneConfig
from mobileclip_kit.textness.gallery import EncodedGallery, encode_gallery

RECIPES = ("piccollage", "tinyclip", "tinyclip-auto", "lightclip", "mckit")
SIZES = {"1/2": 2, "1/4": 4, "1/8": 8}
# Tower of a teacher → its name in the table of students, whose sizes are called NAME-2, NAME-4 and NAME-8.
STUDENTS = {"mckit_conv_x_64": "conv-x", "mckit_conv_l_64": "conv-l"}
RECIPE_FIGURES = (
    "precision_at_1",
    "precision_at_1_of_teacher",
    "map_at_20",
    "recall_at_1_text_to_image",
    "recall_at_5_text_to_image",
)
# Name in the table → which losses are on.
MIXTURES: dict[str, tuple[LightClipLoss, ...]] = {
    "InfoNCE": (),
    "+ (a)": ("align",),
    "+ (a) (b)": ("align", "tokens"),
    "+ (a) (c)": ("align", "mlm"),
    "all": ("align", "tokens", "mlm"),
}
LOSS_FIGURES = (
    "precision_at_1",
    "precision_at_1_unseen",
    "reading_precision_at_1",
    "count_precision_at_1",
    "relation_precision_at_1",
)


@dataclass(frozen=True)
class Run:
    """One model to be trained: of a recipe and a size, or of an encoder and a mixture of losses."""

    first: str
    second: str
    seed: int

    @property
    def key(self) -> str:
        """Its name in the results."""
        return f"{self.first}/{self.second}/{self.seed}"


def main() -> None:
    """Run the study that the first argument names."""
    studies = {"recipes": compare_recipes, "losses": compare_losses}
    if len(sys.argv) > 1 and sys.argv[1] in studies:
        studies[sys.argv.pop(1)]()
    else:
        parse("study*", choices={"study": list(studies)})
        raise SystemExit(f"Name a study: {' or '.join(studies)}.")


def compare_recipes() -> None:
    """Train and measure what is missing; write the results and the table."""
    chosen = parse(
        out=Path("distill_ablation.json"), table=None, teacher=models_folder() / "scenes-teacher", recipes=RECIPES,
        sizes=tuple(SIZES), seeds=3, images=20_000, steps=2_000, batch_size=128, lr=0.0, gallery=1_000, student="",
        work=None, choices={"sizes": list(SIZES)},
    )  # fmt: skip
    settings = {name: getattr(chosen, name) for name in ("images", "steps", "batch_size", "lr", "gallery")}
    settings |= {"lr": chosen.lr or None, "teacher": load_model(chosen.teacher).spec.model_hash}
    settings |= {"student": chosen.student} if chosen.student else {}
    runs = [Run(recipe, size, seed) for seed in range(chosen.seeds) for size in chosen.sizes
            for recipe in chosen.recipes]  # fmt: skip

    def begin(folder: Path, document: dict[str, Any]) -> Callable[[Run], dict[str, Any]]:
        bench = Bench(chosen.work or folder, chosen.teacher, settings)
        document["teacher"] = bench.measure(bench.teacher)
        return bench.train_and_measure

    document = walk(chosen, settings, runs, recipe_is_missing, begin, {"teacher": None})
    # Sizes have a slash of their own: "mckit/1/4/0".
    made = dict.fromkeys(key.rsplit("/", 3)[0] for key in document["runs"])
    ordered = [*(name for name in RECIPES if name in made), *(name for name in made if name not in RECIPES)]
    teacher = {name: 100 * document["teacher"][f"{name}{way}"]
               for name, way in (("precision_at_1", ""), ("recall_at_1", "_text_to_image"))}  # fmt: skip
    lines = recipe_table(document["runs"], ordered)
    finish(chosen, page("ablation-recipes", lines, settings=settings, **teacher))


def compare_losses() -> None:
    """Train and measure what is missing; write the results and the table."""
    chosen = parse(
        out=Path("lightclip_ablation.json"), table=None, encoders=("conv-m", "hybrid-s"), text="text-4-128", seeds=3,
        images=20_000, steps=300, batch_size=96, lr=3e-3, gallery=1_000, kinds=12,
    )  # fmt: skip
    settings = {name: getattr(chosen, name)
                for name in ("text", "images", "steps", "batch_size", "lr", "gallery", "kinds")}  # fmt: skip
    runs = [Run(encoder, mixture, seed) for seed in range(chosen.seeds) for encoder in chosen.encoders
            for mixture in MIXTURES]  # fmt: skip

    def begin(folder: Path, _: dict[str, Any]) -> Callable[[Run], dict[str, Any]]:
        draw_scenes(folder, settings, SceneConfig(kinds=tuple(KINDS)[: settings["kinds"]]))
        return lambda run: train_mixture(run, settings, folder)

    document = walk(chosen, settings, runs, lambda run, found: run.key not in found, begin, {})
    lines = loss_table(document["runs"], chosen.encoders)
    finish(chosen, page("ablation-losses", lines, settings=settings))


def walk(
    chosen: Namespace,
    settings: dict[str, Any],
    runs: Sequence[Run],
    is_missing: Callable[[Run, Mapping[str, Any]], bool],
    begin: Callable[[Path, dict[str, Any]], Callable[[Run], dict[str, Any]]],
    more: dict[str, Any],
) -> dict[str, Any]:
    """Make the runs that the output does not have yet; it is written after each of them."""
    found = read_json(chosen.out) if chosen.out.is_file() else {}
    if found.get("settings") not in (None, settings):
        raise SystemExit(f"{chosen.out} was made with other settings: {found['settings']}")
    document = {"settings": settings, "machine": describe_machine(), **more, "runs": {}}
    document |= {name: found[name] for name in (*more, "runs") if name in found}
    missing = [run for run in runs if is_missing(run, document["runs"])]
    with tempfile.TemporaryDirectory(prefix="ablation-") as folder:
        make = begin(Path(folder), document) if missing else None
        for run in missing:
            assert make is not None
            print(f"{run.key} …", flush=True)
            document["runs"][run.key] = make(run)
            document["rows"] = rows_of(document["runs"])
            write(chosen.out, document)
    return document


def finish(chosen: Namespace, text: str) -> None:
    """Print the page, and write it where --table says."""
    print(text)
    if chosen.table:
        chosen.table.write_text(text, encoding="utf-8")


def recipe_is_missing(run: Run, runs: Mapping[str, Any]) -> bool:
    """Whether a run is to be made, or made again because its recipe has changed since or it failed."""
    found = runs.get(run.key)
    return found is None or "error" in found or found["recipe_sha256"] != recipe_hash(run.first)


def split_changes(name: str) -> tuple[str, dict[str, Any]]:
    """``tinyclip@1e-3@mixture.affinity=2`` → its recipe, and what is changed; None removes a key."""
    recipe, *changes = name.split("@")
    found: dict[str, Any] = {}
    for change in changes:
        key, _, value = change.rpartition("=") if "=" in change else ("training.lr", "", change)
        found[key] = tomllib.loads(f"value = {value}")["value"] if value else None
    return recipe, found


def recipe_file(name: str) -> Path:
    """The file of the recipe that is changed."""
    return preset_file("recipe", split_changes(name)[0])


def recipe_hash(name: str) -> str:
    """SHA-256 of a recipe's file."""
    return sha256_of_file(recipe_file(name))


def changed_recipe(name: str, settings: Mapping[str, Any], seed: int) -> Recipe:
    """The recipe with the study's steps and batches, and then with its own changes."""
    document = read_toml(recipe_file(name))
    training = document.setdefault("training", {})
    training |= {"steps": settings["steps"], "batch_size": settings["batch_size"], "seed": seed}
    if settings["lr"]:
        training["lr"] = settings["lr"]
    for key, value in split_changes(name)[1].items():
        *tables, last = key.split(".")
        place = document.setdefault(tables[0], {}) if tables else document
        if value is None:
            place.pop(last, None)
        elif key != "student":
            place[last] = value
    return recipe_from(document, source=name)


class Bench:
    """The scenes, the cache and the teacher that all runs share.

    Args:
        folder: Where scenes and cache are made, or lie already.
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
            return {"error": error.message, "recipe_sha256": recipe_hash(run.first)}
        share = figures["precision_at_1"] / self._teacher_figures["precision_at_1"]
        return {
            "seconds": seconds,
            "loss": loss,
            "wall_seconds": round(time.monotonic() - started, 1),
            "image_parameters": sum(p.numel() for p in load_model(model).network.visual.parameters()),
            "recipe_sha256": recipe_hash(run.first),
            "precision_at_1_of_teacher": share,
            **figures,
        }

    def _train(self, run: Run, model: Path) -> tuple[float, float | None]:
        recipe = self._recipe(run)
        student = self.settings.get("student", f"{self.tower}-{SIZES[run.second]}")
        student = split_changes(run.first)[1].get("student", student)
        data = self.folder / "train"
        if recipe.objective == "pairs":
            made = train(TrainRequest(
                data=data, out=model, recipe=recipe, student=student, text="text-2", trim_vocab=True,
                embedding_dim=self.teacher.spec.embedding_dim, force=True,
            ))  # fmt: skip
            return made.result.seconds, made.result.loss
        live = recipe.stages is not None
        report = distill(DistillRequest(
            data=data, out=model, recipe=recipe, student=None if recipe.stages is not None else student,
            teacher=str(self._teacher_path) if live else None, cache=() if live else (self.cache,),
            text_from=None if live else str(self._teacher_path), force=True,
        ))  # fmt: skip
        return report.result.seconds, report.result.loss

    def _recipe(self, run: Run) -> Recipe:
        """The recipe at equal steps: stages share them out."""
        settings = self.settings
        recipe = changed_recipe(run.first, settings, run.seed)
        if recipe.stages is None:
            return recipe
        share = 1 / SIZES[run.second]
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


def train_mixture(run: Run, settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The figures of one model of a mixture of losses."""
    plan = TrainingPlan(
        steps=settings["steps"], batch_size=settings["batch_size"], optimizer="muon", lr=settings["lr"], seed=run.seed
    )
    options = PairOptions(student=run.first, text=settings["text"], embedding_dim=128, trim_vocab=True)
    options = replace(options, losses=MIXTURES[run.second])
    recipe = Recipe(name=run.key, objective="pairs", training=plan, options=options)
    made = train(TrainRequest(data=folder / "train", out=folder / "model", recipe=recipe, force=True))
    encoder = open_encoder(folder / "model")
    galleries = (encode_gallery(folder / name, encoder) for name in ("mixed", "fair"))
    return {"seconds": made.result.seconds, "loss": made.result.loss, **evaluate_scenes(encoder, *galleries)}


def draw_scenes(folder: Path, settings: dict[str, Any], config: SceneConfig | None = None) -> None:
    """Scenes to train on and the two galleries, of other seeds; those that are there already stay."""
    drawn = {"size": 64, "config": config or SceneConfig()}
    scene_sets = {
        "train": SceneSet(items=settings["images"], seed=0, split="train", **drawn),
        "mixed": SceneSet(items=settings["gallery"], seed=1, split="test", **drawn),
        "fair": SceneSet(items=settings["gallery"] // 80 * 80 or 80, seed=2, split="gallery", **drawn),
    }
    for name, scenes in scene_sets.items():
        if not (folder / name / "truth.jsonl").is_file():
            (folder / name).mkdir(parents=True, exist_ok=True)
            write_scenes(folder / name, scenes, workers=None, advance=lambda count: None)


def recipe_table(runs: Mapping[str, Any], recipes: Sequence[str]) -> list[str]:
    """Mean ± standard deviation over the seeds, in percent."""
    rows = []
    for size in SIZES:
        for recipe in recipes:
            found = runs_of(runs, recipe, size)
            made = [value for value in found if "error" not in value]
            if made:
                rows.append([size, title(recipe), *cells(made, RECIPE_FIGURES), len(made), mean_seconds(made)])
            elif found:
                rows.append([size, title(recipe), found[0]["error"], *[""] * (len(RECIPE_FIGURES) + 1)])
    return table(["size", "recipe", *headings(RECIPE_FIGURES), "seeds", "s"], rows, texts=2)


def loss_table(runs: Mapping[str, Any], encoders: Sequence[str]) -> list[str]:
    """Mean ± standard deviation over the seeds, in percent."""
    rows = [[encoder, mixture, *cells(found, LOSS_FIGURES), mean_seconds(found)]
            for encoder in encoders for mixture in MIXTURES if (found := runs_of(runs, encoder, mixture))]  # fmt: skip
    return table(["encoder", "losses", *headings(LOSS_FIGURES), "s"], rows, texts=2)


def rows_of(runs: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Mean and standard deviation of each figure over the seeds, for each recipe and size, or encoder and mixture."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for key, run in runs.items():
        if "error" not in run:
            first, _, rest = key.rsplit("/", 1)[0].partition("/")
            found.setdefault(f"{title(first)}/{rest}", []).append(run)
    rows = []
    for name, made in found.items():
        row: dict[str, Any] = {"run": name, "seeds": len(made)}
        for figure in (figure for figure, value in made[0].items() if isinstance(value, float)):
            values = [run[figure] for run in made]
            spread = statistics.stdev(values) if len(values) > 1 else None
            row[figure] = {"mean": statistics.mean(values), "deviation": spread}
        rows.append(row)
    return rows


def runs_of(runs: Mapping[str, Any], first: str, second: str) -> list[dict[str, Any]]:
    """The runs of all seeds."""
    return [value for key, value in runs.items() if key.rsplit("/", 1)[0] == f"{first}/{second}"]


def headings(figures: Sequence[str]) -> list[str]:
    """Names of figures for people."""
    return [re.sub(r" at (\d+)", r"@\1", name.replace("_", " ")) for name in figures]


def cells(runs: Sequence[Mapping[str, Any]], figures: Sequence[str]) -> list[str]:
    """Each figure over the runs that have it."""
    return [mean_and_deviation([run[name] for run in runs if name in run]) for name in figures]


def mean_seconds(runs: Sequence[Mapping[str, Any]]) -> str:
    """Training time."""
    return f"{statistics.mean(run['seconds'] for run in runs):.0f}"


def title(recipe: str) -> str:
    """A recipe's name in the table."""
    name, changes = split_changes(recipe)
    words = (f"{key.rpartition('.')[2]} {'none' if value in (None, []) else value}" for key, value in changes.items())
    return ", ".join((Path(name).stem, *words))


if __name__ == "__main__":
    main()
