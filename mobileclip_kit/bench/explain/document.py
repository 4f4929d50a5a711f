"""What ``mckit bench --explain`` adds to the bench's document and to the folder of its report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.bench.examples import ImageRows
from mobileclip_kit.bench.explain.explanation import GRAD_CAM_FILE, MAP_FILE, Explanation, explain
from mobileclip_kit.bench.explain.gallery import short
from mobileclip_kit.bench.page import Thumbnail
from mobileclip_kit.bench.quality import Gallery
from mobileclip_kit.errors import MckitError

FOLDER = "explain"
_KEYS = {GRAD_CAM_FILE: "grad_cam", MAP_FILE: "tsne"}


def explain_for_report(
    name: str,
    gallery: Gallery,
    source: Path,
    report: Path,
    *,
    ask: Sequence[str] = (),
    teacher: str | None = None,
    queries: Vectors | None = None,
) -> tuple[dict[str, Any], ImageRows]:
    """Fill ``explain/`` in a report's folder; a model that fails is stated and leaves the rest of the report as it is.

    Args:
        name: A model folder or open_clip name.
        gallery: Images.
        source: Where they come from.
        report: The folder, which exists.
        ask: See :func:`.explanation.explain`.
        teacher: See there.
        queries: See there.

    Returns:
        The document's ``explain`` (``model``; ``grad_cam`` and ``tsne``: files in the report's folder, or None;
        ``examples``; ``skipped``), and what each text finds, for the page.
    """
    folder = report / FOLDER
    folder.mkdir()
    try:
        done = explain(name, gallery, source, folder, ask=ask, teacher=teacher, queries=queries)
    except MckitError as error:
        lost = [{"item": item, "reason": str(error)} for item in _KEYS]
        return {"model": _short(name), **dict.fromkeys(_KEYS.values()), "examples": [], "skipped": lost}, []
    rows = [
        (one.text, [Thumbnail(gallery.paths[row], f"{cosine:.3f}") for row, cosine in one.hits])
        for one in done.examples
    ]
    return _document(_short(name), done, gallery), [(short(text, 100), images) for text, images in rows]


def _document(name: str, done: Explanation, gallery: Gallery) -> dict[str, Any]:
    return {
        "model": name,
        **{key: f"{FOLDER}/{file}" if file in done.figures else None for file, key in _KEYS.items()},
        "examples": [
            {
                "text": one.text,
                "hits": [
                    {"rank": rank, "item": gallery.keys[row], "score": cosine}
                    for rank, (row, cosine) in enumerate(one.hits, start=1)
                ],
            }
            for one in done.examples
        ],
        "skipped": [asdict(left) for left in done.skipped],
    }


def _short(name: str) -> str:
    """The name that the model has in the bench's table."""
    path = Path(name)
    return path.resolve().name if path.exists() else name
