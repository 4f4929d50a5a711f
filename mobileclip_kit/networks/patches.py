"""Patch dropout: a vision transformer that sees a part of each image's patches in most steps.

A step costs about as much less as there are fewer patches, and the targets remain those of whole images: a student that
has to tell an image by half of it learns more from each step than the other half would have added (FLIP, arXiv
2212.00794). In the last tenth of the steps it sees whole images, as it will in use.
"""

from __future__ import annotations

from typing import Any

from timm.layers.patch_dropout import PatchDropout, PatchDropoutWithIndices
from torch import nn

from mobileclip_kit.errors import UsageError

_WHOLE_SHARE = 0.1


class Patches:
    """What an image tower sees of its patches; :meth:`restore` brings the tower back as it was.

    Args:
        visual: The image tower of an open_clip model, see :func:`mobileclip_kit.networks.families.image_tower`.
        share: Of the patches that are dropped, in 0…1.
        steps: Of the whole run.

    Raises:
        UsageError: The image tower is no vision transformer that can leave patches out.
    """

    def __init__(self, visual: Any, share: float, steps: int) -> None:
        trunk = getattr(visual, "trunk", None)
        # open_clip's transformer and timm's have a place for it before their first block.
        places = [(visual, "patch_dropout", 1), (trunk, "patch_drop", getattr(trunk, "num_prefix_tokens", 0))]
        found = next((place for place in places if hasattr(place[0], place[1])), None)
        if found is None:
            raise UsageError("patch_dropout needs a vision transformer as student, and this image tower is none.",
                             hint="Leave it out of the recipe.")  # fmt: skip
        self._holder, self._name, prefix = found
        self._before = getattr(self._holder, self._name)
        # Transformers with rotary positions have None there, and ask which patches were kept.
        asks = self._before is None or isinstance(self._before, PatchDropoutWithIndices)
        self._dropout: nn.Module = (PatchDropoutWithIndices if asks else PatchDropout)(share, num_prefix_tokens=prefix)
        self._until = steps - round(_WHOLE_SHARE * steps)

    def choose(self, step: int) -> None:
        """Drop patches in this step, or show whole images."""
        # A backbone that is held still was set to eval mode with all that is in it.
        setattr(self._holder, self._name, self._dropout.train() if step < self._until else self._before)

    def restore(self) -> None:
        """Show whole images."""
        setattr(self._holder, self._name, self._before)
