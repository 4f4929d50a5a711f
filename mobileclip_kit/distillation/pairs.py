"""The objective of training from image-caption pairs without a teacher: LightCLIP's (arXiv 2312.00674).

Three levels of interaction: instances (``losses/alignment.py``), tokens (``losses/token_matching.py``) and words masked
in captions (``losses/masked_language.py``). Each can be switched off; without them it is CLIP's InfoNCE. A fourth loss
that is not LightCLIP's, ``losses/caption_words.py``, helps small models and short training. What each loss is given is
an attribute of :class:`PairInputs`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from random import Random
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from mobileclip_kit.distillation.captions import PhraseTable, phrases, wrong_caption
from mobileclip_kit.distillation.objective import Batch, LossAndLog, compute_term
from mobileclip_kit.distillation.tables import MAX_LOGIT_SCALE, PairOptions
from mobileclip_kit.losses.alignment import Phase, phase_at
from mobileclip_kit.losses.caption_words import inverse_document_frequency
from mobileclip_kit.losses.masked_language import IGNORED, mask_tokens
from mobileclip_kit.networks.families import encode_raw, image_tower, memory_format_of
from mobileclip_kit.networks.fusion import MaskedLanguage, TokenProjection
from mobileclip_kit.networks.stages import ImageStages, TextStream, image_stages
from mobileclip_kit.tokenizer import TextTokenizer

# Captions that a label's importance is counted on.
_CAPTIONS_COUNTED = 10_000


class PairObjective:
    """LightCLIP's loss of a batch.

    Args:
        network: An open_clip model with a text transformer of its own.
        captions: The captions of each image of the training set, at least one.
        tokenizer: The text tower's.
        options: Which losses, and their weights.
        keeps_scale: Whether the network's logit scale is the start, not that of the options.
    """

    def __init__(
        self, network: Any, captions: Sequence[Sequence[str]], tokenizer: TextTokenizer, options: PairOptions,
        *, keeps_scale: bool = False,
    ) -> None:  # fmt: skip
        self.network: Any = network
        self.captions, self.options, self._tokenizer = captions, options, tokenizer
        self._classes = tuple(frozenset(word.lower() for word in words) for words in options.word_classes)
        every = [text for texts in captions for text in texts]
        self._phrases = phrases(every) if self._classes and options.known_phrases else None
        self.stream = TextStream(network)
        if not keeps_scale:
            with torch.no_grad():
                network.logit_scale.fill_(math.log(options.logit_scale))
        self._most_log_scale = max(math.log(MAX_LOGIT_SCALE), float(network.logit_scale.detach()))
        image_tower(network).to(memory_format=memory_format_of(network))
        self.tokens: TokenProjection | None = None
        self.language: MaskedLanguage | None = None
        self.words: nn.Linear | None = None
        if options.using("word_logits"):
            self._make_word_head(every)
        channels = stage_channels(network) if options.using("projected", "masked") else ()
        if options.using("projected"):
            self.tokens = TokenProjection(channels[-1], self.stream.width)
        if options.using("masked"):
            self.language = MaskedLanguage(self.stream, channels)

    def _make_word_head(self, every: list[str]) -> None:
        options = self.options
        self.table = PhraseTable(every if options.phrase_labels else (), options.phrase_labels)
        labels = self.stream.embedding.num_embeddings + len(self.table)
        self.words = nn.Linear(options.embedding_dim, labels)
        # Drawn from everywhere: data may be sorted, and an image's first caption may be of another kind.
        some = Random(0).sample(every, min(len(every), _CAPTIONS_COUNTED))
        rows, counted = self.labels(some, torch.from_numpy(self._tokenizer(some)))
        # The start piece is in every caption: what does not count becomes it, and so has no weight.
        self.importance = inverse_document_frequency(torch.where(counted, rows, rows[:, :1]), labels)

    def modules(self) -> Mapping[str, nn.Module]:
        """The network, and what exists in training only."""
        parts = {"network": self.network, "tokens": self.tokens, "language": self.language, "words": self.words}
        return {name: module for name, module in parts.items() if module is not None}

    def loss(self, batch: Batch) -> LossAndLog:
        """The weighted sum of the losses that are on; the log gets each one alone."""
        with torch.no_grad():
            self.network.logit_scale.clamp_(max=self._most_log_scale)
        inputs = PairInputs(self, batch, *self.choose(batch))
        parts, log = [], {"logit_scale": float(inputs.logit_scale.detach())}
        for name, weight, term in self.options.weighted():
            value = compute_term(term, inputs, self.options)
            parts.append(weight * value)
            log[name] = float(value.detach())
        return torch.stack(parts).sum(), log

    def choose(self, batch: Batch) -> tuple[list[str], list[tuple[str, ...]]]:
        """A true caption of each image, and its wrong ones if hard negatives are on."""
        # torch is seeded for each step, so a resumed run chooses the same.
        rng = Random(int(torch.randint(1 << 62, ())))
        chosen: list[str] = []
        wrong: list[tuple[str, ...]] = []
        for row in batch.rows:
            captions = self.captions[row]
            caption = captions[int(rng.random() * len(captions))]
            chosen.append(self.options.vary(caption, rng))
            if self._classes:
                made = [
                    wrong_caption(caption, captions, self._classes, rng) for _ in range(self.options.wrong_captions)
                ]
                wrong.append(tuple(text for text in dict.fromkeys(made) if text is not None and self._is_known(text)))
        return chosen, wrong

    def _is_known(self, text: str) -> bool:
        return self._phrases is None or phrases([text]) <= self._phrases

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Identifiers of some texts on the network's device, ``(n, context)``."""
        return torch.from_numpy(self._tokenizer(texts)).to(self.network.logit_scale.device)

    def labels(self, texts: Sequence[str], ids: Tensor) -> tuple[Tensor, Tensor]:
        """Pieces and phrases of captions as labels, ``(n, length)``, and which of them count."""
        numbers, counted = (torch.from_numpy(part).to(ids.device) for part in self.table.rows(texts))
        numbers = numbers + self.stream.embedding.num_embeddings
        return torch.cat((ids, numbers), dim=1), torch.cat((_is_word(ids), counted), dim=1)


