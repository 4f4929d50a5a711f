"""Models with the vocabulary that they need: fewer pieces, the same splitting of the wanted texts, no text refused.

The standard table alone is 25 MB at width 128. See "Tokenizer and trimmed vocabularies" in docs/architecture.md.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from mobileclip_kit.errors import ModelError
from mobileclip_kit.networks.model import Model, build_network, describe
from mobileclip_kit.tokenizer import Tokenizer, trim_merges, write_merges


def trim_vocabulary(model: Model, texts: Iterable[str], merges: Path) -> Model:
    """Cut a model's embedding table down to the pieces of some texts and the bytes that any other text falls back on.

    Vectors of texts that are made of these pieces stay bit by bit the same.

    Args:
        model: With CLIP's tokenizer, standard or trimmed already; it stays as it is.
        texts: All that should split as before.
        merges: Where the trimmed ``merges.txt`` is written.

    Raises:
        ModelError: The model has no text tower, or one with another kind of tokenizer.
    """
    if model.spec.text is None:
        raise ModelError(f"{model.spec.name} has no text tower whose vocabulary could be trimmed.")
    tokenizer = Tokenizer.for_spec(model.spec.text, model.tokenizer_file)
    kept, rows = trim_merges(texts, tokenizer)
    state = model.network.state_dict()
    tables = [name for name in state if name.endswith("token_embedding.weight")]
    if len(tables) != 1:
        raise ModelError(f"{model.spec.name} has no embedding table of CLIP's kind.")
    config = copy.deepcopy(model.config)
    config["model_cfg"]["text_cfg"]["vocab_size"] = len(rows)
    state[tables[0]] = state[tables[0]][torch.from_numpy(rows)].clone()
    network: nn.Module = build_network(config["model_cfg"])
    network.load_state_dict(state)
    write_merges(merges, kept)
    spec = describe(model.spec.name, network, config)
    spec = replace(spec, provenance={**model.spec.provenance, "vocabulary_of": model.spec.model_hash})
    return Model(network, config, spec, merges)
