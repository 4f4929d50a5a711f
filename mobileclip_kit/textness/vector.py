"""The textness vector as a file, and its use in a query.

The textness bias of PicCollage (2021): ``query += scale · bias``, then normalise. A positive scale promotes images with
written words, a negative one demotes them. The direction is normalised to length 1, so that a scale has the same weight
relative to the query for every model; the article does not normalise it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit import formats
from mobileclip_kit.arrays import Vectors
from mobileclip_kit.errors import DataError, ShapeError, UsageError
from mobileclip_kit.files import read_json, write_json

FORMAT_VERSION = 1
MAX_SCALE = 100.0
# A grid's outermost scales: those of the article, or less where words move scores by so many standard deviations.
_WIDEST, _DEVIATIONS = 2.0, 3.0

Method = Literal["probe", "mean_difference"]
METHODS: tuple[Method, ...] = get_args(Method)


@dataclass(frozen=True, kw_only=True)
class TextnessFile:
    """The keys of ``textness.json``; the keys of the report are optional, see :attr:`Textness.report`."""

    format_version: int = FORMAT_VERSION
    kind: Literal["textness"] = "textness"
    model: str
    model_hash: str
    method: Method
    norm: float = 1.0
    vector: tuple[float, ...]
    directions: Mapping[str, tuple[float, ...]]
    accuracy: float | None = None
    balanced_accuracy: float | None = None
    auc: float | None = None
    chance: float | None = None
    accuracies: Mapping[str, float] | None = None
    balanced_accuracies: Mapping[str, float] | None = None
    aucs: Mapping[str, float] | None = None
    pair_accuracies: Mapping[str, float] | None = None
    pair_steps: Mapping[str, float] | None = None
    training_accuracy: float | None = None
    angle_degrees: float | None = None
    raw_norms: Mapping[str, float] | None = None
    images: int | None = None
    pairs: int | None = None
    extra_text_images: int | None = None
    held_out_rows: int | None = None
    l2: float | None = None
    seed: int | None = None
    copies: int | None = None
    source: str | None = None


_REPORT = [entry.name for entry in fields(TextnessFile) if entry.default is None]


@dataclass(frozen=True, kw_only=True)
class Textness:
    """The textness directions of one model.

    Attributes:
        model: Name of the model, for messages.
        model_hash: Hash of the model from whose vectors the directions were learned.
        directions: A unit vector ``(d,)`` for each method, pointing from clean images to images with words.
        method: The default method.
        report: How the directions were learned, and how well they separate images with words from clean ones.
    """

    model: str
    model_hash: str
    directions: Mapping[Method, Vectors]
    method: Method = "probe"
    report: Mapping[str, Any] = field(default_factory=dict)

    @property
    def vector(self) -> Vectors:
        """The direction of :attr:`method`, ``(d,)``, length 1."""
        return self.directions[self.method]

    def direction(self, method: Method | None = None) -> Vectors:
        """The direction of a method, ``(d,)``, length 1; None for :attr:`method`.

        Raises:
            UsageError: The file has no such direction.
        """
        chosen = method or self.method
        if chosen not in self.directions:
            raise UsageError(
                f"The textness of {self.model} has no direction {chosen!r}, only {', '.join(self.directions)}."
            )
        return self.directions[chosen]

    def apply(self, queries: Vectors, scale: float, method: Method | None = None, *, raw: bool = False) -> Vectors:
        """Move queries towards written words, or away from them.

        Args:
            queries: Unit rows, ``(q, d)``.
            scale: Length of the step, relative to the length of the query.
            method: None for :attr:`method`.
            raw: Give the direction the length with which it was learned, as the article does: of the probe the weights
                of the class with words, out of two.

        Returns:
            ``normalise(queries + scale · direction)``, ``(q, d)``.

        Raises:
            DataError: The file does not say with which length the direction was learned.
            ShapeError: The widths differ.
            UsageError: ``scale`` is out of range or not a number.
        """
        direction = self.direction(method)
        if queries.ndim != 2 or queries.shape[1] != direction.shape[0]:
            raise ShapeError(f"The textness vector has {direction.shape[0]} numbers; the queries have {queries.shape}.")
        if not raw:
            return shift(queries, direction, scale)
        norm = (self.report.get("raw_norms") or {}).get(method or self.method)
        if norm is None:
            raise DataError(f"The textness of {self.model} does not say how long its directions were.",
                            hint="Make it again with `mckit textness fit`.")  # fmt: skip
        # The article takes the weights of the class with words out of two: w₁ = −w₀, and the probe is w₁ − w₀.
        share = 0.5 if (method or self.method) == "probe" else 1.0
        return _move(queries, direction, scale * share * norm)

    def widest_scale(self, scores: NDArray[np.floating]) -> float:
        """A scale beyond which textness alone decides the order; at most 2.

        Words on an image change its score by the scale times a step that was measured on pairs. At this scale the
        change is three standard deviations of a query's scores. In a narrow cone of vectors that is far below 2.

        Args:
            scores: Cosines of a query to images, ``(n,)``.
        """
        step = (self.report.get("pair_steps") or {}).get(self.method, 0.0)
        if not step > 0.0 or len(scores) < 2:
            return _WIDEST
        return float(min(_WIDEST, _DEVIATIONS * np.std(scores) / step))

    def warnings(self) -> list[str]:
        """A sentence for each direction that classifies images no better than always giving the same answer."""
        chance = self.report.get("chance")
        if chance is None:
            return []
        return [
            f"The {method.replace('_', ' ')} is right for {accuracy:.1%} of the held-out images, no more than always "
            f"giving the commoner answer ({chance:.1%}); its AUC is {self.report['aucs'][method]:.3f} (chance: 0.5)."
            for method, accuracy in self.report["accuracies"].items()
            if accuracy <= chance
        ]

    def save(self, path: Path) -> None:
        """Write the JSON file."""
        directions: dict[str, tuple[float, ...]] = {
            method: _listed(direction) for method, direction in self.directions.items()
        }
        file = TextnessFile(
            model=self.model,
            model_hash=self.model_hash,
            method=self.method,
            vector=directions[self.method],
            directions=directions,
            **self.report,
        )
        document = {key: value for key, value in formats.to_document(file).items() if value is not None}
        write_json(path, document, sealed=True)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file that :meth:`save` wrote.

        Raises:
            DataError: It is missing, damaged, or of another version.
        """
        document = read_json(path)
        version = document.get("format_version")
        hint = "Make it with `mckit textness fit`."
        if document.get("kind") != "textness" or version != FORMAT_VERSION:
            raise DataError(
                f"{path} is not a textness vector of version {FORMAT_VERSION} (version {version}).", hint=hint
            )
        # The first version used the key pictures.
        document = {key.replace("pictures", "images"): value for key, value in document.items()}
        file = formats.from_document(document, TextnessFile, where=str(path), hint=hint)
        report = {key: value for key in _REPORT if (value := getattr(file, key)) is not None}
        directions: dict[Method, Vectors] = {
            method: np.array(file.directions[method], np.float32) for method in METHODS if method in file.directions
        }
        lengths = {len(vector) for vector in directions.values()}
        norms = [float(np.linalg.norm(vector)) for vector in directions.values()]
        if file.method not in directions or len(lengths) != 1 or any(abs(norm - 1) >= 1e-3 for norm in norms):
            raise DataError(f"{path}: directions must hold vectors of length 1, {file.method} among them.", hint=hint)
        return cls(
            model=file.model, model_hash=file.model_hash, directions=directions, method=file.method, report=report
        )


def shift(queries: Vectors, direction: Vectors, scale: float) -> Vectors:
    """``normalise(queries + scale · direction)``; see :meth:`Textness.apply`."""
    if not abs(scale) <= MAX_SCALE:
        raise UsageError(f"The textness scale is {scale}; it must lie between −{MAX_SCALE:g} and {MAX_SCALE:g}.")
    return _move(queries, direction, scale)


def _move(queries: Vectors, direction: Vectors, scale: float) -> Vectors:
    moved = queries.astype(np.float64) + scale * direction
    norms = np.linalg.norm(moved, axis=1, keepdims=True)
    if (norms < 1e-6).any():
        raise UsageError(f"At the textness scale {scale} nothing of the query is left.", hint="Choose another scale.")
    shifted: Vectors = (moved / norms).astype(np.float32)
    return shifted


def _listed(vector: Vectors) -> tuple[float, ...]:
    # Nine significant digits represent a float32 exactly.
    return tuple(float(f"{value:.9g}") for value in vector.tolist())
