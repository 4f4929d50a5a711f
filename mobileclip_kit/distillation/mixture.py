"""Distillation's objective: the weighted sum of the losses of the recipe's ``[mixture]`` table.

The student's vectors are in the first teacher's space: a tower that is not trained is that teacher's own, and its
vectors are constants, looked up rather than computed. The arguments of the losses are attributes of
:class:`MixtureInputs`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from mobileclip_kit.data.images import Rows
from mobileclip_kit.distillation.captions import RunTexts, Which, sample
from mobileclip_kit.distillation.objective import (
    Batch,
    Encoded,
    LossAndLog,
    StepContext,
    VectorObjective,
    compute_term,
)
from mobileclip_kit.distillation.tables import AFFINITIES, MAX_LOGIT_SCALE, MixtureOptions
from mobileclip_kit.distillation.teachers import TeacherTargets, resized
from mobileclip_kit.errors import UsageError
from mobileclip_kit.losses.affinity import Affinities, affinity_logits, teacher_affinities
from mobileclip_kit.losses.alignment import Phase, phase_at
from mobileclip_kit.networks.families import encode_raw, encode_text_raw, image_tower, memory_format_of
from mobileclip_kit.spec import ImageSpec, tower_of


class MixtureObjective(VectorObjective):
    """The weighted sum of a recipe's losses.

    Args:
        network: The student, an open_clip model.
        options: The weights.
        teachers: One or more; the student shares the first one's space.
        images: Of the training set.
        texts: The run's texts, or None when no loss needs any.
        towers: Which of ``image`` and ``text`` are trained.
        tokens: Identifiers of the run's texts for the student's text tower, ``(texts, context)``; None when it is not
            trained.
        image: The student's preprocessing, where batches may have images of another size; None takes them as they are.

    Raises:
        UsageError: A loss needs something that is not there.
    """

    def __init__(
        self,
        network: Any,
        options: MixtureOptions,
        teachers: Sequence[TeacherTargets],
        *,
        images: int,
        texts: RunTexts | None = None,
        towers: Sequence[str] = ("image",),
        tokens: Tensor | None = None,
        image: ImageSpec | None = None,
    ) -> None:
        self._image = image
        self.network, self.options, self.teachers, self._tokens = network, options, tuple(teachers), tokens
        self.every_row = np.arange(images, dtype=np.int64)
        self.texts = texts or RunTexts((), (), np.zeros(0, np.int64))
        self.trains_images, self.trains_texts = "image" in towers, "text" in towers
        if self.trains_images:
            image_tower(network).to(memory_format=memory_format_of(network))
        check_inputs(options, towers, self.texts, stored=teachers[0].lookup is not None)
        if options.sigmoid_affinity and any(teacher.logit_bias is None for teacher in teachers):
            raise UsageError(
                "sigmoid_affinity needs a teacher with a logit bias, such as SigLIP, and this one has none.",
                hint="Use affinity instead; a cache made by an older mckit must be made anew.",
            )
        captioned, banked = self.texts.caption_everywhere, len(self.texts.bank) > 0
        affinity = bool(options.using(*AFFINITIES))
        self.on_bank = banked and (affinity or not captioned)
        self.on_captions = captioned and (self.trains_texts or _compares_captions(options, banked=banked))
        # Which of an image's captions a step sees.
        both = options.both_captions and self.on_captions
        self.captions: tuple[Which, ...] = ("first", "others") if both else ("any",)
        self._learns_scale = learned = options.learn_scale and options.needs_texts
        self._most_log_scale = max(math.log(MAX_LOGIT_SCALE), float(network.logit_scale.detach()))
        for name, parameter in network.named_parameters():
            if name.startswith("logit_"):
                parameter.requires_grad_(learned and name == "logit_scale")
            else:
                parameter.requires_grad_(self.trains_images if tower_of(name) == "image" else self.trains_texts)

    def modules(self) -> Mapping[str, nn.Module]:
        """The network, whose towers are trained or frozen."""
        return {"network": self.network}

    def encode(self, batch: Batch) -> Encoded:
        """Student's and teachers' vectors of a batch's images, and the student's of their captions."""
        images = batch.images if self._image is None else resized(batch.images, self._image)
        trained = {"image": encode_raw(self.network, images)} if self.trains_images else {}
        if self.trains_texts and self.on_captions:
            for which in self.captions:
                trained[f"caption {which}"] = self._encode_texts(self.caption_rows(batch.rows, batch.context, which))
        constant = {
            str(number): teacher.images(batch)
            for number, teacher in enumerate(self.teachers)
            if teacher.images is not None
        }
        return Encoded(trained, constant)

    def shared(self, context: StepContext) -> dict[str, Tensor]:
        """The student's vectors of the bank's texts, if it has a text tower to train."""
        if not (self.trains_texts and self.on_bank):
            return {}
        return {"bank": self._encode_texts(self.bank_rows(context))}

    def compare(self, encoded: Encoded, shared: Mapping[str, Tensor], rows: Rows, context: StepContext) -> LossAndLog:
        """The weighted sum; the log gets each loss alone, and the cosine of each trained tower to its teacher."""
        if self._learns_scale:
            with torch.no_grad():
                self.network.logit_scale.clamp_(max=self._most_log_scale)
        log, parts = dict[str, float](), list[Tensor]()
        with torch.autocast(self.network.logit_scale.device.type, enabled=False):
            count = len(self.captions)
            inputs = [
                MixtureInputs(self, encoded, shared, rows, context, tower, which)
                for tower, trained in (("image", self.trains_images), ("text", self.trains_texts))
                if trained
                for which in self.captions
            ]
            for each in inputs[::count]:
                name = "cosine" if each.tower == "image" else "cosine_text"
                log[name] = float(F.cosine_similarity(each.student.detach(), each.teacher).mean())
            for name, weight, term in self.options.weighted():
                # A loss of a tower's vectors counts for each tower that is trained.
                for each in inputs if term.per_tower else inputs[:count]:
                    value = compute_term(term, each, self.options) / count
                    parts.append(weight * value)
                    log[f"loss_{name}"] = log.get(f"loss_{name}", 0.0) + float(value.detach())
        if self.options.needs_texts:
            log["logit_scale"] = float(self.network.logit_scale.detach().exp())
        return torch.stack(parts).sum(), log

    def caption_rows(self, rows: Rows, context: StepContext, which: Which) -> Rows:
        """The caption that each image has in this epoch, as places in the run's texts."""
        return self.texts.caption_rows(rows, seed=context.seed, epoch=context.epoch, which=which)

    def bank_rows(self, context: StepContext) -> Rows:
        """The bank's texts in this step, as places in the run's texts."""
        return sample(self.texts.bank, self.options.bank_sample, seed=context.seed, step=context.step)

    def teacher_texts(self, teacher: int, places: Rows) -> Tensor:
        """A teacher's raw vectors of some of the run's texts."""
        stored = self.teachers[teacher].texts
        assert stored is not None
        return stored[torch.from_numpy(places)].to(self.network.logit_scale.device)

    def _encode_texts(self, places: Rows) -> Tensor:
        assert self._tokens is not None
        return encode_text_raw(self.network, self._tokens[torch.from_numpy(places)].to(self.network.logit_scale.device))


