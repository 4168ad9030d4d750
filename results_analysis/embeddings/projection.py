"""Projection of features to a plane, for maps of images: PCA, UMAP or t-SNE."""

from __future__ import annotations

import importlib.util
from typing import Literal

import numpy as np

Reduction = Literal["pca", "umap", "tsne"]

COMPONENTS = 50
"""Principal components to which features are reduced before UMAP, t-SNE and clustering: it removes noise and saves time."""
_NEIGHBOURS = 15
"""Neighbours of an image in UMAP; umap-learn's default."""
_PERPLEXITY = 30.0
"""Perplexity of t-SNE; scikit-learn's default."""


class ProjectionError(ValueError):
    """Features that cannot be projected or clustered; the message says why."""


def check_installed(reduction: Reduction | None) -> None:
    """Raises ProjectionError if a reduction needs a library that is not installed."""
    if reduction == "umap" and importlib.util.find_spec("umap") is None:
        raise ProjectionError("UMAP is not installed: pip install 'thaw-search[umap]'; or use pca or tsne")


def check_features(features: np.ndarray) -> None:
    """Raises ProjectionError if [n, f] features have no structure: they are those of one image, or all equal."""
    if len(features) < 2:
        raise ProjectionError("there is only one image: a map or clusters need at least two")
    if (features == features[0]).all():
        raise ProjectionError(
            f"all {len(features)} images have the same features: there is nothing to tell them apart by"
        )


def principal_components(features: np.ndarray, count: int = COMPONENTS, *, seed: int = 0) -> np.ndarray:
    """First principal components [n, k] of features [n, f]; k is `count`, or as many as there are.

    Args:
        features: [n, f].
        count: largest number of components.
        seed: seed of the solver for large matrices.
    """
    from sklearn.decomposition import PCA

    count = min(count, *features.shape)
    found: np.ndarray = PCA(count, random_state=seed).fit_transform(features.astype(np.float64))
    return found


def projected(features: np.ndarray, reduction: Reduction, *, seed: int) -> np.ndarray:
    """Positions [n, 2] of images in a plane.

    UMAP and t-SNE start from the first 50 principal components.

    Args:
        features: [n, f], of at least two images that differ.
        reduction: method.
        seed: seed of the method; the same seed gives the same plane.
    Raises:
        ProjectionError: see `check_features`.
    """
    check_features(features)
    if reduction == "pca":
        plane = principal_components(features, 2, seed=seed)
        return np.pad(plane, ((0, 0), (0, 2 - plane.shape[1])))
    start = principal_components(features, seed=seed)
    if reduction == "tsne":
        return _tsne(start, seed)
    return _umap(start, seed)


def _tsne(features: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.manifold import TSNE

    perplexity = min(_PERPLEXITY, (len(features) - 1) / 3)  # it must be smaller than the number of images
    init = "pca" if features.shape[1] > 1 else "random"
    found: np.ndarray = TSNE(2, perplexity=perplexity, init=init, random_state=seed).fit_transform(features)
    return found


def _umap(features: np.ndarray, seed: int) -> np.ndarray:
    if (count := len(features)) < 3:
        raise ProjectionError("umap needs at least 3 images; use pca")
    from umap import UMAP

    # The spectral start needs more images than it finds eigenvectors.
    init = "spectral" if count > 2 * _NEIGHBOURS else "random"
    # One job, because several give other results each time, whatever the seed.
    reducer = UMAP(n_neighbors=min(_NEIGHBOURS, count - 1), init=init, random_state=seed, n_jobs=1)
    found: np.ndarray = reducer.fit_transform(features)
    return found.astype(np.float64)
