"""Training from image-caption pairs without a teacher: LightCLIP's objective (arXiv 2312.00674).

Three levels of interaction: instances (``losses/alignment.py``), tokens (``losses/token_matching.py``) and words masked
in captions (``losses/masked_language.py``). Each can be switched off; with all of them off it is CLIP's InfoNCE. A
fourth term that is not LightCLIP's, ``losses/caption_words.py``, is there for small models and little time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from mobileclip_kit.distillation.captions import TextAugmentation
from mobileclip_kit.distillation.hard_negatives import wrong_caption
from mobileclip_kit.distillation.objective import Batch
from mobileclip_kit.distillation.phrases import PhraseTable, phrases
from mobileclip_kit.errors import UsageError
from mobileclip_kit.losses.alignment import alignment_loss, phase_at
from mobileclip_kit.losses.caption_words import caption_words_loss, inverse_document_frequency
from mobileclip_kit.losses.masked_language import IGNORED, mask_tokens, masked_language_loss
from mobileclip_kit.losses.token_matching import token_matching_loss
from mobileclip_kit.networks.fusion import MaskedLanguage, TokenProjection
from mobileclip_kit.networks.stages import ImageStages, TextStream, image_stages
from mobileclip_kit.tokenizer import TextTokenizer

LossName = Literal["align", "tokens", "mlm"]

# CLIP's bound: logits beyond it only make training unstable.
MOST_LOGIT_SCALE = 100.0
# How common a piece is, is well known from so many captions.
_CAPTIONS_COUNTED = 10_000


@dataclass(frozen=True, kw_only=True)
class PairOptions:
    """The recipe's ``[pairs]`` table.

    Attributes:
        student: The image tower, a row of ``STUDENTS``.
        text: The text tower, a row of ``TEXT_TOWERS``.
        embedding_dim: Width of the vectors.
        image_size: Pixels; None takes the student's own.
        trim_vocab: Keep only the pieces that the captions use, and the bytes.
        stored: Type of the saved weights.
        logit_scale: At the start.
        losses: Which of LightCLIP's three are on: ``align`` softens InfoNCE's labels, ``tokens`` matches words with
            patches, ``mlm`` predicts masked words.
        align_weight: Weight of InfoNCE, softened or not.
        tokens_weight: Weight of the token matching.
        mlm_weight: Weight of the masked language modelling.
        words_weight: Weight of SuperClass's caption words, which LightCLIP does not have; 0 leaves them out.
        phrase_labels: How many of the captions' most common two-word phrases are labels beside the words: what shows a
            small model which thing has which colour, if phrases are many enough to be seen often. How much each label
            counts is found on 10,000 captions; one that none of them has counts nothing.
        alpha: What the negatives' labels get together, once labels are soft.
        smoothing_from: Share of the training after which labels are smoothed (``r₁``).
        weighting_from: Share of the training after which negatives are weighted (``r₂``).
        masked: Share of a caption's tokens that are masked.
        synonym: See :class:`~mobileclip_kit.distillation.captions.TextAugmentation`.
        swap: The same.
        delete: The same.
        synonyms: The same.
        same_captions: Take every image with the same caption as right for it, see
            :func:`~mobileclip_kit.losses.alignment.alignment_loss`.
        word_classes: Words that may stand for each other, class by class, for hard negatives; none leaves them out, see
            :mod:`~mobileclip_kit.distillation.hard_negatives`.
        wrong_captions: How many hard negatives each image gets at most.
        known_phrases: Take a hard negative only if each two neighbouring words of it are neighbours in some caption.
            What no caption says would else be learned as wrong for every image: combinations that training never
            shows, among others.
    """

    student: str = "resnet18"
    text: str = "text-8"
    embedding_dim: int = 512
    image_size: int | None = None
    trim_vocab: bool = False
    stored: Literal["float32", "float16"] = "float32"
    logit_scale: float = 1 / 0.07
    losses: tuple[LossName, ...] = ("align", "tokens", "mlm")
    align_weight: float = 0.8
    tokens_weight: float = 0.1
    mlm_weight: float = 0.1
    words_weight: float = 0.0
    phrase_labels: int = 0
    alpha: float = 0.2
    smoothing_from: float = 0.33
    weighting_from: float = 0.66
    masked: float = 0.15
    synonym: float = 0.0
    swap: float = 0.0
    delete: float = 0.0
    synonyms: tuple[tuple[str, str], ...] = ()
    same_captions: bool = False
    word_classes: tuple[tuple[str, ...], ...] = ()
    wrong_captions: int = 1
    known_phrases: bool = False

    def __post_init__(self) -> None:
        self._check_numbers()
        if not 1.0 <= self.logit_scale <= MOST_LOGIT_SCALE:
            raise UsageError(f"logit_scale is {self.logit_scale}; it must be in 1…{MOST_LOGIT_SCALE:.0f}.")
        if not 0.0 < self.masked <= 1.0:
            raise UsageError(f"masked is {self.masked}; it must be above 0 and at most 1.")
        if not 0.0 <= self.alpha <= 1.0:
            raise UsageError(f"alpha is {self.alpha}; it must be in 0…1.")
        if "align" in self.losses and (self.same_captions or self.word_classes):
            raise UsageError(
                "same_captions and word_classes go with InfoNCE's hard labels; leave align out of the losses."
            )
        if not self.word_classes and (self.known_phrases or self.wrong_captions != 1):
            raise UsageError("known_phrases and wrong_captions need word_classes: from these wrong captions are made.")
        if any(len(set(words)) < 2 for words in self.word_classes):
            raise UsageError("Each of word_classes needs at least two words that may stand for each other.")
        phase_at(0.0, first_share=self.smoothing_from, second_share=self.weighting_from)
        _ = self.text_augmentation

    def _check_numbers(self) -> None:
        for name, least in (("embedding_dim", 1), ("wrong_captions", 1), ("phrase_labels", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least {least}.")
        if self.phrase_labels and not self.words_weight:
            raise UsageError("phrase_labels needs a words_weight above 0: they are labels beside the words.")
        for name in ("align_weight", "tokens_weight", "mlm_weight", "words_weight"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be a number of at least 0.")

    @property
    def text_augmentation(self) -> TextAugmentation:
        """How captions are varied."""
        return TextAugmentation(synonym=self.synonym, swap=self.swap, delete=self.delete, synonyms=self.synonyms)


class PairObjective:
    """LightCLIP's loss of a batch.

    Args:
        network: An open_clip model with a text transformer of its own.
        captions: The captions of each image of the training set, at least one.
        tokenizer: The text tower's.
        options: Which losses, and their weights.
    """

    def __init__(
        self, network: Any, captions: Sequence[Sequence[str]], tokenizer: TextTokenizer, options: PairOptions
    ) -> None:
        self.network: Any = network
        self._captions, self._tokenizer, self._options = captions, tokenizer, options
        self._augmentation = options.text_augmentation
        self._classes = tuple(frozenset(word.lower() for word in words) for words in options.word_classes)
        every = [text for texts in captions for text in texts]
        self._phrases = phrases(every) if self._classes and options.known_phrases else None
        self._stream = TextStream(network)
        with torch.no_grad():
            network.logit_scale.fill_(math.log(options.logit_scale))
        # Convolutions on a CPU are faster so; transformers do not care.
        network.visual.to(memory_format=torch.channels_last)
        self._tokens: TokenProjection | None = None
        self._language: MaskedLanguage | None = None
        self._words: nn.Linear | None = None
        if options.words_weight:
            self._table = PhraseTable(every if options.phrase_labels else (), options.phrase_labels)
            labels = self._stream.embedding.num_embeddings + len(self._table)
            self._words = nn.Linear(options.embedding_dim, labels)
            # From everywhere: data may be sorted, and an image's first caption another kind of text than the others.
            some = Random(0).sample(every, min(len(every), _CAPTIONS_COUNTED))
            rows, counted = self._labels(some, torch.from_numpy(tokenizer(some)))
            # The first piece stands in every caption: what does not count becomes it, and so weighs nothing.
            rows = torch.where(counted, rows, rows[:, :1])
            self._importance = inverse_document_frequency(rows, labels)
        if {"tokens", "mlm"} & set(options.losses):
            channels = stage_channels(network)
            if "tokens" in options.losses:
                self._tokens = TokenProjection(channels[-1], self._stream.width, options.embedding_dim)
            if "mlm" in options.losses:
                self._language = MaskedLanguage(self._stream, channels)

    def modules(self) -> Mapping[str, nn.Module]:
        """The network, and what exists in training only."""
        parts = {"network": self.network, "tokens": self._tokens, "language": self._language,
                 "words": self._words}  # fmt: skip
        return {name: module for name, module in parts.items() if module is not None}

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """The weighted sum of the losses that are on; the log gets each one alone."""
        options, network = self._options, self.network
        with torch.no_grad():
            network.logit_scale.clamp_(max=math.log(MOST_LOGIT_SCALE))
        chosen, wrong = self._choose(batch)
        ids = self._tokenize(chosen, batch)  # (n, context)
        lengths = ids.argmax(dim=-1) + 1  # the end token has the greatest identifier
        images = batch.images.contiguous(memory_format=torch.channels_last)
        staged = self._tokens is not None or self._language is not None
        seen = image_stages(network, images) if staged else ImageStages((), network.encode_image(images))
        if self._tokens is None:
            last, texts = None, self._stream.encode(ids, lengths)
        else:
            ids = ids[:, : int(lengths.max())]
            last = self._stream.last_stage(ids)
            texts = F.normalize(self._stream.pool(last, ids), dim=-1)
        scale = network.logit_scale.exp()
        image_vectors = F.normalize(seen.vectors.float(), dim=-1)
        total = alignment_loss(
            image_vectors,
            texts.float(),
            scale,
            phase=self._phase(batch),
            alpha=options.alpha,
            same=(ids[:, None] == ids[None]).all(dim=-1) if options.same_captions else None,
            negatives=self._negatives(wrong, batch) if any(wrong) else None,
        )
        parts = {"alignment": float(total.detach()), "logit_scale": float(scale.detach())}
        total = total * options.align_weight
        if self._tokens is not None and last is not None:
            patches, words = self._tokens(seen.grids[-1], last)
            matched = token_matching_loss(patches, words, _is_word(ids, lengths))
            total, parts["tokens"] = total + options.tokens_weight * matched, float(matched.detach())
        if self._language is not None:
            predicted = self._predict_masked(self._language, ids, lengths, seen)
            total, parts["mlm"] = total + options.mlm_weight * predicted, float(predicted.detach())
        if self._words is not None:
            named = self._named(self._words, seen.vectors, texts, self._labels(chosen, ids))
            total, parts["words"] = total + options.words_weight * named, float(named.detach())
        return total, parts

    def _choose(self, batch: Batch) -> tuple[list[str], list[tuple[str, ...]]]:
        """A true caption of each image, and its wrong ones if hard negatives are on."""
        # torch is seeded for each step, so a resumed run chooses the same.
        rng = Random(int(torch.randint(1 << 62, ())))
        chosen: list[str] = []
        wrong: list[tuple[str, ...]] = []
        for row in batch.rows:
            captions = self._captions[row]
            caption = captions[int(rng.random() * len(captions))]
            chosen.append(self._augmentation.apply(caption, rng))
            if self._classes:
                made = [
                    wrong_caption(caption, captions, self._classes, rng) for _ in range(self._options.wrong_captions)
                ]
                wrong.append(tuple(text for text in dict.fromkeys(made) if text is not None and self._is_known(text)))
        return chosen, wrong

    def _is_known(self, text: str) -> bool:
        return self._phrases is None or phrases([text]) <= self._phrases

    def _tokenize(self, texts: list[str], batch: Batch) -> Tensor:
        return torch.from_numpy(self._tokenizer(texts)).to(batch.images.device)

    def _named(self, head: nn.Linear, images: Tensor, texts: Tensor, labels: tuple[Tensor, Tensor]) -> Tensor:
        importance = self._importance.to(images.device)
        loss = caption_words_loss(head(images).float(), *labels, importance)
        if not len(self._table):
            return loss
        # By the same head, a caption's vector names its phrases too. A text tower is slow to find that "red star" is
        # more than "red" and "star" while no image's vector tells them apart; so is the image tower the other way.
        length = images.detach().norm(dim=-1).mean()
        return (loss + caption_words_loss(head(texts * length).float(), *labels, importance)) / 2

    def _labels(self, texts: Sequence[str], ids: Tensor) -> tuple[Tensor, Tensor]:
        """Pieces and phrases of captions as labels, ``(n, length)``, and which of them count."""
        is_word = _is_word(ids, ids.argmax(dim=-1) + 1)
        numbers, counted = (part.to(ids.device) for part in self._table.rows(texts))
        numbers = numbers + self._stream.embedding.num_embeddings
        return torch.cat((ids, numbers), dim=1), torch.cat((is_word, counted), dim=1)

    def _negatives(self, wrong: list[tuple[str, ...]], batch: Batch) -> tuple[Tensor, Tensor]:
        """Vectors of wrong captions, ``(m, d)``, and which image of the batch each is of, ``(m,)``."""
        ids = self._tokenize([text for texts in wrong for text in texts], batch)
        rows = [row for row, texts in enumerate(wrong) for _ in texts]
        return self._stream.encode(ids, ids.argmax(dim=-1) + 1).float(), torch.tensor(rows, device=ids.device)

    def _phase(self, batch: Batch) -> Literal["one-hot", "smoothed", "weighted"]:
        options, moment = self._options, batch.moment
        if "align" not in options.losses:
            return "one-hot"
        done = moment.step / moment.steps
        return phase_at(done, first_share=options.smoothing_from, second_share=options.weighting_from)

    def _predict_masked(self, language: MaskedLanguage, ids: Tensor, lengths: Tensor, seen: ImageStages) -> Tensor:
        ids = ids[:, : int(lengths.max())]
        masked, labels = mask_tokens(
            ids,
            _is_word(ids, lengths),
            vocab_size=language.mask_id,
            mask_id=language.mask_id,
            generator=torch.Generator().manual_seed(int(torch.randint(1 << 62, ()))),
            share=self._options.masked,
        )
        wanted = labels != IGNORED
        places = torch.arange(ids.shape[1], device=ids.device)
        alone, fused = language(masked, places < lengths[:, None], wanted, seen)
        return masked_language_loss(alone, fused, labels[wanted])


@torch.no_grad()
def stage_channels(network: Any) -> tuple[int, ...]:
    """Channels of an image tower's four stages, found by running it once on an empty image."""
    size = network.visual.image_size
    height, width = (size, size) if isinstance(size, int) else (size[0], size[-1])
    was_training = network.training
    network.eval()
    grids = image_stages(network, torch.zeros(1, 3, height, width)).grids
    network.train(was_training)
    return tuple(int(grid.shape[1]) for grid in grids)


def _is_word(ids: Tensor, lengths: Tensor) -> Tensor:
    """Neither start nor end nor padding, ``(n, length)``."""
    places = torch.arange(ids.shape[1], device=ids.device)
    return (places >= 1) & (places < lengths[:, None] - 1)
