"""A textness vector on disk and its use in a query.

PicCollage's textness bias (2021): ``query += scale · bias``, then normalise. A positive scale looks for images with
written words, a negative one avoids them. The direction has length 1 for every model, so that one scale means the same
share of the query for every model; the article leaves the length of its weight row as it came out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.errors import DataError, ShapeError, UsageError
from mobileclip_kit.files import read_json, write_json

FORMAT_VERSION = 1
TEXTNESS_FILE = "textness.json"
MAX_SCALE = 100.0

Method = Literal["probe", "mean_difference"]
METHODS: tuple[Method, ...] = get_args(Method)


@dataclass(frozen=True, kw_only=True)
class Textness:
    """The textness directions of one model.

    Attributes:
        model: Name of the model, for people.
        model_hash: Identity of the model whose vectors they were learned from.
        directions: A unit vector ``(d,)`` for each method, pointing from clean images to images with words.
        method: The one that is used unless another is asked for.
        report: How they were learned and how well they part images with words from clean ones.
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

    def apply(self, queries: Vectors, scale: float, method: Method | None = None) -> Vectors:
        """Move queries towards written words, or away from them.

        Args:
            queries: Unit rows, ``(q, d)``.
            scale: Length of the step: −1 is as long as the query itself.
            method: None for :attr:`method`.

        Returns:
            ``normalise(queries + scale · direction)``, ``(q, d)``.

        Raises:
            ShapeError: The widths differ.
            UsageError: ``scale`` is not a usable number.
        """
        direction = self.direction(method)
        if queries.ndim != 2 or queries.shape[1] != direction.shape[0]:
            raise ShapeError(f"The textness vector has {direction.shape[0]} numbers; the queries have {queries.shape}.")
        return shift(queries, direction, scale)

    def save(self, path: Path) -> None:
        """Write one JSON file."""
        write_json(
            path,
            {
                "format_version": FORMAT_VERSION,
                "kind": "textness",
                "model": self.model,
                "model_hash": self.model_hash,
                "method": self.method,
                "norm": 1.0,
                "vector": _listed(self.vector),
                "directions": {method: _listed(direction) for method, direction in self.directions.items()},
                **self.report,
            },
        )

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read :meth:`save`'s file.

        Raises:
            DataError: It is missing, damaged, or of another version.
        """
        document = read_json(path)
        version = document.get("format_version")
        if document.get("kind") != "textness" or version != FORMAT_VERSION:
            raise DataError(
                f"{path} is not a textness vector of version {FORMAT_VERSION} (version {version}).",
                hint="Make it with `mckit textness fit`.",
            )
        known = ("format_version", "kind", "model", "model_hash", "method", "norm", "vector", "directions")
        try:
            directions: dict[Method, Vectors] = {
                method: np.array(document["directions"][method], np.float32)
                for method in METHODS
                if method in document["directions"]
            }
            loaded = cls(
                model=document["model"],
                model_hash=document["model_hash"],
                directions=directions,
                method=document["method"],
                report={key: value for key, value in document.items() if key not in known},
            )
            usable = all(abs(float(np.linalg.norm(vector)) - 1) < 1e-3 for vector in directions.values())
            if not usable or loaded.vector.ndim != 1:
                raise ValueError("its vectors are not of length 1")
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path} is not a complete textness vector: {error!r}.") from error
        return loaded


def shift(queries: Vectors, direction: Vectors, scale: float) -> Vectors:
    """``normalise(queries + scale · direction)``; see :meth:`Textness.apply`."""
    if not abs(scale) <= MAX_SCALE:
        raise UsageError(f"The textness scale is {scale}; it must lie between −{MAX_SCALE:g} and {MAX_SCALE:g}.")
    moved = queries.astype(np.float64) + scale * direction
    norms = np.linalg.norm(moved, axis=1, keepdims=True)
    if (norms < 1e-6).any():
        raise UsageError(f"At the textness scale {scale} nothing of the query is left.", hint="Choose another scale.")
    shifted: Vectors = (moved / norms).astype(np.float32)
    return shifted


def _listed(vector: Vectors) -> list[float]:
    # Seven significant digits carry a float32 near enough; nine would carry it exactly.
    return [float(f"{value:.9g}") for value in vector.tolist()]
