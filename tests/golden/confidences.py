"""``confidence/``: background texts, an index, and how sure the hits of some queries are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from mobileclip_kit.confidence.background import BACKGROUND_FILE, Background
from mobileclip_kit.confidence.bank import bank_sha256, bank_texts
from mobileclip_kit.confidence.scorer import confidences, features
from mobileclip_kit.index.folder import IndexReader
from mobileclip_kit.index.phone import PhoneIndex
from mobileclip_kit.index.phone_format import PhoneHeader
from mobileclip_kit.index.phone_writer import write_phone_index
from mobileclip_kit.search.queries import combine, parse_query
from mobileclip_kit.web.ranking import Ranking
from tests.confidence.words import DIM, WordEncoder, make_word_index

QUERIES = ("a dog", "a banana", "a horse", "a piano", "dog -cat", "a white horse", "a photo of a cow", "the word bird")
INDEX_FILE = "library.mckitidx"
HITS = 25


def make_confidences(folder: Path, work: Path, model_hash: str) -> None:
    """Write the folder.

    Args:
        folder: The folder.
        work: An empty folder for files that are not kept.
        model_hash: Of the made-up model.
    """
    folder.mkdir(exist_ok=True)
    with IndexReader(make_word_index(work / "index")) as index:
        items = [(item.name, item.row) for item in index.store.items() if item.row is not None]
        names, rows = [name for name, _ in items], index.vectors([row for _, row in items])
    header = PhoneHeader(DIM, "float16", model_hash)
    write_phone_index(folder / INDEX_FILE, header, [(names, rows, [0] * len(names))], force=True)
    # Few enough texts for a test without optimisation.
    texts = [*bank_texts()[::10], "a dog", "a cat", "a horse", "a cow", "a white horse", "a photo of a dog"]
    stored = PhoneIndex(folder / INDEX_FILE).vectors()
    about = {"model_hash": model_hash, "bank": bank_sha256(texts), "images": len(names), "generation": 0}
    background = Background.measure(WordEncoder().encode_texts(texts), stored, rows=len(names), **about)
    background.write(folder / BACKGROUND_FILE)
    queries = [_query(text, background, stored) for text in QUERIES]
    # No text is near to the direction in which the texts differ least.
    far = np.linalg.svd(background.texts.astype(np.float64))[2][-1].astype(np.float32)
    assert confidences(background, far, stored[:3]) is None
    lines = ",\n".join(json.dumps(query, separators=(",", ":")) for query in queries)
    text = f'{{"far": {json.dumps(far.tolist())},\n"queries": [\n{lines}\n]}}\n'
    (folder / "confidences.json").write_text(text, encoding="ascii")


def _query(text: str, background: Background, stored: np.ndarray[Any, Any]) -> dict[str, Any]:
    terms = parse_query(text)
    vector = combine([term.weight for term in terms], WordEncoder().encode_texts([term.text for term in terms]))
    order = np.argsort(-(stored @ vector), kind="stable")[:100]
    sure, found = confidences(background, vector, stored[order]), features(background, vector, stored[order])
    assert sure is not None and found is not None
    return {
        "text": text,
        "vector": vector.tolist(),
        "rows": order.tolist(),
        "features": [[round(float(value), 4) for value in row] for row in found[:HITS]],
        "confidences": [round(float(value), 5) for value in sure],
        "certain": Ranking(order, None, len(order), True, sure).certain,
    }