class PairInputs:
    """The possible arguments of a loss, by name; each is computed once, when a loss asks for it.

    Args:
        objective: Whose step it is.
        batch: The images.
        captions: One true caption of each.
        wrong: The wrong captions of each, or none at all.
    """

    def __init__(self, objective: PairObjective, batch: Batch, captions: list[str],
                 wrong: list[tuple[str, ...]]) -> None:  # fmt: skip
        self._objective, self._batch, self._captions, self._wrong = objective, batch, captions, wrong
        self._options = objective.options
        self._ids = objective.tokenize(captions)  # (n, context)
        self._lengths = self._ids.argmax(dim=-1) + 1  # the end token has the greatest identifier
        if objective.tokens is not None:
            self._ids = self._ids[:, : int(self._lengths.max())]

    @property
    def logit_scale(self) -> Tensor:
        """The factor on cosines."""
        scale: Tensor = self._objective.network.logit_scale.exp()
        return scale

    @cached_property
    def image(self) -> Tensor:
        """Unit vectors of the images, ``(n, d)``."""
        return F.normalize(self._seen.vectors.float(), dim=-1)

    @cached_property
    def caption(self) -> Tensor:
        """Unit vectors of the captions, ``(n, d)``."""
        return self._caption_vectors.float()

    @property
    def phase(self) -> Phase:
        """Which labels InfoNCE has."""
        options, context = self._options, self._batch.context
        if "align" not in options.losses:
            return "one-hot"
        done = context.step / context.steps
        return phase_at(done, first_share=options.smoothing_from, second_share=options.weighting_from)

    @property
    def same(self) -> Tensor | None:
        """``(n, n)`` bool: which images have the same caption; None when the recipe does not ask."""
        return (self._ids[:, None] == self._ids[None]).all(dim=-1) if self._options.same_captions else None

    @property
    def negatives(self) -> tuple[Tensor, Tensor] | None:
        """Vectors of wrong captions, ``(m, d)``, and which image of the batch each is of, ``(m,)``."""
        if not any(self._wrong):
            return None
        ids = self._objective.tokenize([text for texts in self._wrong for text in texts])
        rows = [row for row, texts in enumerate(self._wrong) for _ in texts]
        vectors = self._objective.stream.encode(ids, ids.argmax(dim=-1) + 1).float()
        return vectors, torch.tensor(rows, device=ids.device)

    @property
    def is_word(self) -> Tensor:
        """Neither start nor end nor padding, ``(n, length)``."""
        return _is_word(self._ids)

    @cached_property
    def word_logits(self) -> Tensor:
        """Which labels an image has; with phrases as labels the captions' rows follow the images', ``(n or 2n, l)``."""
        head, images = self._objective.words, self._seen.vectors
        assert head is not None
        if not len(self._objective.table):
            return head(images).float()  # type: ignore[no-any-return]
        # By the same head, a caption's vector names its phrases too. A text tower is slow to find that "red star" is
        # more than "red" and "star" while no image's vector tells them apart; so is the image tower the other way.
        texts = self._caption_vectors * images.detach().norm(dim=-1).mean()
        return torch.cat([head(images), head(texts)]).float()

    @property
    def importance(self) -> Tensor:
        """Of each label, ``(l,)``."""
        return self._objective.importance.to(self._ids.device)

    @cached_property
    def _seen(self) -> ImageStages:
        network, objective = self._objective.network, self._objective
        images = self._batch.images
        staged = objective.tokens is not None or objective.language is not None
        return image_stages(network, images) if staged else ImageStages((), encode_raw(network, images))

    @cached_property
    def _last_stage(self) -> Tensor:
        return self._objective.stream.last_stage(self._ids)

    @cached_property
    def _caption_vectors(self) -> Tensor:
        stream = self._objective.stream
        if self._objective.tokens is None:
            return stream.encode(self._ids, self._lengths)
        return F.normalize(stream.pool(self._last_stage, self._ids), dim=-1)

    @property
    def projected(self) -> tuple[Tensor, Tensor]:
        """Projected patches of the images, ``(n, patches, d)``, and tokens of the captions, ``(n, length, d)``."""
        assert self._objective.tokens is not None
        return self._objective.tokens(self._seen.grids[-1]), self._last_stage

    @property
    def masked(self) -> tuple[Tensor, Tensor, Tensor]:
        """Predictions of masked words from the text alone and with the image's help, and the words themselves.

        ``(masked, vocabulary)`` twice, and ``(masked,)``.
        """
        language = self._objective.language
        assert language is not None
        ids = self._ids[:, : int(self._lengths.max())]
        masked, labels = mask_tokens(
            ids,
            _is_word(ids),
            vocab_size=language.mask_id,
            mask_id=language.mask_id,
            generator=torch.Generator().manual_seed(int(torch.randint(1 << 62, ()))),
            share=self._options.masked,
        )
        wanted = labels != IGNORED
        places = torch.arange(ids.shape[1], device=ids.device)
        alone, fused = language(masked, places < self._lengths[:, None], wanted, self._seen)
        return alone, fused, labels[wanted]

    @property
    def word_labels(self) -> tuple[Tensor, Tensor]:
        """The labels of each row of ``word_logits``, ``(n or 2n, length)``, and which of them count."""
        labels, counted = self._objective.labels(self._captions, self._ids)
        times = len(self.word_logits) // len(labels)
        return labels.repeat(times, 1), counted.repeat(times, 1)


@torch.no_grad()
def stage_channels(network: Any) -> tuple[int, ...]:
    """Channels of an image tower's four stages, found by running it once on an empty image."""
    size = image_tower(network).image_size
    height, width = (size, size) if isinstance(size, int) else (size[0], size[-1])
    was_training = network.training
    network.eval()
    grids = image_stages(network, torch.zeros(1, 3, height, width)).grids
    network.train(was_training)
    return tuple(int(grid.shape[1]) for grid in grids)


def _is_word(ids: Tensor) -> Tensor:
    """Neither start nor end nor padding, ``(n, length)``; the end token has the greatest identifier."""
    places = torch.arange(ids.shape[1], device=ids.device)
    return (places >= 1) & (places < ids.argmax(dim=-1)[:, None])
