"""A whole run of training from pairs: data in, model folder out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mobileclip_kit import __version__
from mobileclip_kit.data.images import MEMORY_BYTES, FileImages, Images, identities_of
from mobileclip_kit.data.pair import Pair, Skipped
from mobileclip_kit.data.sources import open_source
from mobileclip_kit.distillation.captions import SYNONYMS
from mobileclip_kit.distillation.pairs import MOST_LOGIT_SCALE, PairObjective, PairOptions
from mobileclip_kit.distillation.phrases import phrases
from mobileclip_kit.distillation.recipe import Recipe
from mobileclip_kit.distillation.run_folder import finish_run, open_run
from mobileclip_kit.distillation.trainer import Trainer, TrainingResult
from mobileclip_kit.errors import DataError, ModelError
from mobileclip_kit.networks.model import Model, describe, load_model
from mobileclip_kit.networks.students import build_student, pair_config
from mobileclip_kit.spec import MERGES_FILE, ImageSpec, ModelSpec, TextSpec
from mobileclip_kit.tokenizer import Tokenizer, standard_merges, trim_merges, write_merges


@dataclass(frozen=True)
class PairRun:
    """What a run made.

    Attributes:
        spec: The model's.
        result: Steps, seconds, loss.
        images: Trained on.
        skipped: What was left out, with reasons.
        notes: What the user should know.
    """

    spec: ModelSpec
    result: TrainingResult
    images: int
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]


def train_from_pairs(
    data: Path | str,
    model: Path,
    recipe: Recipe,
    *,
    init: str | None = None,
    limit: int | None = None,
    resume: bool = False,
    force: bool = False,
) -> PairRun:
    """Train a model with two towers of its own from images and their captions.

    Args:
        data: A folder or file of pairs, see :func:`mobileclip_kit.data.sources.open_source`.
        model: The model folder to make; the run's files lie in ``MODEL.run`` meanwhile.
        recipe: With the objective ``pairs``.
        init: A model of the same towers whose weights and vocabulary training starts from.
        limit: Take so many pairs only.
        resume: Go on with an interrupted run.
        force: Replace the model, and an interrupted run unless ``resume``.

    Raises:
        DataError: There are fewer than two usable pairs, or all captions are the same text.
        OutputError: See :func:`mobileclip_kit.distillation.run_folder.open_run`.
        TrainingError: The loss is no longer finite, or the checkpoint belongs to another run.
    """
    options: PairOptions = recipe.options
    run = open_run(model, resume=resume, force=force)
    skipped: list[Skipped] = []
    pairs = _captioned(data, skipped, limit)
    notes = []
    run.mkdir(parents=True, exist_ok=True)
    start = None if init is None else load_model(init)
    tokenizer, merges = _tokenizer(options, pairs, run) if start is None else _tokenizer_of(start)
    config = pair_config(
        options.student,
        text=options.text,
        embedding_dim=options.embedding_dim,
        image_size=options.image_size,
        vocab_size=tokenizer.vocab_size if merges else None,
    )
    network = build_student(config, seed=recipe.training.seed)
    if start is not None:
        _take_over(network, config, start)
        options = replace(options, logit_scale=min(max(1.0, start.spec.logit_scale), MOST_LOGIT_SCALE))
    spec = describe(model.name, network, config)
    assert spec.image is not None
    rows, images = _images(pairs, spec.image)
    pairs = [pairs[row] for row in rows]
    _check_enough(pairs, data)
    if len(pairs) < recipe.training.batch_size:
        notes.append(f"{len(pairs)} pairs do not fill a batch of {recipe.training.batch_size}: it has {len(pairs)}.")
        recipe = replace(recipe, training=replace(recipe.training, batch_size=len(pairs)))
    if options.phrase_labels and not any(phrases(pair.captions) for pair in pairs):
        notes.append("No caption has two words, so phrase_labels has no effect.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.seed)
        objective = PairObjective(network, [pair.captions for pair in pairs], tokenizer, options)
    trainer = Trainer(
        objective,
        images,
        recipe.training,
        augmentation=recipe.augmentation,
        image=spec.image,
        folder=run,
        fingerprint={
            "recipe": recipe.to_toml(),
            "data": _fingerprint(pairs),
            "init": None if start is None else start.spec.model_hash,
        },
    )
    result = trainer.run(resume=resume)
    skipped += images.skipped
    spec = _trained(spec, network, recipe, len(pairs))
    training = {"images": len(pairs), "skipped": [asdict(entry) for entry in skipped], **asdict(result)}
    spec = finish_run(
        model, run, network, config, spec, recipe=recipe, training=training, merges=merges, force=force,
        dtype=torch.float16 if options.stored == "float16" else torch.float32,
    )  # fmt: skip
    return PairRun(spec, result, len(pairs), tuple(skipped), tuple(notes))


def _captioned(data: Path | str, skipped: list[Skipped], limit: int | None) -> list[Pair]:
    pairs: list[Pair] = []
    for pair in open_source(data, skipped):
        if limit is not None and len(pairs) == limit:
            break
        captions = tuple(caption for caption in pair.captions if caption.strip())
        if captions:
            pairs.append(replace(pair, captions=captions))
        else:
            skipped.append(Skipped(pair.key, "It has no caption."))
    _check_enough(pairs, data)
    # As the tokenizer reads them: letters' case and white space make no other text.
    if len({" ".join(caption.lower().split()) for pair in pairs for caption in pair.captions}) < 2:
        raise DataError(
            f"All {len(pairs)} captions of {data} are the same text, {pairs[0].captions[0][:80]!r}.",
            hint="Training tells captions apart; give images captions that differ.",
        )
    return pairs


def _check_enough(pairs: Sequence[Pair], data: Path | str) -> None:
    if len(pairs) < 2:
        raise DataError(
            f"{data} has {len(pairs)} usable pair{'' if len(pairs) == 1 else 's'} of image and caption; "
            "training needs at least two.",
            hint="Pass a folder with captions.csv, or a CSV or JSONL file with the columns image and caption.",
        )


def _tokenizer(options: PairOptions, pairs: Sequence[Pair], run: Path) -> tuple[Tokenizer, Path | None]:
    """The text tower's tokenizer, and the trimmed merges if there are any."""
    config = pair_config(options.student, text=options.text, embedding_dim=1)["model_cfg"]["text_cfg"]
    text = TextSpec(context_length=config["context_length"])
    if not options.trim_vocab:
        return Tokenizer.for_spec(text), None
    texts = {caption for pair in pairs for caption in pair.captions}
    if not options.text_augmentation.changes_nothing:
        texts |= {synonym for synonyms in options.text_augmentation.table.values() for synonym in synonyms}
    kept, _ = trim_merges(texts | set(SYNONYMS), Tokenizer(standard_merges()))
    write_merges(run / MERGES_FILE, kept)
    return Tokenizer(kept, context_length=text.context_length), run / MERGES_FILE


