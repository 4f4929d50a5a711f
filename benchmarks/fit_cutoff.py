"""Fits the network that turns a hit's features into a confidence: ``mobileclip_kit/confidence/scorer.json``.

    python benchmarks/fit_cutoff.py MODEL ... [-o FILE] [--vectors FOLDER]

The scenes and queries are those of ``cutoff.py`` with other seeds, libraries of 250 to 1,000 images, with and without
the background texts that name a query's kind. Hits of queries without an answer count more while the network is fitted,
since each of them is shown where there is none. Scale and offset of its logit are fitted afterwards, with queries that
have an answer and queries that have none in equal shares, so that the confidence is a probability.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cutoff import KEPT, UNANSWERED, Hits, background_of, first_hits, libraries, without
from harness import HERE, parse
from torch.nn import functional as F  # noqa: N812

from mobileclip_kit import formats
from mobileclip_kit.confidence import scorer
from mobileclip_kit.confidence.bank import bank_texts
from mobileclip_kit.runtime.open import open_encoder
from mobileclip_kit.scenes.objects import KINDS

SEEDS, DRAWS, SIZES = (5, 6), (0, 1, 2, 3), (None, 500, None, 250)
HIDDEN, STEPS, BATCH, EASY, FIRST = 40, 2000, 4096, 20.0, 3.0
PLACE = HERE.parent / "mobileclip_kit" / "confidence" / "scorer.json"


def main() -> None:
    """Draw, encode, search, fit, write."""
    chosen = parse("models*", out=PLACE, vectors=None)
    hits = Hits()
    with tempfile.TemporaryDirectory() as folder:
        for model in chosen.models:
            collect(hits, Path(model), chosen.vectors or Path(folder))
    network = fit(hits)
    formats.write(chosen.out, network)
    print(f"{len(hits.right)} hits; line {network.line}")


def collect(hits: Hits, model: Path, kept: Path) -> None:
    """Add the features of one model's first hits."""
    encoder = open_encoder(model)
    bank = encoder.encode_texts(list(bank_texts()))
    number = hits.query[-1] + 1 if hits.query else 0
    for library in libraries(encoder, kept, SEEDS, DRAWS, SIZES):
        background = background_of(library, bank)
        unknown = {thing: without(background, thing) for thing in KINDS}
        vectors = encoder.encode_texts([query.text for query in library.queries])
        for query, vector in zip(library.queries, vectors, strict=True):
            rows = first_hits(library, query, vector)
            for texts in (background, unknown[query.thing]):
                found = scorer.features(texts, vector, library.vectors[rows])
                if found is not None:
                    hits.add(number, query, rows, found)
                    number += 1


def fit(hits: Hits) -> Any:
    """The network, as ``scorer.json`` describes it."""
    features, right = np.array(hits.values), np.array(hits.right)
    mean, scale = features.mean(axis=0), features.std(axis=0)
    inputs = torch.tensor(((features - mean) / scale).clip(-5, 5), dtype=torch.float32)
    wanted = torch.tensor(right, dtype=torch.float32)
    weights = torch.tensor(_weights(hits), dtype=torch.float32)
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Linear(inputs.shape[1], HIDDEN), torch.nn.Tanh(), torch.nn.Linear(HIDDEN, 1), torch.nn.Flatten(0)
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        batch = torch.randint(len(wanted), (BATCH,))
        loss = F.binary_cross_entropy_with_logits(network(inputs[batch]), wanted[batch], weights[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        logits = network(inputs).double()
    slope, offset = _calibrated(logits, wanted.double(), np.isin(hits.kind, UNANSWERED))
    probabilities = 1 / (1 + np.exp(-(slope * logits.numpy() + offset)))
    line = np.quantile(probabilities[right], 1 - KEPT)
    hidden, output = network[0], network[2]
    return scorer._Network(  # noqa: SLF001 (the one place that writes the file)
        mean=_rounded(mean),
        scale=_rounded(scale),
        hidden=tuple(_rounded(row) for row in hidden.weight.tolist()),
        hidden_bias=_rounded(hidden.bias.tolist()),
        output=_rounded(slope * np.array(output.weight.tolist()[0])),
        output_bias=round(slope * output.bias.item() + offset, 4),
        line=round(float(line), 2),
    )


def _weights(hits: Hits) -> Any:
    query, kind = np.array(hits.query), np.array(hits.kind)
    weights = np.where(kind == "easy", EASY, 1.0)
    weights[np.isin(kind, UNANSWERED) & (np.diff(query, prepend=-1) > 0)] *= FIRST
    return weights / weights.mean()


def _calibrated(logits: torch.Tensor, wanted: torch.Tensor, unanswered: Any) -> tuple[float, float]:
    """Slope and offset of the logit (Platt, 1999), with equal shares of queries with and without an answer."""
    weights = torch.tensor(np.where(unanswered, 0.5 / unanswered.sum(), 0.5 / (~unanswered).sum()))
    line = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([line], max_iter=100, line_search_fn="strong_wolfe")

    def step() -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(line[0] * logits + line[1], wanted, weights, reduction="sum")
        loss.backward()
        return loss

    optimizer.step(step)
    slope, offset = line.tolist()
    return slope, offset


def _rounded(values: Any) -> tuple[float, ...]:
    return tuple(round(float(value), 4) for value in values)


if __name__ == "__main__":
    main()