class MixtureInputs:
    """The possible arguments of a loss, by name; each is computed when a loss asks for it. Vectors are raw.

    Args:
        objective: Whose step it is.
        encoded: Of the whole batch.
        shared: From :meth:`MixtureObjective.shared`.
        rows: The images' places in the training set, ``(n,)``.
        context: The step's place in the run.
        tower: The trained tower whose vectors ``student`` and ``teacher`` are.
        which: Which of the images' captions are compared.
    """

    def __init__(self, objective: MixtureObjective, encoded: Encoded, shared: Mapping[str, Tensor], rows: Rows,
                 context: StepContext, tower: str, which: Which = "any") -> None:  # fmt: skip
        self._which: Which = which
        self._objective, self._encoded, self._shared, self._rows = objective, encoded, shared, rows
        self._context, self._options, self.tower = context, objective.options, tower

    @property
    def student(self) -> Tensor:
        """The student's vectors of the tower: of images, or of captions (the bank's texts where there are none)."""
        return self.image if self.tower == "image" else self._text_vectors[0]

    @property
    def teacher(self) -> Tensor:
        """The first teacher's vectors of the same, ``(n, d)``."""
        return self.teacher_image if self.tower == "image" else self._text_vectors[1]

    @property
    def temperature(self) -> float:
        """The temperature in this epoch."""
        return self._options.temperature(self._context.epoch)

    @property
    def image(self) -> Tensor:
        """The student's vectors of the images, ``(n, d)``; the first teacher's when the tower is not trained."""
        return self._encoded.trained.get("image", self._encoded.constant.get("0"))  # type: ignore[return-value]

    @property
    def teacher_image(self) -> Tensor:
        """The first teacher's vectors of the images, ``(n, d)``."""
        return self._encoded.constant["0"]

    @property
    def caption(self) -> Tensor:
        """The student's vectors of the images' captions, ``(n, d)``; the first teacher's when not trained."""
        trained = self._encoded.trained.get(f"caption {self._which}")
        return self._objective.teacher_texts(0, self._caption_rows) if trained is None else trained

    @property
    def logit_scale(self) -> Tensor:
        """The student's factor on cosines."""
        scale: Tensor = self._objective.network.logit_scale.exp()
        return scale

    @property
    def phase(self) -> Phase:
        """Which labels a contrastive loss has."""
        if not self._options.softened:
            return "one-hot"
        done = self._context.step / self._context.steps
        return phase_at(done, first_share=self._options.smoothing_from, second_share=self._options.weighting_from)

    @property
    def affinity_logits(self) -> Tensor:
        """The student's scaled cosines of images and the bank's texts or, without a bank, the captions."""
        return self._logits(self._options.affinity_scale or self.logit_scale)

    def _logits(self, scale: Tensor | float) -> Tensor:
        text = self._shared["bank"] if "bank" in self._shared else None
        if not self._objective.on_bank:
            text = self.caption
        elif text is None:
            text = self._objective.teacher_texts(0, self._compared_rows)
        return affinity_logits(self.image, text, scale)

    @property
    def teacher_affinities(self) -> Affinities:
        """The mean of all teachers' affinities between the same images and texts."""
        return teacher_affinities([
            (self._encoded.constant[str(number)], self._objective.teacher_texts(number, self._compared_rows), scale)
            for number, scale in enumerate(self._teacher_scales)
        ])  # fmt: skip

    @property
    def _teacher_scales(self) -> tuple[float, ...]:
        """The factors on the teachers' cosines in their affinities."""
        own = tuple(teacher.logit_scale for teacher in self._objective.teachers)
        fixed = self._options.affinity_scale
        return self._options.teacher_scales or (own if fixed is None else (fixed,) * len(own))

    @property
    def sigmoid_logits(self) -> Tensor:
        """:attr:`affinity_logits` plus the bias: the student's, or the first teacher's where it has none."""
        objective = self._objective
        own: Tensor | None = getattr(objective.network, "logit_bias", None)
        bias = objective.teachers[0].logit_bias if own is None else own
        assert bias is not None
        return self._logits(self.logit_scale) + bias

    @property
    def teacher_probabilities(self) -> Tensor:
        """How probable the teachers find each pair of the same images and texts, ``(images, texts)``."""
        objective, found = self._objective, list[Tensor]()
        for number, teacher in enumerate(objective.teachers):
            assert teacher.logit_bias is not None
            texts = objective.teacher_texts(number, self._compared_rows)
            logits = affinity_logits(self._encoded.constant[str(number)], texts, teacher.logit_scale)
            found.append((logits + teacher.logit_bias).sigmoid())
        return torch.stack(found).mean(dim=0)

    @property
    def others(self) -> Tensor:
        """The first teacher's vectors of the images to choose neighbours among, ``(m, d)``."""
        lookup = self._objective.teachers[0].lookup
        if not self._options.neighbours_bank or lookup is None:
            return self.teacher_image
        return lookup(self._other_rows, self._context.epoch).to(self.image.device)

    @property
    def same(self) -> Tensor:
        """``(n, m)`` bool: where the other image is the image itself."""
        return torch.from_numpy(self._rows[:, None] == self._other_rows[None, :]).to(self.image.device)

    @cached_property
    def _other_rows(self) -> Rows:
        if not self._options.neighbours_bank:
            return self._rows
        every, most = self._objective.every_row, self._options.neighbours_bank
        return sample(every, most, seed=self._context.seed, step=self._context.step)

    @cached_property
    def _compared_rows(self) -> Rows:
        """Places of the texts that images are compared with."""
        if self._objective.on_bank:
            return self._objective.bank_rows(self._context)
        return self._caption_rows

    @cached_property
    def _caption_rows(self) -> Rows:
        return self._objective.caption_rows(self._rows, self._context, self._which)

    @cached_property
    def _text_vectors(self) -> tuple[Tensor, Tensor]:
        """The student's and the first teacher's vectors of captions, or of the bank's texts where there are none."""
        if self._objective.on_captions:
            return self.caption, self._objective.teacher_texts(0, self._caption_rows)
        return self._shared["bank"], self._objective.teacher_texts(0, self._objective.bank_rows(self._context))