def _tokenizer_of(model: Model) -> tuple[Tokenizer, Path | None]:
    """The tokenizer that a model was trained with: its rows of the embedding table mean those pieces."""
    return Tokenizer.for_spec(model.spec.require_text(), model.merges), model.merges


def _take_over(network: nn.Module, config: Mapping[str, Any], start: Model) -> None:
    if start.config["model_cfg"] != config["model_cfg"]:
        raise ModelError(
            f"{start.spec.name} has other towers than this recipe, so training cannot start from it.",
            hint="Train with the recipe that made it, or leave --init out.",
        )
    network.load_state_dict(start.network.state_dict())


def _images(pairs: Sequence[Pair], image: ImageSpec) -> tuple[Sequence[int], Images]:
    """The training set, held in memory when it fits, and which pairs it has."""
    keys = [pair.key for pair in pairs]
    files = FileImages([pair.image for pair in pairs], keys, identities_of(keys), image)
    if len(pairs) * image.height * image.width * 3 > MEMORY_BYTES:
        return range(len(pairs)), files
    rows, images = files.in_memory()
    return [int(row) for row in rows], images


def _trained(spec: ModelSpec, network: nn.Module, recipe: Recipe, images: int) -> ModelSpec:
    scale: Any = network.logit_scale
    return replace(spec, logit_scale=float(scale.detach().exp())).with_provenance(
        trained_from="pairs", recipe=recipe.name, images=images, torch=torch.__version__, mckit=__version__
    )


def _fingerprint(pairs: Sequence[Pair]) -> str:
    digest = hashlib.sha256()
    for pair in pairs:
        digest.update("\0".join((pair.key, *pair.captions, "")).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
