"""The effect of a textness scale on search results: the errors that it corrects, and its cost.

For every query, ``scale · b·x`` is added to the score of the image x, so a scale promotes or demotes images with words
equally for all queries. Results on images without words are therefore always reported beside the typographic ones. For
comparison: the same step on the image vectors, which the article tried and found worse, and projecting the textness
directions out of queries and images (after Materzyńska et al., CVPR 2022, who learn the subspace).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.errors import ShapeError
from mobileclip_kit.metrics import best_first
from mobileclip_kit.options import Option
from mobileclip_kit.textness.vector import Method, shift

# Steps of a quarter over the whole range, smaller ones below 1, where the query outweighs the textness vector.
SCALES = tuple(sorted({step / 4 for step in range(-12, 13)} | {step / 20 for step in range(-20, 21)}))
_DEPTH = 10
# The largest loss of precision@1 on images without words that a negative scale may cause.
CLEAN_DROP_ALLOWED = 0.01


@dataclass(frozen=True, kw_only=True)
class EvalRequest:
    """The arguments of ``mckit textness eval``."""

    scenes: Annotated[Path, Option("Drawn scenes.", names=("scenes",))]
    model: Annotated[str, Option("A model with both towers.", names=("-m", "--model"))]
    textness_vector: Annotated[Path, Option("From `mckit textness fit`.")]
    photos: Annotated[
        Path | None, Option("Your own photos, with or without captions: measure the effect of each scale on them.")
    ] = None
    method: Annotated[Method | None, Option("The direction to use, if not the one that the file selects.")] = None
    plot: Annotated[Path | None, Option("Write a plot to this .png file.")] = None
    threads: Annotated[int | None, Option("Threads of the model's runtime.", at_least=1)] = None


@dataclass(frozen=True)
class GalleryQueries:
    """Queries to a gallery and the rows that are relevant to them.

    Attributes:
        queries: Unit rows, ``(q, d)``.
        gallery: Unit rows, ``(n, d)``.
        right: For each query, the relevant rows.
        wrong: For each query, the rows that show only its words; empty if typographic errors are not measured.
    """

    queries: Vectors
    gallery: Vectors
    right: Sequence[frozenset[int]]
    wrong: Sequence[frozenset[int]] = ()

    def __post_init__(self) -> None:
        if len(self.right) != len(self.queries) or len(self.wrong) not in (0, len(self.queries)):
            raise ShapeError(
                f"{len(self.queries)} queries, but {len(self.right)} and {len(self.wrong)} sets of answers."
            )
        if self.queries.ndim != 2 or self.gallery.ndim != 2 or self.queries.shape[1] != self.gallery.shape[1]:
            raise ShapeError(f"Queries {self.queries.shape} and gallery {self.gallery.shape} do not fit together.")


@dataclass(frozen=True)
class QueryScores:
    """The quality of the hits of some queries.

    Attributes:
        precision_at_1: Share of the queries whose first hit is relevant.
        right_in_ten: Mean share of relevant images among the first ten hits (or among the first n, if there are only n
            < 10 relevant images).
        typographic_error_rate: Share of the queries with a wrong row above all relevant ones; None if not measured.
    """

    precision_at_1: float
    right_in_ten: float
    typographic_error_rate: float | None


def score_queries(asked: GalleryQueries, queries: Vectors | None = None, gallery: Vectors | None = None) -> QueryScores:
    """Rank the gallery for every query and compute the metrics.

    Args:
        asked: Queries, gallery and relevant rows.
        queries: Vectors to use instead of those of the queries, for instance shifted ones.
        gallery: Vectors to use instead of those of the gallery.
    """
    scores = (asked.queries if queries is None else queries) @ (asked.gallery if gallery is None else gallery).T
    order = best_first(scores)
    first = [row[0] in right for row, right in zip(order.tolist(), asked.right, strict=True)]
    shares = []
    for row, right in zip(order, asked.right, strict=True):
        depth = min(_DEPTH, max(1, len(right)))
        shares.append(sum(int(hit) in right for hit in row[:depth]) / depth)
    errors = [
        scores[number, sorted(wrong)].max() > scores[number, sorted(right)].max()
        for number, (right, wrong) in enumerate(zip(asked.right, asked.wrong, strict=False))
        if right and wrong
    ]
    return QueryScores(float(np.mean(first)), float(np.mean(shares)), float(np.mean(errors)) if errors else None)


def evaluate_scales(
    typographic: GalleryQueries,
    clean: GalleryQueries,
    direction: Vectors,
    scales: Sequence[float] = SCALES,
    *,
    reading: GalleryQueries | None = None,
    on: Literal["queries", "images"] = "queries",
) -> list[dict[str, Any]]:
    """The metrics at every scale.

    Args:
        typographic: Queries for things in a gallery that also has images of their written names.
        clean: Queries for things in a gallery without words: the cost of a scale.
        direction: The textness vector, ``(d,)``, length 1.
        scales: The scales.
        reading: Queries for words; relevant are the images with the written word.
        on: The vectors that are shifted along the direction.

    Returns:
        One object for each scale: ``scale``, ``typographic_precision_at_1``, ``clean_precision_at_1`` and more.
    """

    def move(found: GalleryQueries, scale: float) -> tuple[Vectors, Vectors]:
        if on == "images":
            return found.queries, shift(found.gallery, direction, scale)
        return shift(found.queries, direction, scale), found.gallery

    return [
        {"scale": scale, **_figures(typographic, clean, reading, lambda found, scale=scale: move(found, scale))}
        for scale in scales
    ]


def evaluate_photos(
    queries: Vectors,
    gallery: Vectors,
    direction: Vectors,
    scales: Sequence[float] = SCALES,
    right: Sequence[frozenset[int]] | None = None,
) -> list[dict[str, Any]]:
    """What each scale changes for photos of one's own, whose true answers nobody has listed.

    Args:
        queries: Unit rows, ``(q, d)``: captions, or texts as people search for.
        gallery: Unit rows of the photos, ``(n, d)``.
        direction: The textness vector, ``(d,)``, length 1.
        scales: Which ones.
        right: For each query, the photos whose caption it is; None where there are no captions.

    Returns:
        One object for each scale: ``scale``, ``first_kept`` and ``ten_kept`` (shares of the first hits, and of the
        first ten, that are the same without a scale), and with captions ``precision_at_1`` and ``right_in_ten``.
    """
    depth = min(_DEPTH, len(gallery))
    plain = best_first(queries @ gallery.T, depth)
    rows = []
    for scale in scales:
        moved = shift(queries, direction, scale)
        found = best_first(moved @ gallery.T, depth)
        kept = [
            len(set(ours) & set(theirs)) / depth for ours, theirs in zip(found.tolist(), plain.tolist(), strict=True)
        ]
        row = {
            "scale": scale,
            "first_kept": float((found[:, 0] == plain[:, 0]).mean()),
            "ten_kept": float(np.mean(kept)),
        }
        if right is not None:
            scores = score_queries(GalleryQueries(queries, gallery, right), moved)
            row |= {"precision_at_1": scores.precision_at_1, "right_in_ten": scores.right_in_ten}
        rows.append(row)
    return rows


def evaluate_projection(
    typographic: GalleryQueries, clean: GalleryQueries, directions: Vectors, *, reading: GalleryQueries | None = None
) -> dict[str, Any]:
    """The same metrics after the span of ``directions``, ``(m, d)``, was projected out of queries and images."""
    return _figures(
        typographic,
        clean,
        reading,
        lambda found: (project_out(found.queries, directions), project_out(found.gallery, directions)),
    )


def project_out(vectors: Vectors, directions: Vectors) -> Vectors:
    """Remove the span of ``directions`` ``(m, d)`` from rows ``(n, d)`` and scale them to length 1 again.

    Rows within the span become zero.
    """
    basis = np.linalg.svd(directions.astype(np.float64), full_matrices=False)[2][: np.linalg.matrix_rank(directions)]
    rest = vectors - (vectors @ basis.T) @ basis
    norms = np.linalg.norm(rest, axis=1, keepdims=True)
    projected: Vectors = np.divide(rest, norms, where=norms > 1e-6, out=np.zeros_like(rest)).astype(np.float32)
    return projected


def summarise(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The best negative and the best positive scale, with their costs.

    Returns:
        ``suppress``: the negative scale with which the most things stand first among typographic distractors while
        precision@1 on clean images falls by at most :data:`CLEAN_DROP_ALLOWED`; None if there is no such scale. Of
        equal ones, that with the fewest errors: these alone would prefer scales with which neither stands first.
        ``promote``: the smallest positive scale with the highest reading precision@1; None if reading was not measured.
    """
    plain = next(row for row in rows if row["scale"] == 0)
    within = [
        row
        for row in rows
        if row["scale"] < 0 and row["clean_precision_at_1"] >= plain["clean_precision_at_1"] - CLEAN_DROP_ALLOWED - 1e-9
    ]
    promoting = [row for row in rows if row["scale"] > 0 and row["reading_precision_at_1"] is not None]
    suppress = max(
        within, key=lambda row: (row["typographic_precision_at_1"], -_errors(row), row["scale"]), default=None
    )
    promote = max(promoting, key=lambda row: (row["reading_precision_at_1"], -row["scale"]), default=None)
    return {
        "suppress": None if suppress is None else _price(suppress, plain),
        "promote": None if promote is None else _price(promote, plain),
    }


