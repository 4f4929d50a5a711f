"""Parts that exist in training only: LightCLIP's image-helped language modelling and its token projections.

LightCLIP (arXiv 2312.00674), sections 3.2 and 3.3. They live beside the model, not in it, so that what is saved and
exported never has them: neither the mask token, which CLIP's vocabulary lacks, nor the convolutions that bring image
features to the text's width.

Our reading: an image's grid of features is laid out in a row and averaged to as many cells as the text has tokens,
each cell is added to one token, and attention spreads it; the masked text is read in both directions, since a caption's
first word could not be told from what precedes it; and the predictor shares the embedding table, as BERT's does.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from mobileclip_kit.networks.stages import STAGES, ImageStages, TextStream

# Counted from 0: image features of the second and third stage are added after the text's second and third.
_FUSED = (1, 2)


class MaskedLanguage(nn.Module):
    """Predicts masked tokens, from the text alone and from the text fused with its image.

    Args:
        text: The text transformer, whose layers and embedding table it uses; they stay the network's own.
        channels: Of the image tower's four stages.
    """

    def __init__(self, text: TextStream, channels: tuple[int, ...]) -> None:
        super().__init__()
        width = text.width
        self._text = text
        self.mask_token = nn.Parameter(torch.randn(width) * 0.02)
        self.bring = nn.ModuleList(nn.Conv2d(channels[stage], width, 3, padding=1) for stage in _FUSED)
        self.predict = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
        self.bias = nn.Parameter(torch.zeros(text.embedding.num_embeddings))

    @property
    def mask_id(self) -> int:
        """The mask token's identifier: one past the vocabulary."""
        return self._text.embedding.num_embeddings

    def forward(self, masked: Tensor, is_token: Tensor, wanted: Tensor, image: ImageStages) -> tuple[Tensor, Tensor]:
        """Logits of the tokens to be predicted.

        Args:
            masked: Identifiers with :attr:`mask_id` among them, ``(n, length)``.
            is_token: ``(n, length)`` bool, False for padding.
            wanted: ``(n, length)`` bool: which are to be predicted.
            image: The images' stages.

        Returns:
            From the text alone, and fused: each ``(wanted tokens, vocabulary)``.
        """
        text = self._text
        table = torch.cat([text.embedding.weight, self.mask_token[None]])
        mask = text.both_ways_mask(is_token)
        hidden = text.run(text.embed(F.embedding(masked, table)), range(_FUSED[0] + 1), mask)
        alone = text.run(hidden, range(_FUSED[0] + 1, STAGES), mask)
        fused = hidden + self._image_tokens(image, 0, masked.shape[1])
        fused = text.run(fused, (_FUSED[1],), mask) + self._image_tokens(image, 1, masked.shape[1])
        fused = text.run(fused, range(_FUSED[1] + 1, STAGES), mask)
        return self._logits(alone, wanted), self._logits(fused, wanted)

    def _image_tokens(self, image: ImageStages, place: int, length: int) -> Tensor:
        grid = self.bring[place](image.grids[_FUSED[place]])  # (n, width, height, width)
        return F.adaptive_avg_pool1d(grid.flatten(2), length).transpose(1, 2)  # (n, length, width)

    def _logits(self, hidden: Tensor, wanted: Tensor) -> Tensor:
        predicted = self.predict(self._text.normed(hidden)[wanted])  # (wanted, width)
        return F.linear(predicted, self._text.embedding.weight, self.bias)


class TokenProjection(nn.Module):
    """Brings last-stage patches to the words' width, for the token-level matching; words stay as they are.

    Args:
        image_channels: Of the image tower's last stage.
        text_width: Of the text transformer.
    """

    def __init__(self, image_channels: int, text_width: int) -> None:
        super().__init__()
        self.patches = nn.Linear(image_channels, text_width, bias=False)

    def forward(self, grid: Tensor) -> Tensor:
        """Patches, ``(n, patches, text width)``.

        Args:
            grid: The image tower's last stage, ``(n, channels, height, width)``.
        """
        patches: Tensor = self.patches(grid.flatten(2).transpose(1, 2))
        return patches
