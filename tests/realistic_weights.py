"""Random weights with the properties of trained ones that make exports and inheritance hard.

Freshly initialised towers are harmless: every channel is about as large as the others, attention is uniform. In trained
ones a few residual channels are 50 to 200 times larger than the rest, most attention goes to one token that carries no
content (the sink), and vectors lie in a narrow cone. :func:`shape_like_trained` gives a network these properties and
returns what it measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mobileclip_kit.exporting.samples import draw_images
from mobileclip_kit.images import normalize
from mobileclip_kit.networks.families import encode_raw, encode_text_raw, image_tower, text_tower
from mobileclip_kit.networks.model import Model, build_network, describe
from mobileclip_kit.spec import ImageSpec

OUTLIERS, OUTLIER_FACTOR, SINK_SHARE, CONE = 3, 100.0, 0.6, 0.65


@dataclass(frozen=True)
class TowerFacts:
    """What a tower's activations and vectors are like.

    Attributes:
        outlier_factor: Largest channel of a residual stream, as a multiple of the median channel's root mean square.
        sink_share: Mean share of the first token in the attention; None where there is no attention with a sink.
        mean_cosine: Between the vectors of distinct inputs.
        largest: Largest absolute activation.
    """

    outlier_factor: float
    sink_share: float | None
    mean_cosine: float
    largest: float


def realistic_model(config: dict[str, Any], *, seed: int = 0, inputs: int = 24, logit_scale: float = 100.0,
                    logit_bias: float | None = None) -> tuple[Model, dict[str, TowerFacts]]:  # fmt: skip
    """A model of an open_clip configuration with weights shaped like trained ones, and the facts of each tower."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: Any = build_network(config["model_cfg"])
        image = ImageSpec.from_open_clip(config["preprocess_cfg"])
        pixels = normalize(draw_images(image, count=inputs, seed=seed + 1).pixels, image)
        facts = {"image": shape_like_trained(network, "image", torch.from_numpy(pixels))}
        if "vocab_size" in config["model_cfg"]["text_cfg"]:
            facts["text"] = shape_like_trained(network, "text", random_tokens(inputs, config["model_cfg"]["text_cfg"]))
    with torch.no_grad():
        network.logit_scale.fill_(math.log(logit_scale))
        if logit_bias is not None:
            network.logit_bias.fill_(logit_bias)
    model = Model(network.eval(), config, describe("realistic", network, config))
    if "text" not in facts:
        model.spec = replace(model.spec, text=None)
    return model, facts


def random_tokens(count: int, text_cfg: dict[str, Any]) -> Tensor:
    """Identifiers of texts of different lengths, start and end token included."""
    length, rows = int(text_cfg["context_length"]), int(text_cfg["vocab_size"])
    ids = torch.zeros(count, length, dtype=torch.long)
    for row in range(count):
        words = min(length - 2, 3 + row % 6)
        ids[row, 0], ids[row, words + 1] = rows - 2, rows - 1
        ids[row, 1 : words + 1] = torch.randint(1, rows - 2, (words,))
    return ids


@torch.no_grad()
def shape_like_trained(network: nn.Module, tower: str, inputs: Tensor) -> TowerFacts:
    """Change a tower's weights in place, see the module's text.

    Args:
        network: A network of open_clip's, with random weights.
        tower: ``image`` or ``text``.
        inputs: Normalised images or identifiers, on which norms are calibrated and facts measured.
    """
    holder, encode = (image_tower, encode_raw) if tower == "image" else (text_tower, encode_text_raw)
    parts: Any = holder(network)
    if tower == "text" and hasattr(parts, "visual"):  # open_clip's CLIP: the network itself holds the text tower
        modules = [parts.transformer, parts.ln_final]
    else:
        modules = [parts]
    blocks = [part for module in modules for part in module.modules() if is_block(part)]
    norms = [part for module in modules for part in module.modules() if isinstance(part, nn.LayerNorm)]
    if blocks:
        marker = mark_first_token(parts, tower)
        add_outliers(blocks, network, encode, inputs)
        for block in blocks:
            attend_to_marker(attention_of(block), marker, tokens=tokens_of(parts, inputs, tower))
        calibrate(norms, network, encode, inputs)
    scale_convolutional_outliers(parts)
    calibrate_batch_norms(parts, network, encode, inputs)
    move_into_cone(network, parts, tower, encode, inputs)
    return measure(network, parts, tower, encode, inputs, blocks)


