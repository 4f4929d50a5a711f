"""What a precision costs in retrieval: how many captions still find their image.

The share of captions whose image is among the first 1, 5 and 10, and the mean of the three ("mean recall"), text to
image. A cosine of 0.99 may cost a search nothing or a lot; this is what a search notices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from mobileclip_kit.arrays import Ids, Pixels, Vectors
from mobileclip_kit.metrics import RECALL_DEPTHS, first_right_ranks
from mobileclip_kit.spec import Tower

# The image tower may use so much of the budget; the text tower is judged together with it.
_IMAGE_SHARE = 0.5


@dataclass(frozen=True)
class Captioned:
    """Images with captions, ready for both towers.

    Attributes:
        pixels: ``(n, height, width, 3)`` uint8.
        ids: ``(m, context)`` int64.
        image_of: For each caption its image's row, ``(m,)``.
        source: For the report: "200 images with 1000 captions of holiday.csv".
    """

    pixels: Pixels
    ids: Ids
    image_of: NDArray[np.int64]
    source: str


@dataclass(frozen=True)
class RecallBudget:
    """How much mean recall a precision may cost.

    Attributes:
        captioned: What recall is measured on.
        max_drop: Greatest loss, 0…1.
    """

    captioned: Captioned
    max_drop: float


class RecallJudge:
    """Measures candidates for one tower, the other tower's vectors held fixed.

    Args:
        budget: The images, the captions and the greatest loss.
        images: The float32 model's vectors of the images, ``(n, d)``.
        texts: The float32 model's vectors of the captions, ``(m, d)``.
    """

    def __init__(self, budget: RecallBudget, images: Vectors, texts: Vectors) -> None:
        self.budget = budget
        self._images, self._texts = images, texts
        self.before = self.measure()

    def accepts(self, tower: Tower, run: Callable[[onnx.ModelProto], Vectors], model: onnx.ModelProto) -> bool:
        """Whether a candidate's vectors keep the budget; ``run`` executes it on the tower's inputs."""
        vectors = run(model)
        images, texts = (vectors, self._texts) if tower == "image" else (self._images, vectors)
        found = mean_recall(images, texts, self.budget.captioned.image_of)
        return self.before - found <= self.budget.max_drop * (_IMAGE_SHARE if tower == "image" else 1.0)

    def measure(self) -> float:
        """Mean recall with the vectors that are held now."""
        return mean_recall(self._images, self._texts, self.budget.captioned.image_of)

    def keep(self, tower: Tower, vectors: Vectors) -> None:
        """Go on with a finished tower's vectors in place of the model's."""
        if tower == "image":
            self._images = vectors
        else:
            self._texts = vectors


def mean_recall(images: Vectors, texts: Vectors, image_of: NDArray[np.int64]) -> float:
    """Mean of recall at 1, 5 and 10, text to image.

    Args:
        images: Unit rows, ``(n, d)``.
        texts: Unit rows, ``(m, d)``.
        image_of: For each text its image's row, ``(m,)``.

    Returns:
        0…1. Equal scores count as ranked behind: vectors that collapsed into one find nothing.
    """
    ranks = first_right_ranks(texts, images, image_of[:, None], ties_behind=True)
    return float(np.mean([(ranks < k).mean() for k in RECALL_DEPTHS]))
