"""The mixture language: distillation as a weighted sum of terms. Each published recipe is one choice of weights.

- ``kld_l1`` (PicCollage 2021), ``mse`` and ``cosine`` draw the vectors of each trained tower to the first teacher's;
- ``affinity`` (TinyCLIP) mimics how alike all teachers together find images and texts;
- ``neighbours`` mimics which images the first teacher finds alike;
- ``contrastive`` (CLIP) tells each image's caption from the batch's others, without any teacher's help.

LightCLIP's softened labels and weighted hard negatives vary the contrastive term. What a term computes is in
:mod:`mobileclip_kit.losses`; :mod:`mobileclip_kit.distillation.mixture_objective` adds them up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mobileclip_kit.errors import UsageError
from mobileclip_kit.losses.alignment import phase_at

FEATURE_TERMS = ("kld_l1", "mse", "cosine")
TERMS = (*FEATURE_TERMS, "affinity", "neighbours", "contrastive")


@dataclass(frozen=True, kw_only=True)
class MixtureOptions:
    """The recipe's ``[mixture]`` table: the weight of each term, 0 where it is off, and how the terms are computed.

    Attributes:
        kld_l1: Weight of :func:`~mobileclip_kit.losses.feature.kld_l1_loss` on raw vectors.
        mse: Weight of :func:`~mobileclip_kit.losses.feature.mse_loss` on raw vectors.
        cosine: Weight of :func:`~mobileclip_kit.losses.feature.cosine_loss`.
        affinity: Weight of :func:`~mobileclip_kit.losses.affinity.affinity_loss`, on the text bank where one is given,
            else on captions.
        neighbours: Weight of :func:`~mobileclip_kit.losses.neighbours.neighbour_loss`.
        contrastive: Weight of InfoNCE between the student's images and captions.
        temperatures: ``(from_epoch, temperature)`` rows of KLD + L1, the first from epoch 0.
        unit_scale: What unit vectors of a teacher whose norms were not kept are multiplied by.
        bank_sample: Texts of the bank in a step, drawn anew each time; None takes all.
        neighbours_scale: Factor on the cosines between images.
        neighbours_bank: Images of the training set to choose among in a step; 0 takes the batch's own.
        softened: Soften the contrastive labels as LightCLIP does.
        alpha: What the negatives' labels get together, once they are soft.
        smoothing_from: Share of the training after which labels are smoothed.
        weighting_from: Share of the training after which negatives are weighted.
        hard_negatives: β of :func:`~mobileclip_kit.losses.hard_negatives.hard_negative_loss`; 0 takes all alike.
        learn_scale: Train the student's logit scale; otherwise it stays the first teacher's.
    """

    kld_l1: float = 0.0
    mse: float = 0.0
    cosine: float = 0.0
    affinity: float = 0.0
    neighbours: float = 0.0
    contrastive: float = 0.0
    temperatures: tuple[tuple[int, float], ...] = ((0, 4.0), (10, 2.0))
    unit_scale: float = 10.0
    bank_sample: int | None = None
    neighbours_scale: float = 30.0
    neighbours_bank: int = 0
    softened: bool = False
    alpha: float = 0.2
    smoothing_from: float = 0.33
    weighting_from: float = 0.66
    hard_negatives: float = 0.0
    learn_scale: bool = True

    def __post_init__(self) -> None:
        for name in (*TERMS, "hard_negatives"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise UsageError(f"{name} is {getattr(self, name)}; a weight must be at least 0.")
        if not any(getattr(self, name) for name in TERMS):
            raise UsageError(
                "Every weight is 0, so there is nothing to learn.", hint=f"Give a weight to one of {', '.join(TERMS)}."
            )
        starts = [start for start, _ in self.temperatures]
        if not starts or starts[0] != 0 or sorted(set(starts)) != starts:
            raise UsageError(f"temperatures start at the epochs {starts}; they must rise from 0.")
        if min(value for _, value in self.temperatures) <= 0.0 or self.unit_scale <= 0.0:
            raise UsageError("temperatures and unit_scale must be above 0.")
        if self.neighbours_scale <= 0.0 or self.neighbours_bank < 0:
            raise UsageError("neighbours_scale must be above 0 and neighbours_bank at least 0.")
        if self.bank_sample is not None and self.bank_sample < 2:
            raise UsageError(f"bank_sample is {self.bank_sample}; an image needs at least 2 texts to choose among.")
        if self.softened and self.hard_negatives:
            raise UsageError("softened and hard_negatives both change the contrastive term; choose one.")
        if not 0.0 <= self.alpha <= 1.0:
            raise UsageError(f"alpha is {self.alpha}; it must be in 0…1.")
        phase_at(0.0, first_share=self.smoothing_from, second_share=self.weighting_from)

    @property
    def needs_texts(self) -> bool:
        """Whether a term compares images with texts."""
        return self.affinity > 0.0 or self.contrastive > 0.0
