"""The weighted sum of a mixture's terms, see :mod:`mobileclip_kit.distillation.mixture`.

The student lives in the first teacher's space: a tower that is not trained is that teacher's own, and its vectors are
constants, looked up rather than computed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from mobileclip_kit.data.images import Rows
from mobileclip_kit.distillation.mixture import MixtureOptions
from mobileclip_kit.distillation.objective import Batch, Encoded, Moment
from mobileclip_kit.distillation.schedule import value_from_epoch
from mobileclip_kit.distillation.targets import TeacherSide
from mobileclip_kit.distillation.texts import Texts, sample
from mobileclip_kit.errors import UsageError
from mobileclip_kit.losses.affinity import affinity_cross_entropy, affinity_logits, teacher_affinities
from mobileclip_kit.losses.alignment import alignment_loss, phase_at
from mobileclip_kit.losses.feature import cosine_loss, kld_l1_loss, mse_loss
from mobileclip_kit.losses.hard_negatives import hard_negative_loss
from mobileclip_kit.losses.neighbours import neighbour_loss
from mobileclip_kit.networks.raw import encode_raw, encode_text_raw

# CLIP's bound: logits beyond it only make training unstable.
_MOST_LOGIT_SCALE = 100.0


class MixtureObjective:
    """The weighted sum of a recipe's terms.

    Args:
        network: The student, an open_clip model.
        options: The weights.
        teachers: One or more; the student shares the first one's space.
        images: Of the training set.
        texts: The run's texts, or None when no term needs any.
        towers: Which of ``image`` and ``text`` are trained.
        tokens: Identifiers of the run's texts for the student's text tower, ``(texts, context)``; None when it is not
            trained.
    """

    def __init__(
        self,
        network: Any,
        options: MixtureOptions,
        teachers: Sequence[TeacherSide],
        *,
        images: int,
        texts: Texts | None = None,
        towers: Sequence[str] = ("image",),
        tokens: Tensor | None = None,
    ) -> None:
        self.network, self._options, self._teachers, self._tokens = network, options, tuple(teachers), tokens
        self._every = np.arange(images, dtype=np.int64)
        self._texts, self._image, self._text = texts, "image" in towers, "text" in towers
        if options.neighbours and not self._image:
            raise UsageError("neighbours compares images, but the image tower is not trained.")
        if options.neighbours_bank and teachers[0].lookup is None:
            raise UsageError(
                "neighbours_bank needs stored vectors, but the teacher answers live.",
                hint="Make a cache with `mckit cache --views`, or set neighbours_bank = 0.",
            )
        captioned = texts is not None and all(len(rows) for rows in texts.captions) and len(texts.captions) > 0
        banked = texts is not None and len(texts.bank) > 0
        if options.contrastive and not captioned:
            raise UsageError("contrastive needs a caption of every image.")
        if (options.affinity or self._text) and not (captioned or banked):
            raise UsageError("This recipe needs texts.", hint="Pass images with captions, or a --bank of texts.")
        self._on_bank = banked and (options.affinity > 0.0 or not captioned)
        self._on_captions = captioned and (
            self._text or options.contrastive > 0.0 or (options.affinity > 0.0 and not banked)
        )
        self._freeze()

    def _freeze(self) -> None:
        learned = self._options.learn_scale and self._options.needs_texts
        for name, parameter in self.network.named_parameters():
            if name.startswith("visual."):
                parameter.requires_grad_(self._image)
            elif name.startswith("logit_"):
                parameter.requires_grad_(learned and name == "logit_scale")
            else:
                parameter.requires_grad_(self._text)

    def modules(self) -> Mapping[str, nn.Module]:
        """The network, whose towers are trained or frozen."""
        return {"network": self.network}

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """The weighted sum for a batch that is all there is."""
        return self.compare(self.encode(batch), self.shared(batch.moment), batch.rows, batch.moment)

    def encode(self, batch: Batch) -> Encoded:
        """Student's and teachers' vectors of a batch's images, and the student's of their captions."""
        trained = {"image": encode_raw(self.network, batch.images)} if self._image else {}
        if self._text and self._on_captions and self._texts is not None:
            trained["caption"] = self._encode_texts(self._texts.caption_rows(batch.rows, batch.moment))
        constant = {
            str(number): teacher.images(batch)
            for number, teacher in enumerate(self._teachers)
            if teacher.images is not None
        }
        return Encoded(trained, constant)

    def shared(self, moment: Moment) -> dict[str, Tensor]:
        """The student's vectors of the bank's texts, if it has a text tower to train."""
        if not (self._text and self._on_bank and self._texts is not None):
            return {}
        return {"bank": self._encode_texts(self._texts.bank_rows(moment, self._options.bank_sample))}

    def compare(
        self, encoded: Encoded, shared: Mapping[str, Tensor], rows: Rows, moment: Moment
    ) -> tuple[Tensor, dict[str, float]]:
        """The weighted sum; the log gets each term alone."""
        with torch.no_grad():
            self.network.logit_scale.clamp_(max=math.log(_MOST_LOGIT_SCALE))
        device = self.network.logit_scale.device
        with torch.autocast(device.type, enabled=False):
            terms, log = self._terms(encoded, shared, rows, moment)
            total = torch.stack([getattr(self._options, name) * value for name, value in terms]).sum()
        for name, value in terms:
            log[f"loss_{name}"] = log.get(f"loss_{name}", 0.0) + float(value.detach())
        return total, log

    def _terms(
        self, encoded: Encoded, shared: Mapping[str, Tensor], rows: Rows, moment: Moment
    ) -> tuple[list[tuple[str, Tensor]], dict[str, float]]:
        options, texts, log = self._options, self._texts, dict[str, float]()
        captions = texts.caption_rows(rows, moment) if texts is not None and self._on_captions else None
        bank = texts.bank_rows(moment, options.bank_sample) if texts is not None and self._on_bank else None
        first = encoded.constant.get("0")
        image = encoded.trained.get("image", first)
        terms: list[tuple[str, Tensor]] = []
        if self._image and image is not None and first is not None:
            terms += self._features(image, first, moment, log, "cosine")
        if self._text:
            places = captions if captions is not None else bank
            ours = encoded.trained["caption"] if captions is not None else shared["bank"]
            terms += self._features(ours, self._text_vectors(0, places), moment, log, "cosine_text")
        if options.neighbours and image is not None and first is not None:
            terms.append(("neighbours", self._neighbours(image, first, rows, moment)))
        scale = self.network.logit_scale.exp()
        if options.affinity and image is not None:
            places, key = (bank, "bank") if bank is not None else (captions, "caption")
            given = shared if bank is not None else encoded.trained
            ours = given[key] if self._text else self._text_vectors(0, places)
            sides = [(encoded.constant[str(number)], self._text_vectors(number, places), teacher.logit_scale)
                     for number, teacher in enumerate(self._teachers)]  # fmt: skip
            logits = affinity_logits(image, ours, scale)
            terms.append(("affinity", affinity_cross_entropy(logits, teacher_affinities(sides))))
        if options.contrastive and image is not None and captions is not None:
            ours = encoded.trained["caption"] if self._text else self._text_vectors(0, captions)
            terms.append(("contrastive", self._contrastive(image, ours, scale, moment)))
        if options.needs_texts:
            log["logit_scale"] = float(scale.detach())
        return terms, log

    def _features(
        self, student: Tensor, teacher: Tensor, moment: Moment, log: dict[str, float], name: str
    ) -> list[tuple[str, Tensor]]:
        options, terms = self._options, list[tuple[str, Tensor]]()
        log[name] = float(F.cosine_similarity(student.detach(), teacher).mean())
        if options.kld_l1:
            log["temperature"] = value_from_epoch(options.temperatures, moment.epoch)
            terms.append(("kld_l1", kld_l1_loss(student, teacher, log["temperature"])))
        if options.mse:
            terms.append(("mse", mse_loss(student, teacher)))
        if options.cosine:
            terms.append(("cosine", cosine_loss(student, teacher)))
        return terms

    def _neighbours(self, student: Tensor, teacher: Tensor, rows: Rows, moment: Moment) -> Tensor:
        options, lookup = self._options, self._teachers[0].lookup
        others, places = teacher, rows
        if options.neighbours_bank and lookup is not None:
            places = sample(self._every, options.neighbours_bank, moment)
            others = lookup(places, moment.epoch).to(student.device)
        same = torch.from_numpy(rows[:, None] == places[None, :]).to(student.device)
        return neighbour_loss(student, teacher, others, options.neighbours_scale, same)

    def _contrastive(self, image: Tensor, text: Tensor, scale: Tensor, moment: Moment) -> Tensor:
        options = self._options
        if options.hard_negatives:
            return hard_negative_loss(image, text, scale, options.hard_negatives)
        phase = phase_at(moment.step / moment.steps, first_share=options.smoothing_from,
                         second_share=options.weighting_from) if options.softened else "one-hot"  # fmt: skip
        image, text = F.normalize(image, dim=1), F.normalize(text, dim=1)
        return alignment_loss(image, text, scale, phase=phase, alpha=options.alpha)

    def _encode_texts(self, places: Rows) -> Tensor:
        assert self._tokens is not None
        return encode_text_raw(self.network, self._tokens[torch.from_numpy(places)].to(self.network.logit_scale.device))

    def _text_vectors(self, teacher: int, places: Rows | None) -> Tensor:
        stored = self._teachers[teacher].texts
        assert stored is not None and places is not None
        return stored[torch.from_numpy(places)].to(self.network.logit_scale.device)