def is_block(part: nn.Module) -> bool:
    """Whether a module is a pre-norm transformer block of open_clip or timm."""
    return hasattr(part, "mlp") and hasattr(part, "attn") and (hasattr(part, "ln_1") or hasattr(part, "norm1"))


def attention_of(block: Any) -> Any:
    """Its attention: torch's, or timm's with one product for query, key and value."""
    return block.attn


def last_linear(block: Any) -> nn.Linear:
    """What writes the block's hidden activations back."""
    return block.mlp.c_proj if hasattr(block.mlp, "c_proj") else block.mlp.fc2  # type: ignore[no-any-return]


def tokens_of(parts: Any, inputs: Tensor, tower: str) -> int:
    """How many tokens an attention compares at most."""
    if tower == "text":
        return int(inputs.shape[1])
    table = positions_of(parts)
    return int(table.shape[-2])


def positions_of(parts: Any) -> Tensor:
    """The table of positions, ``(…, tokens, width)``."""
    trunk = getattr(parts, "trunk", parts)
    return getattr(trunk, "pos_embed", None) if hasattr(trunk, "pos_embed") else trunk.positional_embedding


def mark_first_token(parts: Any, tower: str) -> int:
    """Give the first token a channel of its own, by which attention finds it; returns the channel."""
    table = positions_of(parts)
    marker = int(table.shape[-1]) - 1
    table[..., marker] = 0.0
    table[..., 0, marker] = 30.0 * float(table.std())
    return marker


