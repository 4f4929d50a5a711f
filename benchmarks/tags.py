"""Precision and recall of `mckit tag` on synthetic scenes with exact truth.

    python benchmarks/tags.py [MODEL ...] [-o results/tags.json] [--vectors FOLDER]

MODEL has both towers and reads the words of the synthetic scenes; the bundled teacher unless given. The labels are the
forty kinds of things, and the combinations of kind and colour, with the template of `mckit tag`. An image is right for
a label if it shows such a thing, whatever else it shows; a written word is none. Eight kinds are removed from each set
of 1,000 scenes, so that labels without an image are asked for too. The scenes are those of ``cutoff.py``: of seeds that
the confidence was not fitted on. ``--vectors`` keeps the vectors for another run.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from cutoff import SEEDS, TEACHER, background_of, libraries
from harness import parse, write

from mobileclip_kit.confidence.bank import bank_texts
from mobileclip_kit.runtime.open import open_encoder
from mobileclip_kit.runtime.prompts import encode_prompts
from mobileclip_kit.scenes.objects import COLOURS, KINDS
from mobileclip_kit.tagging.request import MIN_CONFIDENCE, TEMPLATES
from mobileclip_kit.tagging.tagger import certain_rows

THRESHOLDS = (0.3, MIN_CONFIDENCE, 0.7, 0.9)
# Kinds of queries in cutoff.py, by the texts that ask for them.
LABELS = {"kinds": tuple(KINDS), "coloured kinds": tuple(f"{colour} {kind}" for kind in KINDS for colour in COLOURS)}


def main() -> None:
    """Draw, encode, tag, count."""
    chosen = parse("models*", out=Path("tags.json"), vectors=None)
    with tempfile.TemporaryDirectory() as folder:
        models = [measure(Path(model), chosen.vectors or Path(folder)) for model in chosen.models or [TEACHER]]
    write(chosen.out, {"seed": SEEDS[0], "templates": list(TEMPLATES), "models": models})


def measure(model: Path, kept: Path) -> dict[str, Any]:
    """The figures of one model."""
    encoder = open_encoder(model)
    library = next(libraries(encoder, kept, SEEDS[:1], (0,)))
    background = background_of(library, encoder.encode_texts(list(bank_texts())))
    index: Any = SimpleNamespace(matrix=library.vectors, vectors=lambda rows: library.vectors[rows])
    rows = np.arange(len(library.vectors))
    right = {
        query.text.split(" ", 1)[1]: query.right for query in library.queries if query.kind in ("thing", "coloured")
    }
    figures = {}
    for name, labels in LABELS.items():
        vectors = encode_prompts(encoder, labels, TEMPLATES)
        found = list(certain_rows(index, background, vectors, rows, min(THRESHOLDS)))
        wanted = sum(int(right[label].sum()) for label in labels if label in right)
        figures[name] = {"labels": len(labels), "labels_with_images": sum(label in right for label in labels)}
        for least in THRESHOLDS:
            figures[name][f"at_{least:.0%}"] = counted(labels, found, right, wanted, least)
    spec = encoder.spec
    return {"model": spec.name, "model_hash": spec.model_hash, "images": len(rows), "figures": figures}


def counted(labels: Any, found: Any, right: Any, wanted: int, least: float) -> dict[str, float]:
    """Precision and recall over all labels, and the share of labels without images that no image gets."""
    hits = tags = silent = empty = 0
    for label, answer in zip(labels, found, strict=True):
        rows = [] if answer is None else answer[0][answer[1] >= least]
        tags += len(rows)
        hits += int(right[label][rows].sum()) if label in right and len(rows) else 0
        empty += label not in right
        silent += label not in right and not len(rows)
    return {
        "tags": tags,
        "precision": round(hits / max(tags, 1), 3),
        "recall": round(hits / wanted, 3),
        "labels_without_images_and_tags": round(silent / max(empty, 1), 3),
    }


if __name__ == "__main__":
    main()
