"""Text towers compute no more tokens than the vectors depend on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mobileclip_kit.networks.families import encode_text_raw, text_tower, used_length
from mobileclip_kit.networks.model import build_network

CONTEXT, END = 16, 99
VISION = {"image_size": 16, "patch_size": 8, "width": 16, "head_width": 8, "layers": 1}
TEXT: dict[str, Any] = {"context_length": CONTEXT, "vocab_size": 100, "width": 16, "heads": 2, "layers": 2}
CAUSAL = {
    "the network's own": {},
    "a linear projection": {"proj_type": "linear", "proj_bias": True},
    "the end token by its identifier": {"pool_type": "eos", "eos_id": END},
}
WHOLE = {
    "sees what comes behind": {"no_causal_mask": True},
    "reads out the last token": {"pool_type": "last"},
    "has a class token": {"embed_cls": True, "pool_type": "last"},
}


def network(text: dict[str, Any], *, custom: bool) -> Any:
    torch.manual_seed(0)
    config = {"embed_dim": 8, "vision_cfg": VISION, "text_cfg": TEXT | text}
    return build_network(config | ({"custom_text": True} if custom else {})).eval()


def rows(*lengths: int) -> Tensor:
    ids = torch.zeros(len(lengths), CONTEXT, dtype=torch.long)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.randint(1, END - 1, (length,), generator=torch.Generator().manual_seed(length))
        ids[row, length - 1] = END
    return ids


def tokens_computed(model: Any, ids: Tensor) -> int:
    seen: list[int] = []
    handle = text_tower(model).transformer.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[1]))
    encode_text_raw(model, ids)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("custom", [False, True])
@pytest.mark.parametrize("text", CAUSAL.values(), ids=CAUSAL)
def test_vectors_and_gradients_are_those_of_whole_rows(text: dict[str, Any], custom: bool) -> None:
    model, ids = network(text, custom=custom), rows(3, 9, 5)
    whole = model.encode_text(ids)
    short = encode_text_raw(model, ids)
    torch.testing.assert_close(short, whole, rtol=0, atol=1e-6)
    assert tokens_computed(model, ids) == 9
    direction = torch.randn(3, 8, generator=torch.Generator().manual_seed(1))
    gradients = []
    for vectors in (whole, short):
        model.zero_grad()
        (vectors * direction).sum().backward()
        gradients.append(
            {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}
        )
    assert gradients[0].keys() == gradients[1].keys()
    for name, value in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], value, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("text", WHOLE.values(), ids=WHOLE)
def test_towers_whose_vectors_depend_on_padding_get_whole_rows(text: dict[str, Any]) -> None:
    model, ids = network(text, custom=True), rows(3, 5)
    assert used_length(model, ids) == CONTEXT
    torch.testing.assert_close(encode_text_raw(model, ids), model.encode_text(ids).float())


def test_a_full_row_is_computed_to_its_end() -> None:
    model = network({}, custom=False)
    assert tokens_computed(model, rows(3, CONTEXT)) == CONTEXT
    assert used_length(model, rows(3)[:0]) == CONTEXT
