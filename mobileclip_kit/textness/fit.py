"""Learning the textness direction from vectors of clean images and of images with words.

PicCollage (2021) trains ``Linear(d, 2)`` on the vectors of images with and without words and takes the weight row of
the positive class. Here the direction is ``w₁ − w₀``, what a two-way softmax decides by. The article names a second way
that agrees without describing it: ours is the mean difference of paired clean and with-text images (our reading).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.errors import DataError, ShapeError, TrainingError
from mobileclip_kit.spec import ModelSpec
from mobileclip_kit.textness.vector import Method, Textness

Floats = NDArray[np.float64]

LEAST_PAIRS = 10
_MAX_ITERATIONS = 5000
_GRADIENT_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Probe:
    """``Linear(d, 2)``: class 1 has words.

    Attributes:
        weight: ``(2, d)``.
        bias: ``(2,)``.
        iterations: Steps to convergence.
    """

    weight: Floats
    bias: Floats
    iterations: int

    @property
    def direction(self) -> Floats:
        """``w₁ − w₀``, ``(d,)``, as it came out."""
        direction: Floats = self.weight[1] - self.weight[0]
        return direction

    def accuracy(self, vectors: Vectors, labels: NDArray[np.intp]) -> float:
        """Share of the vectors ``(n, d)`` whose class it gets right."""
        return float(((vectors @ self.weight.T + self.bias).argmax(axis=1) == labels).mean())


def fit_probe(vectors: Vectors, labels: NDArray[np.intp], *, l2: float = 1e-3) -> Probe:
    """Softmax regression with an L2 penalty on the weights, solved to convergence (the problem is convex).

    Minimises ``mean cross-entropy + l2/2 · ‖W‖²`` by L-BFGS on the vectors less their mean, all divided by their mean
    distance from it, so that one penalty suits models whose vectors fill the sphere and models that crowd in a corner.
    The result is given for the vectors as they came.

    Args:
        vectors: ``(n, d)``.
        labels: ``(n,)``: 1 for images with words, 0 for clean ones; both must occur.
        l2: Strength of the penalty.

    Raises:
        DataError: Only one class is there.
        ShapeError: The numbers of vectors and labels differ.
        TrainingError: It does not converge.
    """
    from scipy.optimize import minimize

    if vectors.ndim != 2 or labels.shape != (len(vectors),):
        raise ShapeError(f"Vectors {vectors.shape} and labels {labels.shape} do not fit together.")
    if set(np.unique(labels).tolist()) != {0, 1}:
        raise DataError("A probe needs images of both kinds: with words and without.")
    dim, centre = vectors.shape[1], vectors.mean(axis=0, dtype=np.float64)
    rows = vectors.astype(np.float64) - centre
    spread = float(np.sqrt((rows**2).sum(axis=1).mean()))
    if not spread > 1e-9:
        raise DataError("All vectors are the same: there is nothing to tell apart.")
    rows /= spread
    targets = np.eye(2)[labels]  # (n, 2)

    def loss(flat: Floats) -> tuple[float, Floats]:
        weight, bias = flat[: 2 * dim].reshape(2, dim), flat[2 * dim :]
        logits = rows @ weight.T + bias
        logits -= logits.max(axis=1, keepdims=True)
        log_sums = np.log(np.exp(logits).sum(axis=1, keepdims=True))
        errors = (np.exp(logits - log_sums) - targets) / len(rows)
        value = float(-(targets * (logits - log_sums)).sum() / len(rows) + l2 / 2 * (weight**2).sum())
        return value, np.concatenate([(errors.T @ rows + l2 * weight).ravel(), errors.sum(axis=0)])

    found = minimize(
        loss,
        np.zeros(2 * dim + 2),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": _MAX_ITERATIONS, "maxfun": 2 * _MAX_ITERATIONS, "gtol": _GRADIENT_TOLERANCE, "ftol": 0},
    )
    # With ftol 0 the line search may end on rounding errors a hair before the tolerance.
    if not np.isfinite(found.x).all() or np.abs(loss(found.x)[1]).max() > 100 * _GRADIENT_TOLERANCE:
        raise TrainingError(f"The textness probe does not converge: {found.message}.", hint="Use more images.")
    weight = found.x[: 2 * dim].reshape(2, dim) / spread
    return Probe(weight, found.x[2 * dim :] - weight @ centre, int(found.nit))


def mean_difference(clean: Vectors, text: Vectors) -> Floats:
    """Mean of ``text − clean`` over pairs ``(n, d)``: ``(d,)``, as it came out.

    Raises:
        ShapeError: The shapes differ.
    """
    if clean.shape != text.shape:
        raise ShapeError(f"Clean vectors {clean.shape} and vectors with text {text.shape} are not pairs.")
    difference: Floats = (text.astype(np.float64) - clean.astype(np.float64)).mean(axis=0)
    return difference


def fit_textness(
    clean: Vectors,
    text: Vectors,
    spec: ModelSpec,
    *,
    extra_text: Vectors | None = None,
    images: NDArray[np.intp] | None = None,
    method: Method = "probe",
    held_out: float = 0.2,
    l2: float = 1e-3,
    seed: int = 0,
    notes: Mapping[str, Any] | None = None,
) -> Textness:
    """Learn both directions on most images and measure them on the rest.

    Args:
        clean: Vectors of clean images, ``(n, d)``.
        text: Vectors of the same images with words, row by row.
        spec: The model they come from.
        extra_text: Further vectors of images with words, without clean counterparts, ``(m, d)``: for the probe.
        images: ``(n,)``: which image each row was made from, when there are several copies; None for one each.
        method: The direction that searches use.
        held_out: Share of the images that are measured on.
        l2: Penalty of the probe.
        seed: Of the split.
        notes: Further entries of the report.

    Raises:
        DataError: Fewer than :data:`LEAST_PAIRS` pairs, or a direction of length 0: the model does not see the words.
        ShapeError: The shapes do not fit together.
        TrainingError: The probe does not converge.
    """
    difference = mean_difference(clean, text)  # refuses what is not pairs
    extra = np.empty((0, clean.shape[1]), np.float32) if extra_text is None else extra_text
    images = np.arange(len(clean)) if images is None else images
    kinds = np.unique(images)
    if len(kinds) < LEAST_PAIRS:
        raise DataError(f"{len(kinds)} images are too few to learn textness from.", hint=f"{LEAST_PAIRS} are least.")
    rng = np.random.default_rng(seed)
    tested = np.isin(images, rng.permutation(kinds)[: max(1, round(held_out * len(kinds)))])
    extra_tested = rng.permutation(len(extra)) < round(held_out * len(extra))

    train, train_labels = _stack(clean[~tested], text[~tested], extra[~extra_tested])
    test, test_labels = _stack(clean[tested], text[tested], extra[extra_tested])
    probe = fit_probe(train, train_labels, l2=l2)
    difference = mean_difference(clean[~tested], text[~tested])
    directions, norms = _unit({"probe": probe.direction, "mean_difference": difference})
    threshold = _midpoint(train @ directions["mean_difference"], train_labels)
    by_difference = (test @ directions["mean_difference"] > threshold) == test_labels
    accuracies = {"probe": probe.accuracy(test, test_labels), "mean_difference": float(by_difference.mean())}
    # What a query feels: does the copy with words move towards the direction from where its own image was?
    pair_accuracies = {method: float(((text - clean)[tested] @ direction > 0).mean())
                       for method, direction in directions.items()}  # fmt: skip
    cosine = float(directions["probe"] @ directions["mean_difference"])
    report = {
        "accuracy": accuracies[method],
        "accuracies": accuracies,
        "pair_accuracies": pair_accuracies,
        "training_accuracy": probe.accuracy(train, train_labels),
        "angle_degrees": float(np.degrees(np.arccos(np.clip(cosine, -1, 1)))),
        "raw_norms": norms,
        "images": len(kinds),
        "pairs": len(clean),
        "extra_text_images": len(extra),
        "held_out_rows": len(test),
        "l2": l2,
        "seed": seed,
        **(notes or {}),
    }
    return Textness(model=spec.name, model_hash=spec.model_hash, directions=directions, method=method, report=report)


def _stack(clean: Vectors, text: Vectors, extra: Vectors) -> tuple[Vectors, NDArray[np.intp]]:
    labels = np.repeat(np.array([0, 1], np.intp), [len(clean), len(text) + len(extra)])
    return np.concatenate([clean, text, extra]), labels


def _unit(raw: Mapping[Method, Floats]) -> tuple[dict[Method, Vectors], dict[str, float]]:
    norms: dict[str, float] = {method: float(np.linalg.norm(direction)) for method, direction in raw.items()}
    for method, norm in norms.items():
        if not norm > 1e-9:
            raise DataError(
                f"The {method.replace('_', ' ')} has length {norm}: the vectors with words equal the clean ones.",
                hint="Does the model see the words at all?",
            )
    return {method: (direction / norms[method]).astype(np.float32) for method, direction in raw.items()}, norms


def _midpoint(scores: Vectors, labels: NDArray[np.intp]) -> float:
    return float((scores[labels == 0].mean() + scores[labels == 1].mean()) / 2)
