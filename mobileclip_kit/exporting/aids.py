"""What a tower is written with besides its network: inputs that precisions are fitted on, budgets, a ready export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.arrays import Ids, Pixels
from mobileclip_kit.exporting.folder import Export
from mobileclip_kit.exporting.ranges import Method
from mobileclip_kit.exporting.recall import RecallJudge
from mobileclip_kit.exporting.samples import ImageInputs, TextInputs, draw_images, spread, tokenize_texts
from mobileclip_kit.networks.model import Model
from mobileclip_kit.spec import Tower

# float16 is probed for overflow with so many inputs.
_PROBES = 4


@dataclass(frozen=True, kw_only=True)
class Aids:
    """Inputs that the reduced precisions are fitted with, and what they have to keep.

    Attributes:
        least_cosine: Of every vector to the model's.
        images: To probe the image tower with; None draws some.
        texts: To probe the text tower with; None takes built-in prompts.
        calibration: ImageInputs for int8 ranges.
        calibration_texts: Texts for them; None takes built-in prompts.
        method: How int8 ranges are chosen.
        judge: Keeps a budget of recall.
        measured: A folder with the sensitivities of an earlier int8 export; None measures them where they are needed.
        base: An export of the same model in its format's full precision, to start from in place of the network.
        ane: Take the Neural Engine's layout.
    """

    least_cosine: float
    images: ImageInputs | None = None
    texts: TextInputs | None = None
    calibration: ImageInputs | None = None
    calibration_texts: TextInputs | None = None
    method: Method = "minmax"
    judge: RecallJudge | None = None
    measured: Path | None = None
    base: Export | None = None
    ane: bool = False

    def probes(self, model: Model, tower: Tower) -> list[Mapping[str, NDArray[Any]]]:
        """A few inputs as a Core ML program takes them."""
        if tower == "image":
            images = self.images or draw_images(model.spec.require_image(), count=_PROBES)
            return [{"image": image[None]} for image in spread(list(images.pixels), _PROBES)]
        texts = self.texts or tokenize_texts(model, None, count=_PROBES)
        return [{"ids": row[None].astype(np.int32)} for row in spread(list(texts.ids), _PROBES)]

    def calibration_of(self, model: Model, tower: Tower) -> tuple[Pixels | Ids, str]:
        """What int8 ranges are observed on, and how the report calls it."""
        if tower == "image":
            assert self.calibration is not None, "checked before any work"
            return self.calibration.pixels, self.calibration.source
        prompts = self.calibration_texts or tokenize_texts(model, None)
        return prompts.ids, prompts.source
