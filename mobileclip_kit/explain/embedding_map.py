"""A map of a model's vectors: images as dots coloured by class, texts as stars, by t-SNE.

t-SNE (van der Maaten and Hinton, 2008), as in LightCLIP's figures (arXiv 2312.00674): neighbours on the map are
neighbours by cosine; distances between far groups mean nothing.

CLIP's texts and images lie in two cones that do not meet (arXiv 2203.02053), so that all texts would huddle on an
island of their own. Before the map is drawn each kind is therefore shifted by its own mean: a star stands where its
text lies *among the texts* as an image lies among the images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mobileclip_kit.errors import DataError, ShapeError
from mobileclip_kit.metrics import unit_rows

LEAST_IMAGES = 5
_PERPLEXITY = 30.0


@dataclass(frozen=True)
class EmbeddingMap:
    """Places on the plane, centred, the farthest one at distance 1.

    Attributes:
        images: ``(n, 2)``.
        texts: ``(m, 2)``.
    """

    images: NDArray[np.float32]
    texts: NDArray[np.float32]


def embedding_map(image_vectors: ArrayLike, text_vectors: ArrayLike | None = None, *, seed: int = 0) -> EmbeddingMap:
    """Lay vectors out on a plane. The same vectors and seed give the same map.

    Args:
        image_vectors: ``(n, d)``, five different ones at least.
        text_vectors: ``(m, d)``, two or more; None for a map of images alone.
        seed: Of t-SNE.

    Raises:
        DataError: Fewer than five different images, one text alone, or vectors that are zero or not finite.
        ShapeError: Images and texts have different widths.
    """
    images = unit_rows(image_vectors, "The image vectors")
    different = len(np.unique(images, axis=0))
    if different < LEAST_IMAGES:
        raise DataError(f"A map needs vectors of {LEAST_IMAGES} different images; there are {different}.")
    vectors = _about_mean(images)
    if text_vectors is not None:
        texts = unit_rows(text_vectors, "The text vectors")
        if texts.shape[1] != images.shape[1]:
            raise ShapeError(f"Texts of width {texts.shape[1]} and images of width {images.shape[1]} share no map.")
        if len(np.unique(texts, axis=0)) < 2:
            raise DataError("A map needs two different texts or none: one alone has no place among others.")
        vectors = np.concatenate([vectors, _about_mean(texts)])
    places = _lay_out(vectors, seed)
    places -= places.mean(axis=0)
    places /= np.linalg.norm(places, axis=1).max()
    return EmbeddingMap(places[: len(images)], places[len(images) :])


def _about_mean(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(vectors - vectors.mean(axis=0), dtype=np.float32)


def _lay_out(vectors: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    method = TSNE(
        metric="cosine",
        init="pca",
        perplexity=min(_PERPLEXITY, (len(vectors) - 1) / 3),
        random_state=np.random.RandomState(seed),
    )
    # One thread: sums in one order, and the threads of Barnes and Hut's method spend their time waiting for each other.
    with threadpool_limits(1):
        return np.asarray(method.fit_transform(vectors), dtype=np.float32)
