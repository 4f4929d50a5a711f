"""Learning the textness direction from vectors of clean images and of images with words.

PicCollage (2021) trains ``Linear(d, 2)`` on the vectors of images with and without words and uses the weights of the
positive class. Here the direction is ``w₁ − w₀``, the only combination that a softmax over two classes depends on; it
is the weight vector of a logistic regression. The article mentions a second method with similar results, but does not
describe it: we use the mean difference between images with words and the same images without (our interpretation).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.errors import DataError, ShapeError, TrainingError, UsageError
from mobileclip_kit.options import Option
from mobileclip_kit.spec import ModelSpec
from mobileclip_kit.textness.vector import Method, Textness

Floats = NDArray[np.float64]

LEAST_PAIRS = 10
_TOLERANCE = 1e-9
# A larger penalty leaves a direction of hardly any length.
_MOST_L2 = 1e6


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """Options of the fit.

    Attributes:
        method: The direction that searches use.
        l2: L2 penalty of the probe.
        held_out: Share of the images on which the directions are evaluated.
        seed: Seed of the split and of the drawn words.
    """

    method: Annotated[Method, Option("The direction that searches use.")] = "probe"
    l2: Annotated[float, Option("Penalty of the probe.")] = 1e-3
    held_out: float = 0.2
    seed: Annotated[int, Option("Seed of the words and of the held-out images.", at_least=0)] = 0

    def __post_init__(self) -> None:
        if not 0 < self.l2 <= _MOST_L2:
            raise UsageError(f"The penalty is {self.l2}; it must be above 0 and at most {_MOST_L2:,.0f}.")
        if not 0 < self.held_out < 1:
            raise UsageError(f"The share of held-out images is {self.held_out}; it must lie between 0 and 1.")


@dataclass(frozen=True)
class Probe:
    """A logistic regression: an image has words if ``direction · vector + bias`` is positive.

    Attributes:
        direction: ``(d,)``, of any length.
        bias: A number.
    """

    direction: Floats
    bias: float

    def scores(self, vectors: Vectors) -> Floats:
        """Scores, ``(n,)``: positive for images with words."""
        scores: Floats = vectors @ self.direction + self.bias
        return scores


def fit_probe(vectors: Vectors, labels: NDArray[np.intp], *, l2: float = 1e-3) -> Probe:
    """Logistic regression with an L2 penalty, solved to convergence (the problem is convex).

    Minimises ``mean cross-entropy + l2/4 · ‖w‖²``, which equals a softmax over two classes with ``l2/2 · ‖W‖²``. The
    vectors are centred and divided by their mean distance from the centre, so that the same penalty suits models whose
    vectors fill the sphere and models whose vectors lie in a narrow cone. The result applies to the original vectors.

    Args:
        vectors: ``(n, d)``.
        labels: ``(n,)``: 1 for images with words, 0 for clean ones; both must occur.
        l2: Strength of the penalty.

    Raises:
        DataError: There is only one class, or all vectors are equal.
        ShapeError: The numbers of vectors and labels differ.
        TrainingError: It does not converge.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    if vectors.ndim != 2 or labels.shape != (len(vectors),):
        raise ShapeError(f"Vectors {vectors.shape} and labels {labels.shape} do not fit together.")
    if set(np.unique(labels).tolist()) != {0, 1}:
        raise DataError("A probe needs images of both kinds: with words and without.")
    centre = vectors.mean(axis=0, dtype=np.float64)
    rows = vectors.astype(np.float64) - centre
    spread = float(np.sqrt((rows**2).sum(axis=1).mean()))
    if not spread > 1e-9:
        raise DataError("All vectors are the same: there is nothing to tell apart.")
    # scikit-learn minimises ‖w‖²/2 + C · Σ cross-entropy.
    model = LogisticRegression(C=2 / (l2 * len(rows)), solver="newton-cholesky", tol=_TOLERANCE, max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            model.fit(rows / spread, labels)
        except (ConvergenceWarning, FloatingPointError) as cause:
            raise TrainingError(f"The textness probe does not converge: {cause}.", hint="Use more images.") from cause
    direction = model.coef_[0] / spread
    return Probe(direction, float(model.intercept_[0] - direction @ centre))


def mean_difference(clean: Vectors, text: Vectors) -> Floats:
    """Mean of ``text − clean`` over pairs ``(n, d)``: ``(d,)``, not normalised.

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
    options: FitOptions | None = None,
    *,
    extra_text: Vectors | None = None,
    images: NDArray[np.intp] | None = None,
    notes: Mapping[str, Any] | None = None,
) -> Textness:
    """Learn both directions on most of the images and evaluate them on the others.

    Args:
        clean: Vectors of clean images, ``(n, d)``.
        text: Vectors of the same images with words, row by row.
        spec: The model of the vectors.
        options: Penalty, split and the direction that searches use.
        extra_text: Vectors of further images with words for the probe, without clean counterparts, ``(m, d)``.
        images: ``(n,)``: the image of each row, if there are several copies of an image; None for one row per image.
        notes: Further entries of the report.

    Raises:
        DataError: There are fewer than :data:`LEAST_PAIRS` pairs, or a direction has length 0 because the model does
            not see the words.
        ShapeError: The shapes do not fit together.
        TrainingError: The probe does not converge.
    """
    options = options or FitOptions()
    mean_difference(clean, text)  # refuses vectors that are not pairs
    extra = np.empty((0, clean.shape[1]), np.float32) if extra_text is None else extra_text
    images = np.arange(len(clean)) if images is None else images
    distinct = np.unique(images)
    if len(distinct) < LEAST_PAIRS:
        raise DataError(
            f"{len(distinct)} images are too few to learn textness from.", hint=f"Use {LEAST_PAIRS} or more."
        )
    rng = np.random.default_rng(options.seed)
    tested = np.isin(images, rng.permutation(distinct)[: max(1, round(options.held_out * len(distinct)))])
    extra_tested = rng.permutation(len(extra)) < round(options.held_out * len(extra))
    train, train_labels = _stack(clean[~tested], text[~tested], extra[~extra_tested])
    test, test_labels = _stack(clean[tested], text[tested], extra[extra_tested])

    probe = fit_probe(train, train_labels, l2=options.l2)
    difference = mean_difference(clean[~tested], text[~tested])
    directions, norms = _unit({"probe": probe.direction, "mean_difference": difference})
    along = train @ directions["mean_difference"]
    midpoint = (along[train_labels == 0].mean() + along[train_labels == 1].mean()) / 2
    scores: dict[Method, Floats] = {
        "probe": probe.scores(test),
        "mean_difference": test @ directions["mean_difference"] - midpoint,
    }
    report = {
        **_accuracies(scores, test_labels, options.method),
        **_geometry(directions, (text - clean)[tested]),
        "training_accuracy": float(((probe.scores(train) > 0) == train_labels).mean()),
        "raw_norms": norms,
        "images": len(distinct),
        "pairs": len(clean),
        "extra_text_images": len(extra),
        "held_out_rows": len(test),
        "l2": options.l2,
        "seed": options.seed,
        **(notes or {}),
    }
    return Textness(
        model=spec.name, model_hash=spec.model_hash, directions=directions, method=options.method, report=report
    )


def _geometry(directions: Mapping[Method, Vectors], steps: Vectors) -> dict[str, Any]:
    """The angle between the directions, and for each how far words move an image, and how many pairs the right way.

    Queries are shifted along the direction, so these shares matter to a search.
    """
    cosine = float(directions["probe"] @ directions["mean_difference"])
    return {
        "pair_accuracies": {method: float((steps @ direction > 0).mean()) for method, direction in directions.items()},
        "pair_steps": {method: float((steps @ direction).mean()) for method, direction in directions.items()},
        "angle_degrees": float(np.degrees(np.arccos(np.clip(cosine, -1, 1)))),
    }


def _accuracies(scores: Mapping[Method, Floats], labels: NDArray[np.intp], method: Method) -> dict[str, Any]:
    """How well each direction separates held-out images with words from clean ones; ``chance`` is the larger class."""
    from sklearn.metrics import balanced_accuracy_score, roc_auc_score

    accuracies = {name: float(((along > 0) == labels).mean()) for name, along in scores.items()}
    balanced = {name: float(balanced_accuracy_score(labels, along > 0)) for name, along in scores.items()}
    areas = {name: float(roc_auc_score(labels, along)) for name, along in scores.items()}
    return {
        "accuracy": accuracies[method],
        "balanced_accuracy": balanced[method],
        "auc": areas[method],
        "chance": float(max(labels.mean(), 1 - labels.mean())),
        "accuracies": accuracies,
        "balanced_accuracies": balanced,
        "aucs": areas,
    }


def _stack(clean: Vectors, text: Vectors, extra: Vectors) -> tuple[Vectors, NDArray[np.intp]]:
    labels = np.repeat(np.array([0, 1], np.intp), [len(clean), len(text) + len(extra)])
    return np.concatenate([clean, text, extra]), labels


def _unit(raw: Mapping[Method, Floats]) -> tuple[dict[Method, Vectors], dict[str, float]]:
    norms: dict[str, float] = {method: float(np.linalg.norm(direction)) for method, direction in raw.items()}
    for method, norm in norms.items():
        if not norm > 1e-9:
            raise DataError(
                f"The {method.replace('_', ' ')} has length 0: the vectors with words equal the clean ones.",
                hint="Does the model see the words at all?",
            )
    return {method: (direction / norms[method]).astype(np.float32) for method, direction in raw.items()}, norms