def _figures(
    typographic: GalleryQueries, clean: GalleryQueries, reading: GalleryQueries | None, change: Any
) -> dict[str, Any]:
    by_kind = {"typographic": typographic, "clean": clean, "reading": reading}
    figures: dict[str, Any] = {}
    for kind, found in by_kind.items():
        scores = None if found is None else score_queries(found, *change(found))
        figures[f"{kind}_precision_at_1"] = None if scores is None else scores.precision_at_1
        figures[f"{kind}_right_in_ten"] = None if scores is None else scores.right_in_ten
        if kind == "typographic" and scores is not None:
            figures["typographic_error_rate"] = scores.typographic_error_rate
    return figures


def _errors(row: dict[str, Any]) -> float:
    errors = row["typographic_error_rate"]
    return 1 - row["typographic_precision_at_1"] if errors is None else float(errors)


def _price(row: dict[str, Any], plain: dict[str, Any]) -> dict[str, Any]:
    errors = _errors(plain)
    return {
        "scale": row["scale"],
        "errors_removed": None if errors == 0 else (errors - _errors(row)) / errors,
        "reading_precision_at_1": row["reading_precision_at_1"],
        "clean_drop": plain["clean_precision_at_1"] - row["clean_precision_at_1"],
        "clean_in_ten_drop": plain["clean_right_in_ten"] - row["clean_right_in_ten"],
    }
