"""Training-time branches merged into single layers, as MobileOne and RepViT do it (arXiv 2206.04040).

MobileCLIP's image towers are trained with parallel branches that one convolution can compute. Exports carry the merged
form: it computes the same and is several times faster on a phone.
"""

from __future__ import annotations

import copy

from timm.utils import reparameterize_model
from torch import nn


def reparameterize(tower: nn.Module) -> nn.Module:
    """A copy of a tower whose branches are merged; towers without branches are only copied."""
    merged = copy.deepcopy(tower).eval()
    # The copy is ours already: a second one would cost the tower's memory again.
    merged = reparameterize_model(merged, inplace=True)
    assert isinstance(merged, nn.Module)
    return merged.eval()