@contextmanager
def watched(parts: Sequence[nn.Module], look: Any, *, before: bool = False) -> Iterator[None]:
    """Call ``look(part, tensor)`` with what enters or leaves the parts."""
    hooks = [
        part.register_forward_pre_hook(lambda p, i: look(p, i[0])) if before
        else part.register_forward_hook(lambda p, i, o: look(p, o[0] if isinstance(o, tuple) else o))
        for part in parts
    ]  # fmt: skip
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def add_outliers(blocks: Sequence[Any], network: nn.Module, encode: Any, inputs: Tensor) -> None:
    """Let an early block write a large constant into a few channels; nothing takes it away again."""
    sizes = list[float]()
    block = blocks[len(blocks) // 4]
    with watched([blocks[-1]], lambda part, values: sizes.append(float(values.abs().median()))):
        encode(network, inputs)
    signs = torch.tensor([1.0, -1.0] * OUTLIERS)[:OUTLIERS]
    last_linear(block).bias[:OUTLIERS] += signs * OUTLIER_FACTOR * max(sizes[-1], 1e-3)


def attend_to_marker(attention: Any, marker: int, tokens: int) -> None:
    """Add to every query a direction that only the marked token's key has, and keep the marker out of the values."""
    fused = getattr(attention, "in_proj_weight", None)
    weight, bias = (fused, attention.in_proj_bias) if fused is not None else (attention.qkv.weight, attention.qkv.bias)
    width, heads = weight.shape[1], attention.num_heads
    size = width // heads
    # The logit that gives the first of the tokens its share of the attention; the others' logits vary by about 2.
    logit = math.log(SINK_SHARE / (1.0 - SINK_SHARE) * tokens) + 2.0
    strength = math.sqrt(logit * math.sqrt(size))
    direction = nn.functional.normalize(torch.randn(heads, size), dim=1).flatten()
    bias[:width] += strength * direction
    weight[:, marker] = 0.0
    weight[width : 2 * width, marker] = strength * direction


def calibrate(norms: Sequence[nn.LayerNorm], network: nn.Module, encode: Any, inputs: Tensor) -> None:
    """Weigh the channels after each norm as training does: ordinary ones at 1, outliers and the marker less."""

    def weigh(norm: Any, values: Tensor) -> None:
        rows = values.reshape(-1, values.shape[-1])
        scaled = (rows - rows.mean(1, keepdim=True)) / rows.std(1, keepdim=True, correction=0)
        size = scaled.square().mean(0).sqrt().clamp(min=1e-6)
        norm.weight.copy_((1.0 / size).clamp(max=300.0))
        norm.weight[:OUTLIERS] = 0.3 / size[:OUTLIERS]
        norm.weight[-1] = 1.0 / scaled[:, -1].abs().max().clamp(min=1e-6)

    with watched(norms, weigh, before=True):
        encode(network, inputs)


def scale_convolutional_outliers(parts: Any) -> None:
    """Make a few channels of convolutional residual streams large, by the norms or scales that write into them."""
    for name, part in parts.named_modules():
        if isinstance(part, nn.BatchNorm2d):
            part.weight.copy_(torch.empty_like(part.weight).uniform_(0.5, 1.5))
            part.bias.copy_(0.3 * torch.randn_like(part.bias))
            if name.endswith("bn3"):  # open_clip starts residual branches at 0
                part.weight[:OUTLIERS] *= OUTLIER_FACTOR
        gamma = getattr(part, "gamma", None)
        if isinstance(gamma, nn.Parameter):  # timm's layer scale starts at 1e-5
            gamma.fill_(0.3)
            gamma[:OUTLIERS] = 0.3 * OUTLIER_FACTOR


def calibrate_batch_norms(parts: Any, network: nn.Module, encode: Any, inputs: Tensor) -> None:
    """Running statistics as training leaves them."""
    norms = [part for part in parts.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    if norms:
        encode(network, inputs)
    for norm in norms:
        norm.momentum = 0.1
        norm.eval()


def output_bias(network: Any, parts: Any, tower: str) -> tuple[Tensor, Tensor | None]:
    """The last bias before the vectors, and the matrix that its change passes to become theirs."""
    if tower == "text":
        projection = parts.text_projection
        return parts.ln_final.bias, projection.weight.T if isinstance(projection, nn.Linear) else projection
    trunk, head = getattr(parts, "trunk", None), getattr(parts, "head", None)
    if trunk is None:
        return (parts.ln_post.bias, parts.proj) if hasattr(parts, "ln_post") else (parts.attnpool.c_proj.bias, None)
    if head is not None and len(head):
        return head.proj.bias, None
    pool = getattr(trunk, "attn_pool", None)
    return (pool.mlp.fc2.bias if pool is not None else trunk.get_classifier().bias), None


def move_into_cone(network: nn.Module, parts: Any, tower: str, encode: Any, inputs: Tensor) -> None:
    """Replace the mean of the vectors by one with which the mean cosine of two of them is :data:`CONE`."""
    vectors = encode(network, inputs).double()
    middle = vectors.mean(0)
    spread = (vectors - middle).square().sum(1).mean()
    wanted = nn.functional.normalize(torch.randn_like(middle), dim=0) * (spread * CONE / (1.0 - CONE)).sqrt()
    bias, matrix = output_bias(network, parts, tower)
    change = wanted - middle if matrix is None else (wanted - middle) @ torch.linalg.pinv(matrix.double())
    bias += change.to(bias.dtype)


def measure(network: nn.Module, parts: Any, tower: str, encode: Any, inputs: Tensor,
            blocks: Sequence[Any]) -> TowerFacts:  # fmt: skip
    """The facts, on the same inputs."""
    factors, shares, largest = list[float](), list[float](), list[float]()

    def look(part: Any, values: Tensor) -> None:
        largest.append(float(values.abs().max()))
        axes = (0, 2, 3) if values.ndim == 4 else tuple(range(values.ndim - 1))
        size = values.square().mean(axes).sqrt()
        factors.append(float(size.max() / size.median().clamp(min=1e-6)))

    def attend(part: Any, values: Tensor) -> None:
        shares.append(first_token_share(attention_of(part), normed(part, values)))

    streams = list(blocks) or [
        part for part in parts.modules() if type(part).__name__ in ("Bottleneck", "RepMixerBlock")
    ]
    with watched(streams, look), watched(blocks, attend, before=True):
        vectors = nn.functional.normalize(encode(network, inputs), dim=1)
    count = len(vectors)
    cosine = float(((vectors @ vectors.T).sum() - count) / (count * (count - 1)))
    share = float(np.mean(shares)) if shares else None
    return TowerFacts(max(factors[len(factors) // 4 :]), share, cosine, max(largest))


def normed(block: Any, values: Tensor) -> Tensor:
    """What a block's attention reads."""
    norm = block.ln_1 if hasattr(block, "ln_1") else block.norm1
    return norm(values)  # type: ignore[no-any-return]


def first_token_share(attention: Any, values: Tensor) -> float:
    """Mean share of the first token in the attention of the last one, which sees all others."""
    fused = getattr(attention, "in_proj_weight", None)
    weight, bias = (fused, attention.in_proj_bias) if fused is not None else (attention.qkv.weight, attention.qkv.bias)
    width, heads = weight.shape[1], attention.num_heads
    product = values @ weight[: 2 * width].T + bias[: 2 * width]
    query, key = product.view(*values.shape[:2], 2, heads, width // heads).permute(2, 0, 3, 1, 4)
    logits = query[:, :, -1:] @ key.transpose(-1, -2) / math.sqrt(width // heads)
    return float(logits.softmax(-1)[..., 0].mean())
