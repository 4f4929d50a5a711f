"""A whole run of training from pairs: images with captions in, model folder out."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mobileclip_kit import __version__
from mobileclip_kit.data.images import identities_of
from mobileclip_kit.data.pair import Pair, Skipped
from mobileclip_kit.data.sources import open_source
from mobileclip_kit.distillation.captions import SYNONYMS, phrases
from mobileclip_kit.distillation.pairs import PairObjective
from mobileclip_kit.distillation.request import TrainRequest
from mobileclip_kit.distillation.run import MEASURED, TrainingReport, TrainingRun
from mobileclip_kit.distillation.student import Student, seen_otherwise
from mobileclip_kit.distillation.tables import PairOptions
from mobileclip_kit.distillation.trainer import Trainer, TrainerSetup, check_input, check_plan
from mobileclip_kit.distillation.training_set import load_files, some_rows
from mobileclip_kit.errors import DataError, ModelError, UsageError
from mobileclip_kit.files import counted, sha256_of_file
from mobileclip_kit.model_names import is_backbone
from mobileclip_kit.networks.backbones import beside, download_backbone, load_backbone, measure_batch_norms
from mobileclip_kit.networks.model import describe, load_model
from mobileclip_kit.networks.students import build_student, pair_config, shared_settings, stated_preprocessing
from mobileclip_kit.spec import MERGES_FILE, ImageSpec, TextSpec
from mobileclip_kit.tokenizer import Tokenizer, standard_merges, trim_merges, write_merges


def train(request: TrainRequest) -> TrainingReport:
    """Train a model with two towers of its own from images and their captions.

    Raises:
        DataError: There are fewer than two usable pairs, or all captions are the same text.
        ModelError: The towers cannot be built, or the model to start from has others.
        OutputError: The output exists or cannot be written.
        TrainingError: The loss is no longer finite, or the checkpoint belongs to another run.
    """
    return PairRun(request).run()


class PairRun(TrainingRun):
    """The state of one training from pairs.

    Attributes:
        options: The recipe's ``[pairs]`` table.
        pairs: Images with their captions.
        start: The model to start from, or None.
        tokenizer: The text tower's.
        student: The model in training.
    """

    def __init__(self, request: TrainRequest) -> None:
        super().__init__(request, request.device)
        self.request = request
        self.options: PairOptions = self.recipe.options

    def run(self) -> TrainingReport:
        """Do everything, or continue where an interrupted run stopped."""
        with self.opened():
            self.read_pairs()
            self.make_model()
            return self.train_and_save()

    def read_pairs(self) -> None:
        """List the images that have captions."""
        data, limit = self.request.data, self.request.limit
        self.pairs: list[Pair] = []
        for pair in open_source(data, self.skipped, split="train"):
            if limit is not None and len(self.pairs) == limit:
                break
            captions = tuple(caption for caption in pair.captions if caption.strip())
            if captions:
                self.pairs.append(replace(pair, captions=captions))
            else:
                self.skipped.append(Skipped(pair.key, "It has no caption."))
        self._check_enough()
        # As the tokenizer reads them: case and white space make no other text.
        if len({" ".join(caption.lower().split()) for pair in self.pairs for caption in pair.captions}) < 2:
            raise DataError(
                f"All {len(self.pairs)} captions of {data} are the same text, {self.pairs[0].captions[0][:80]!r}.",
                hint="Training tells captions apart; give images captions that differ.",
            )

    def _check_enough(self) -> None:
        if (count := len(self.pairs)) < 2:
            raise DataError(
                f"{self.request.data} has {counted(count, 'usable pair')} of image and caption; "
                "training needs at least two.",
                hint="Pass a folder with captions.csv, or a CSV or JSONL file with the columns image and caption.",
            )

    def make_model(self) -> None:
        """Build both towers, with fresh weights or those of another model."""
        options, file = self.options, self.request.init_file
        self.start = start = None if self.request.init is None or file else load_model(self.request.init)
        if start is None:
            self.tokenizer, merges = self._own_tokenizer()
        else:  # its rows of the embedding table mean its own pieces
            self.tokenizer, merges = (
                Tokenizer.for_spec(start.spec.require_text(), start.tokenizer_file),
                start.tokenizer_file,
            )
        config = pair_config(
            options.student,
            text=options.text,
            embedding_dim=options.embedding_dim,
            image_size=options.image_size,
            vocab_size=self.tokenizer.vocab_size if merges else None,
        )
        if file is not None:
            config["preprocess_cfg"] |= beside(file) | stated_preprocessing(options.student)
        if start is not None:
            config["model_cfg"] |= shared_settings(start.config["model_cfg"])
            config["preprocess_cfg"] |= start.config["preprocess_cfg"] | stated_preprocessing(options.student)
        network = build_student(config, seed=self.recipe.training.seed, towers=(options.student, options.text))
        if file is not None:
            load_backbone(network, file)
        elif start is None and is_backbone(options.student):
            download_backbone(network, options.student)
        if start is not None:
            if start.config["model_cfg"] != config["model_cfg"]:
                raise ModelError(
                    f"{start.spec.name} has other towers than this recipe, so training cannot start from it.",
                    hint="Train with the recipe that made it, or leave --init out.",
                )
            network.load_state_dict(start.network.state_dict())
        image = ImageSpec.from_open_clip(config["preprocess_cfg"])
        check_input(network, image, options.student)
        check_plan(self.recipe.training, network)
        self.student = Student(network, config, ("image", "text"), merges, None)
        for sentence in seen_otherwise(start or file, options.student, image):
            self.note(sentence)

    def _own_tokenizer(self) -> tuple[Tokenizer, Path | None]:
        """The text tower's tokenizer, and the file of its merges when the vocabulary is trimmed."""
        options = self.options
        config = pair_config(options.student, text=options.text, embedding_dim=1)["model_cfg"]["text_cfg"]
        text = TextSpec(context_length=config["context_length"])
        if not options.trim_vocab:
            return Tokenizer.for_spec(text), None
        texts = {caption for pair in self.pairs for caption in pair.captions}
        if not options.keeps_captions:
            texts |= {synonym for synonyms in options.synonym_table.values() for synonym in synonyms}
        kept, _ = trim_merges(texts | set(SYNONYMS), Tokenizer(standard_merges()))
        self.folder.mkdir(parents=True, exist_ok=True)
        write_merges(self.folder / MERGES_FILE, kept)
        return Tokenizer(kept, context_length=text.context_length), self.folder / MERGES_FILE

    def train_and_save(self) -> TrainingReport:
        """Train, and write the model folder."""
        network: Any = self.student.network
        spec = describe(self.request.out.name, network, self.student.config)
        image, seed = spec.require_image(), self.recipe.training.seed
        keys = [pair.key for pair in self.pairs]
        rows, images = self.decoded(lambda: load_files(self.pairs, identities_of(keys), image, file=self.decoded_file))
        self.pairs = [self.pairs[row] for row in rows]
        self._check_enough()
        self.fit_batch(len(self.pairs))
        if self.options.phrase_labels and not any(phrases(pair.captions) for pair in self.pairs):
            self.note("No caption has two words, so phrase_labels has no effect.")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            captions = [pair.captions for pair in self.pairs]
            objective = PairObjective(network, captions, self.tokenizer, self.options,
                                      keeps_scale=self.start is not None)  # fmt: skip
        if self.recipe.training.patch_dropout and (objective.tokens or objective.language):
            raise UsageError(
                "patch_dropout leaves out places that token matching and masked language modelling need.",
                hint="Leave it out of the recipe, or tokens and mlm out of its losses.",
            )
        for module in objective.modules().values():
            module.to(self.processes.device)
        some = self.plain_batches(images, some_rows(len(images), MEASURED), image)
        measure_batch_norms(network.eval(), (batch.images for batch in some))
        setup = TrainerSetup(
            plan=self.recipe.training, augmentation=self.recipe.augmentation, image=image, folder=self.folder,
            fingerprint=self.fingerprint(), checkpoint_seconds=self.request.checkpoint_seconds,
        )  # fmt: skip
        result = Trainer(objective, images, setup, self.processes).run(resume=self.request.resume)
        self.skipped += images.skipped
        spec = replace(spec, logit_scale=_logit_scale(network)).with_provenance(
            trained_from="pairs", recipe=self.recipe.name, images=len(self.pairs), torch=torch.__version__,
            mckit=__version__,
        )  # fmt: skip
        metrics = {**result.parts, **result.losses}
        dtype = torch.float16 if self.options.stored == "float16" else torch.float32
        return self.save(self.student, result, metrics, len(self.pairs), spec, dtype=dtype)

    def fingerprint(self) -> dict[str, Any]:
        """What must be equal for an interrupted run to be continued."""
        digest = hashlib.sha256()
        for pair in self.pairs:
            digest.update("\0".join((pair.key, *pair.captions, "")).encode("utf-8", "surrogateescape"))
        file = self.request.init_file
        init = None if self.start is None else self.start.spec.model_hash
        init = sha256_of_file(file) if file is not None else init
        return {"recipe": self.recipe.to_toml(), "data": digest.hexdigest(), "init": init, **self.student.made_as}


def _logit_scale(network: nn.Module) -> float:
    scale: Any = network.logit_scale
    return float(scale.detach().exp())
