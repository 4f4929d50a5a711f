"""What the towers compute on the way: four stages of an image tower, four of a text transformer.

LightCLIP (arXiv 2312.00674) splits its 8-layer text transformer evenly into as many stages as the image encoder has.
Our reading for other depths: stage ``k`` of a transformer with ``L`` layers ends after ``⌊k·L/4⌋`` of them, so stages
of a shorter one may be empty; convolutional towers have four stages of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from mobileclip_kit.errors import ModelError
from mobileclip_kit.networks.families import image_tower, text_tower

STAGES = 4


@dataclass(frozen=True)
class ImageStages:
    """An image tower's pass.

    Attributes:
        grids: The output of each stage, four of ``(n, channels, height, width)``.
        vectors: ``(n, d)``, as ``encode_image`` gives them, not normalised.
    """

    grids: tuple[Tensor, ...]
    vectors: Tensor


def image_stages(network: Any, images: Tensor) -> ImageStages:
    """Run an image tower once and keep what its stages gave.

    Args:
        network: An open_clip model.
        images: ``(n, 3, height, width)``, normalised.
    """
    seen = image_tower(network).forward_intermediates(images, output_fmt="NCHW")
    grids: list[Tensor] = seen["image_intermediates"]
    if all(grid.shape == grids[0].shape for grid in grids):  # a plain transformer: every layer gave one
        grids = [grids[max(0, stage * len(grids) // STAGES - 1)] for stage in range(1, STAGES + 1)]
    return ImageStages(tuple(grids[-STAGES:]), seen["image_features"])


class TextStream:
    """A text transformer that can be run stage by stage.

    It refers to the network's own layers: nothing is copied, and it has no weights of its own.

    Args:
        network: An open_clip model with CLIP's text transformer.

    Raises:
        ModelError: The text tower is of another kind.
    """

    def __init__(self, network: Any) -> None:
        tower = text_tower(network)
        if not hasattr(tower, "token_embedding") or getattr(tower, "text_pool_type", "argmax") != "argmax":
            raise ModelError(
                "Training from pairs needs CLIP's own text transformer, which takes the end token's output."
            )
        self._tower = tower

    @property
    def embedding(self) -> nn.Embedding:
        """The token embedding table."""
        table: nn.Embedding = self._tower.token_embedding
        return table

    @property
    def width(self) -> int:
        """Of the layers."""
        return int(self._tower.transformer.width)

    def embed(self, tokens: Tensor) -> Tensor:
        """Add positions to embedded tokens ``(n, length, width)``."""
        positions: Tensor = self._tower.positional_embedding[: tokens.shape[1]]
        return tokens + positions

    def run(self, hidden: Tensor, stages: Sequence[int], mask: Tensor | None) -> Tensor:
        """Run some stages.

        Args:
            hidden: ``(n, length, width)``.
            stages: From 0 to 3, in order.
            mask: Added to the attention's logits: ``(length, length)`` or ``(n · heads, length, length)``.
        """
        blocks = self._tower.transformer.resblocks
        for stage in stages:
            for block in blocks[stage * len(blocks) // STAGES : (stage + 1) * len(blocks) // STAGES]:
                hidden = block(hidden, attn_mask=mask)
        return hidden

    def causal_mask(self, length: int) -> Tensor:
        """Each token sees those before it, as at inference."""
        mask: Tensor = self._tower.attn_mask[:length, :length]
        return mask

    def both_ways_mask(self, is_token: Tensor) -> Tensor:
        """Each token sees all tokens of its text, ``(n · heads, length, length)``.

        Args:
            is_token: ``(n, length)`` bool, False for padding.
        """
        heads = int(self._tower.transformer.resblocks[0].attn.num_heads)
        hidden = torch.zeros(is_token.shape, device=is_token.device).masked_fill(~is_token, float("-inf"))
        length = is_token.shape[1]
        return hidden[:, None, None, :].expand(-1, heads, length, -1).reshape(-1, length, length)

    def last_stage(self, ids: Tensor) -> Tensor:
        """The causal pass of ``encode_text`` up to its final norm, ``(n, length, width)``."""
        hidden = self.embed(self.embedding(ids))
        return self.normed(self.run(hidden, range(STAGES), self.causal_mask(ids.shape[1])))

    def normed(self, hidden: Tensor) -> Tensor:
        """The tower's final norm."""
        normed: Tensor = self._tower.ln_final(hidden)
        return normed

    def pool(self, last: Tensor, ids: Tensor) -> Tensor:
        """Vectors of texts from their last stage, ``(n, d)``, not normalised. The end token has the greatest id."""
        ends = last[torch.arange(len(ids), device=ids.device), ids.argmax(dim=-1)]
        projection = self._tower.text_projection
        projected: Tensor = projection(ends) if isinstance(projection, nn.Linear) else ends @ projection
        return projected

    def encode(self, ids: Tensor, lengths: Tensor, *, groups: int = 3) -> Tensor:
        """Unit vectors of texts, the same as ``encode_text``'s, without computing padding.

        Args:
            ids: ``(n, context)``.
            lengths: Tokens of each, start and end included, ``(n,)``.
            groups: Texts of like length are computed together, in so many batches.
        """
        order = lengths.argsort()
        parts = []
        for rows in order.tensor_split(groups):
            if len(rows):
                short = ids[rows, : int(lengths[rows].max())]
                parts.append(self.pool(self.last_stage(short), short))
        vectors = torch.cat(parts)
        return F.normalize(vectors[order.argsort()], dim=-1)