def _compares_captions(options: MixtureOptions, *, banked: bool) -> bool:
    """Whether losses of images compare them with captions, not with a bank's texts alone."""
    return options.needs_captions or (bool(options.using(*AFFINITIES)) and not banked)


def check_inputs(options: MixtureOptions, towers: Sequence[str], texts: RunTexts, *, stored: bool) -> None:
    """Refuse losses that lack what they need.

    Args:
        options: The weights.
        towers: Which are trained.
        texts: The run's.
        stored: Whether the first teacher's vectors can be looked up.

    Raises:
        UsageError: Names what is missing.
    """
    if (names := options.using("others", "same")) and "image" not in towers:
        raise UsageError(f"{names[0]} compares images, but the image tower is not trained.")
    if names and options.neighbours_bank and not stored:
        raise UsageError(
            "neighbours_bank needs stored vectors, but the teacher answers live.",
            hint="Make a cache with `mckit cache --views`, or set neighbours_bank = 0.",
        )
    banked = len(texts.bank) > 0
    on_captions = _compares_captions(options, banked=banked) or ("text" in towers and options.using("student"))
    if options.both_captions and not on_captions:
        raise UsageError(
            "both_captions has no effect: "
            + ("with a --bank, " if banked else "")
            + "no loss of this recipe sees captions.",
            hint="Set both_captions = false" + (", or leave --bank out." if banked else "."),
        )
    if options.both_captions and not texts.caption_everywhere:
        raise UsageError("both_captions needs captions of every image.")
    if (names := options.using("caption")) and not texts.caption_everywhere:
        raise UsageError(f"{names[0]} needs a caption of every image.")
    if (options.needs_texts or "text" in towers) and not (texts.caption_everywhere or len(texts.bank)):
        raise UsageError("This recipe needs texts.", hint="Pass images with captions, or a --bank of texts.")
