"""The tables of a recipe, each a dataclass that checks itself.

A number's range stands in its annotation, and so does the loss behind a weight: a field annotated with :class:`Term` is
the weight of that loss, 0 where it is off. Nothing here imports torch, so that a recipe is checked before any work.
"""

from __future__ import annotations

import functools
import math
import typing
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from mobileclip_kit.distillation.captions import TextAugmentation
from mobileclip_kit.distillation.ranges import Range, check_ranges
from mobileclip_kit.errors import UsageError

ComputeType = Literal["float32", "bfloat16", "float16"]
LightClipLoss = Literal["align", "tokens", "mlm"]

# Inputs of the losses that compare images with all texts.
AFFINITIES = ("affinity_logits", "teacher_affinities", "sigmoid_logits", "teacher_probabilities")
# CLIP's bound: larger logits only make training unstable.
MAX_LOGIT_SCALE = 100.0

Share = Annotated[float, Range(0.0, 1.0)]
Weight = Range(0.0)


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """The recipe's ``[training]`` table: steps, learning rate, seed.

    Attributes:
        epochs: Passes over the images.
        steps: Updates in all; if given, it replaces ``epochs``. 0 keeps the closed-form start of a trained backbone's
            projection.
        batch_size: Images in an update.
        optimizer: ``adamw``, or ``muon``, which learns more from an image, see
            :mod:`mobileclip_kit.distillation.optimizer`.
        lr: Peak learning rate.
        update_share: Largest change of a matrix or filter in one update of Muon, as a share of its root mean square.
            The rate that suits a tower of 64 channels is too high for one of 384, whose weights are smaller, and would
            soon overwrite inherited ones. None does not bound it.
        final_lr_share: Share of the peak at the end of the cosine.
        warmup_share: Share of the steps in which the learning rate rises.
        warmup_steps: Steps of the rise; if given, it replaces the share.
        weight_decay: Of weights with two dimensions or more; biases and norms have none.
        betas: AdamW's decay rates of the two moments.
        gradient_clip: Largest norm of the gradient of all weights together; None does not clip.
        precision: ``bfloat16`` and ``float16`` compute matrix products in that type (autocast); weights stay float32.
        micro_batch: Images in one forward pass; the loss still compares the whole batch. None takes all.
        gradient_checkpointing: Recompute activations in the backward pass: less memory, a third more time.
        ema_decay: Decay of the moving average of the weights that becomes the result; None keeps the last weights.
        frozen: Parts of the network that keep their initial weights, such as ``visual.trunk.stages.0``. Leading stages
            of our towers are computed once for each image where images are not augmented.
        backbone_frozen: Share of the steps, from the first, in which a timm backbone keeps its weights and only what
            follows it is trained.
        fitted_length: Mean length of the vectors of a head that ``inherit = "fitted"`` fits, as a share of the
            teacher's, where no loss compares raw vectors. Muon's steps are of one size: a longer head turns less in
            each.
        patch_dropout: Share of the patches that a vision transformer does not see; the last tenth of the steps shows
            all, see :mod:`mobileclip_kit.networks.patches`.
        seed: Of weights, order and augmentation.
    """

    epochs: Annotated[int, Range(1)] = 20
    steps: Annotated[int | None, Range(0)] = None
    batch_size: Annotated[int, Range(2)] = 256
    optimizer: Literal["adamw", "muon"] = "adamw"
    lr: Annotated[float, Range(0.0, above=True)] = 1e-3
    update_share: Annotated[float | None, Range(0.0, above=True)] = None
    final_lr_share: Share = 0.0
    warmup_share: Share = 0.05
    warmup_steps: Annotated[int | None, Range(0)] = None
    weight_decay: Annotated[float, Range(0.0)] = 0.1
    betas: Annotated[tuple[float, float], Range(0.0, 1.0, below=True)] = (0.9, 0.98)
    gradient_clip: Annotated[float | None, Range(0.0, above=True)] = 1.0
    precision: ComputeType = "float32"
    micro_batch: Annotated[int | None, Range(1)] = None
    gradient_checkpointing: bool = False
    ema_decay: Annotated[float | None, Range(0.0, 1.0, above=True, below=True)] = None
    frozen: tuple[str, ...] = ()
    backbone_frozen: Share = 0.0
    fitted_length: Annotated[float, Range(0.0, above=True)] = 0.3
    patch_dropout: Annotated[float, Range(0.0, 1.0, below=True)] = 0.0
    seed: Annotated[int, Range(0, (1 << 32) - 1)] = 0

    def __post_init__(self) -> None:
        check_ranges(self)

    def total_steps(self, images: int) -> int:
        """Updates of the whole run; an epoch leaves out the images that do not fill a batch."""
        return self.epochs * (images // self.batch_size) if self.steps is None else self.steps

    def learning_rate(self, step: int, steps: int) -> float:
        """The learning rate of a step: a linear warm-up, then half a cosine.

        Args:
            step: From 0; the first one has ``lr / warmup_steps``, not 0.
            steps: Of the whole run.
        """
        rise = round(self.warmup_share * steps) if self.warmup_steps is None else self.warmup_steps
        if step < rise:
            return self.lr * (step + 1) / rise
        cosine = 0.5 * (1.0 + math.cos(math.pi * min((step - rise) / max(steps - rise, 1), 1.0)))
        return self.lr * (self.final_lr_share + (1.0 - self.final_lr_share) * cosine)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """The recipe's ``[augmentation]`` table: how images are varied. The defaults leave them unchanged.

    Attributes:
        crop_scale: Smallest and largest share of the image's area that a crop keeps.
        crop_ratio: Smallest and largest width : height of a crop.
        flip: Probability of mirroring left and right.
        brightness: Colours are multiplied by a factor from 1 ± this.
        contrast: Distances from the image's mean grey are multiplied by a factor from 1 ± this.
        saturation: Distances from each pixel's grey are multiplied by a factor from 1 ± this.
        hue: Colours are rotated by up to this share of the whole circle in either direction, at equal brightness.
        grey: Probability of losing all colour.
        blur: Probability of a Gaussian blur of 0.1 to 2 pixels of an image of 224, as SimCLR's.
        operations: RandAugment's for each image, see :mod:`mobileclip_kit.distillation.randaugment`.
        magnitude: RandAugment's, as a share of full strength: 9 of 30 is usual.
    """

    crop_scale: tuple[float, float] = (1.0, 1.0)
    crop_ratio: tuple[float, float] = (1.0, 1.0)
    flip: Share = 0.0
    brightness: Share = 0.0
    contrast: Share = 0.0
    saturation: Share = 0.0
    hue: Annotated[float, Range(0.0, 0.5)] = 0.0
    grey: Share = 0.0
    blur: Share = 0.0
    operations: Annotated[int, Range(0, 14)] = 0
    magnitude: Share = 0.3

    def __post_init__(self) -> None:
        check_ranges(self)
        low, high = self.crop_scale
        if not 0.0 < low <= high <= 1.0:
            raise UsageError(f"crop_scale is {list(self.crop_scale)}; it must be two rising numbers in 0…1.")
        if not 0.0 < self.crop_ratio[0] <= self.crop_ratio[1]:
            raise UsageError(f"crop_ratio is {list(self.crop_ratio)}; it must be two rising numbers above 0.")

    @property
    def changes_nothing(self) -> bool:
        """Whether every image stays unchanged."""
        return all(getattr(self, field.name) == field.default for field in fields(self))


@dataclass(frozen=True, kw_only=True)
class StageOptions:
    """The recipe's ``[stages]`` table, see :mod:`mobileclip_kit.distillation.stages`. The defaults are TinyCLIP's.

    Attributes:
        shares: Of the first model's parameters that each stage keeps, both towers together.
        counted: Whose parameters: of ``all`` tensors, the token table too, or of attention and feed-forward products
            (``layers``), as in TinyCLIP's code.
        mask_steps: Updates in which a stage learns its gates; recovery has the recipe's own steps or epochs.
        mask_warmup_steps: Updates in which the budget falls to the stage's share.
        gate_lr: Learning rate of the gates, constant.
        multiplier_lr: Learning rate, constant, of the budget's multipliers.
        even: Keep equally many heads and neurons in each layer, so that open_clip's own configuration describes the
            result. Otherwise each layer keeps what it needs most.
    """

    shares: tuple[float, ...] = (0.75, 0.5, 0.25)
    counted: Literal["all", "layers"] = "all"
    mask_steps: Annotated[int, Range(1)] = 3000
    mask_warmup_steps: Annotated[int, Range(0)] = 1000
    gate_lr: Annotated[float, Range(0.0, above=True)] = 0.02
    multiplier_lr: Annotated[float, Range(0.0, above=True)] = 0.02
    even: bool = False

    def __post_init__(self) -> None:
        check_ranges(self)
        falling = all(before > after for before, after in zip((1.0, *self.shares), self.shares, strict=False))
        if not self.shares or not falling or min(self.shares) <= 0.0:
            raise UsageError(f"shares are {list(self.shares)}; they must fall from below 1 and stay above 0.")
        if self.mask_warmup_steps > self.mask_steps:
            raise UsageError("mask_warmup_steps must be at most as many as mask_steps.")


@dataclass(frozen=True)
class Term:
    """The loss behind a weight. It annotates the weight's field.

    Attributes:
        loss: ``MODULE.FUNCTION`` in :mod:`mobileclip_kit.losses`.
        given: The function's arguments, in order and separated by spaces: names of the objective's inputs
            (``MixtureInputs``, ``PairInputs``) or of fields of the same table; ``name=input`` passes a keyword,
            ``*input`` the members of a tuple.
    """

    loss: str
    given: str

    @property
    def inputs(self) -> tuple[tuple[str, str], ...]:
        """``(keyword, name)`` of each argument; the keyword is "" for a positional one and ``*`` for a tuple."""
        parts = (each.replace("*", "*=").rpartition("=") for each in self.given.split())
        return tuple((keyword, name) for keyword, _, name in parts)

    @property
    def per_tower(self) -> bool:
        """Whether the loss is given the vectors of one tower, whichever it is."""
        return "student" in (source for _, source in self.inputs)


class TermTable:
    """A dataclass whose weights are annotated with terms."""

    @classmethod
    @functools.cache
    def _terms(cls) -> dict[str, Term]:
        hints = typing.get_type_hints(cls, include_extras=True)
        return {
            name: extra
            for name, hint in hints.items()
            for extra in getattr(hint, "__metadata__", ())
            if isinstance(extra, Term)
        }

    def weighted(self) -> Iterator[tuple[str, float, Term]]:
        """``(name, weight, term)`` of the losses that are on; the name is the field's without ``_weight``."""
        for field, term in self._terms().items():
            if weight := float(getattr(self, field)):
                yield field.removesuffix("_weight"), weight, term

    def using(self, *inputs: str) -> list[str]:
        """The names of the losses that are given one of these inputs."""
        return [name for name, _, term in self.weighted() if {source for _, source in term.inputs} & set(inputs)]

    def check_weights(self) -> None:
        """Refuse a table in which every loss is off.

        Raises:
            UsageError: Names the weights.
        """
        if not list(self.weighted()):
            raise UsageError(
                "Every weight is 0, so there is nothing to learn.",
                hint=f"Give a weight to one of {', '.join(self._terms())}.",
            )


@dataclass(frozen=True, kw_only=True)
class MixtureOptions(TermTable):
    """The recipe's ``[mixture]`` table: distillation as a weighted sum of losses. Each published recipe is one choice.

    Attributes:
        kld_l1: PicCollage 2021; draws each trained tower's raw vectors to the first teacher's, as ``mse`` and
            ``cosine`` do.
        mse: Squared difference of raw vectors.
        cosine: ``1 − cos``.
        affinity: TinyCLIP; mimics how similar all teachers together find images and texts, on the text bank where one
            is given, else on captions.
        sigmoid_affinity: The same for teachers of SigLIP's kind: each pair on its own, with the teacher's logit bias.
        neighbours: Mimics which images the first teacher finds similar.
        contrastive: CLIP's InfoNCE between the student's images and captions, without a teacher.
        temperatures: ``(from_epoch, temperature)`` rows of KLD + L1, the first from epoch 0.
        unit_scale: Factor on the unit vectors of a teacher whose norms were not stored.
        bank_sample: Texts of the bank in a step, drawn anew each time; None takes all.
        neighbours_scale: Factor on the cosines between images.
        neighbours_bank: Images of the training set to choose among in a step; 0 takes the batch's own.
        softened: Soften the contrastive labels as LightCLIP does.
        alpha: Share of the negatives, once labels are soft.
        smoothing_from: Share of the training after which labels are smoothed.
        weighting_from: Share of the training after which negatives are weighted.
        hard_negatives: β of :func:`~mobileclip_kit.losses.hard_negatives.hard_negative_loss`; 0 weights all alike.
        affinity_scale: Factor on all cosines in ``affinity``, the student's and the teachers': 50 in TinyCLIP's
            scripts, a temperature of 0.02. None takes the student's own logit scale and each teacher's.
        teacher_scales: Factors on the teachers' cosines in ``affinity``, one for each in the order of the caches, as
            MobileCLIP2 has them (70 and 60); empty takes each teacher's logit scale.
        both_captions: Compare each image in a step with its first caption and with one of its others, in DataCompDR's
            shards a real and a synthetic one, and take the mean, as MobileCLIP does; otherwise with any one of them.
        learn_scale: Train the student's logit scale, up to 100 or the teacher's; otherwise it stays the teacher's.
    """

    kld_l1: Annotated[float, Weight, Term("feature.kld_l1_loss", "student teacher temperature")] = 0.0
    mse: Annotated[float, Weight, Term("feature.mse_loss", "student teacher")] = 0.0
    cosine: Annotated[float, Weight, Term("feature.cosine_loss", "student teacher")] = 0.0
    affinity: Annotated[
        float, Weight, Term("affinity.affinity_cross_entropy", "affinity_logits teacher_affinities")
    ] = 0.0
    sigmoid_affinity: Annotated[
        float, Weight, Term("affinity.sigmoid_affinity_loss", "sigmoid_logits teacher_probabilities")
    ] = 0.0
    neighbours: Annotated[
        float, Weight, Term("neighbours.neighbour_loss", "image teacher_image others neighbours_scale same")
    ] = 0.0
    contrastive: Annotated[
        float,
        Weight,
        Term("alignment.contrastive_loss", "image caption logit_scale phase=phase alpha=alpha beta=hard_negatives"),
    ] = 0.0
    temperatures: tuple[tuple[int, float], ...] = ((0, 4.0), (10, 2.0))
    unit_scale: Annotated[float, Range(0.0, above=True)] = 10.0
    bank_sample: int | None = None
    neighbours_scale: Annotated[float, Range(0.0, above=True)] = 30.0
    neighbours_bank: Annotated[int, Range(0)] = 0
    softened: bool = False
    alpha: Share = 0.2
    smoothing_from: float = 0.33
    weighting_from: float = 0.66
    hard_negatives: Annotated[float, Range(0.0)] = 0.0
    affinity_scale: Annotated[float | None, Range(0.0, above=True)] = None
    teacher_scales: Annotated[tuple[float, ...], Range(0.0, above=True)] = ()
    both_captions: bool = False
    learn_scale: bool = True

    def __post_init__(self) -> None:
        check_ranges(self)
        self.check_weights()
        starts = [start for start, _ in self.temperatures]
        if not starts or starts[0] != 0 or sorted(set(starts)) != starts:
            raise UsageError(f"temperatures start at the epochs {starts}; they must rise from 0.")
        if min(value for _, value in self.temperatures) <= 0.0:
            raise UsageError("temperatures must be above 0.")
        if self.bank_sample is not None and self.bank_sample < 2:
            raise UsageError(f"bank_sample is {self.bank_sample}; an image needs at least 2 texts to choose among.")
        if (self.affinity_scale is not None or self.teacher_scales) and not self.affinity:
            raise UsageError("affinity_scale and teacher_scales need an affinity above 0: no other loss has them.")
        if self.affinity_scale is not None and self.teacher_scales:
            raise UsageError("affinity_scale and teacher_scales both set the teachers' scales; choose one.")
        if self.softened and self.hard_negatives:
            raise UsageError("softened and hard_negatives both change the contrastive term; choose one.")
        _check_phases(self.smoothing_from, self.weighting_from)

    @property
    def needs_captions(self) -> bool:
        """Whether a loss compares an image with its own caption."""
        return bool(self.using("caption"))

    @property
    def needs_texts(self) -> bool:
        """Whether a loss compares images with texts."""
        return bool(self.using("caption", *AFFINITIES, "logit_scale"))

    def temperature(self, epoch: int) -> float:
        """The temperature of KLD + L1 in an epoch."""
        return next(value for start, value in reversed(self.temperatures) if epoch >= start)


@dataclass(frozen=True, kw_only=True)
class PairOptions(TextAugmentation, TermTable):
    """The recipe's ``[pairs]`` table; ``synonym``, ``swap``, ``delete`` and ``synonyms`` are ``TextAugmentation``'s.

    Attributes:
        student: The image tower: a student's name or file.
        text: The text tower: a name or a file.
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
        phrase_labels: How many of the captions' most common two-word phrases are labels beside the words. They show a
            small model which thing has which colour, if each is seen often. The importance of each label is counted on
            10,000 captions; one that none of them has counts nothing.
        alpha: Share of the negatives, once labels are soft.
        smoothing_from: Share of the training after which labels are smoothed (``r₁``).
        weighting_from: Share of the training after which negatives are weighted (``r₂``).
        masked: Share of a caption's tokens that are masked.
        same_captions: Take every image with the same caption as right for it, see
            :func:`~mobileclip_kit.losses.alignment.alignment_loss`.
        word_classes: Words that may replace each other, class by class, for hard negatives; none leaves them out, see
            :func:`~mobileclip_kit.distillation.captions.wrong_caption`.
        wrong_captions: How many hard negatives each image gets at most.
        known_phrases: Take a hard negative only if every two neighbouring words of it are neighbours in some caption.
            Otherwise combinations that no caption has would be learned as wrong for every image.
    """

    student: str = "resnet18"
    text: str = "text-8"
    embedding_dim: Annotated[int, Range(1)] = 512
    image_size: int | None = None
    trim_vocab: bool = False
    stored: Literal["float32", "float16"] = "float32"
    logit_scale: Annotated[float, Range(1.0, MAX_LOGIT_SCALE)] = 1 / 0.07
    losses: tuple[LightClipLoss, ...] = ("align", "tokens", "mlm")
    align_weight: Annotated[
        float,
        Weight,
        Term(
            "alignment.alignment_loss",
            "image caption logit_scale phase=phase alpha=alpha same=same negatives=negatives",
        ),
    ] = 0.8
    tokens_weight: Annotated[float, Weight, Term("token_matching.token_matching_loss", "*projected is_word")] = 0.1
    mlm_weight: Annotated[float, Weight, Term("masked_language.masked_language_loss", "*masked")] = 0.1
    words_weight: Annotated[
        float, Weight, Term("caption_words.caption_words_loss", "word_logits *word_labels importance")
    ] = 0.0
    phrase_labels: Annotated[int, Range(0)] = 0
    alpha: Share = 0.2
    smoothing_from: float = 0.33
    weighting_from: float = 0.66
    masked: Annotated[float, Range(0.0, 1.0, above=True)] = 0.15
    same_captions: bool = False
    word_classes: tuple[tuple[str, ...], ...] = ()
    wrong_captions: Annotated[int, Range(1)] = 1
    known_phrases: bool = False

    def __post_init__(self) -> None:
        check_ranges(self)
        self.check_weights()
        if self.phrase_labels and not self.words_weight:
            raise UsageError("phrase_labels needs a words_weight above 0: they are labels beside the words.")
        if "align" in self.losses and (self.same_captions or self.word_classes):
            raise UsageError(
                "same_captions and word_classes go with InfoNCE's hard labels; leave align out of the losses."
            )
        if not self.word_classes and (self.known_phrases or self.wrong_captions != 1):
            raise UsageError("known_phrases and wrong_captions need word_classes: wrong captions are made from these.")
        if any(len(set(words)) < 2 for words in self.word_classes):
            raise UsageError("Each of word_classes needs at least two words that may replace each other.")
        _check_phases(self.smoothing_from, self.weighting_from)

    def weighted(self) -> Iterator[tuple[str, float, Term]]:
        """The losses that are on: LightCLIP's own must be listed, too."""
        off = {"tokens", "mlm"}.difference(self.losses)
        return (row for row in super().weighted() if row[0] not in off)


def _check_phases(first: float, second: float) -> None:
    if not 0.0 <= first <= second <= 1.0:
        raise UsageError(f"smoothing_from and weighting_from are {first} and {second}; they must be in order in 0…1.")


# Objective → its table, which has the same name in the recipe.
OBJECTIVES: dict[str, type[Any]] = {"mixture": MixtureOptions, "pairs": PairOptions}
