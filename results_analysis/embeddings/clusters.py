"""Clusters of features, and how well they agree with labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from results_analysis.embeddings.projection import ProjectionError, check_features

Clustering = Literal["kmeans", "hdbscan"]

NOISE = -1
"""Number of the cluster of images that HDBSCAN leaves in none."""
_MOST_CLUSTERS = 20
"""Largest number of clusters that is tried if none is given."""
_SCORED = 5000
"""Images on which silhouettes are computed: the time grows with the square of their number."""


class Clusters(NamedTuple):
    """Clusters of n images."""

    of: np.ndarray
    """[n] int64, number of each image's cluster, the largest first; `NOISE`: none."""
    silhouette: float | None
    """Mean silhouette of the images in clusters, −1 … 1; None if there is no second cluster."""

    @property
    def number(self) -> int:
        """Number of clusters."""
        return int(self.of.max()) + 1

    @property
    def noise(self) -> int:
        """Number of images in no cluster."""
        return int((self.of == NOISE).sum())


class Agreement(NamedTuple):
    """Agreement of clusters with labels."""

    adjusted_rand: float
    """Adjusted Rand index: 0 by chance, 1 if both are the same partition."""
    nmi: float
    """Normalised mutual information, 0 … 1."""


def clusters_of(
    points: np.ndarray, clustering: Clustering, *, seed: int, count: int | None = None, smallest: int | None = None
) -> Clusters:
    """Finds clusters.

    Args:
        points: [n, k], of at least two images that differ.
        clustering: method.
        seed: seed of k-means.
        count: number of clusters of k-means; None: the number, up to 20, with the largest silhouette.
        smallest: fewest images of a cluster of HDBSCAN; None: a hundredth of all, at least 5.
    Raises:
        ProjectionError: see `check_features`, or if there are more clusters than different images.
    """
    check_features(points)
    different = len(np.unique(points, axis=0))
    if clustering == "hdbscan":
        return _scored(points, _hdbscan(points, smallest or max(5, len(points) // 100)), seed)
    if count is not None and count > different:
        raise ProjectionError(f"--clusters {count}: there are only {different} different images")
    counts = [count] if count else range(2, min(_MOST_CLUSTERS, different - 1) + 1)
    found = [_scored(points, _kmeans(points, k, seed), seed) for k in counts]
    # Two images are two clusters: no number is left to choose.
    return max(found, key=lambda one: one.silhouette or -1.0) if found else Clusters(np.arange(len(points)), None)


def agreement(clusters: Clusters, labels: Sequence[str]) -> Agreement:
    """Agreement of clusters with the labels of all images. Images in no cluster count as a cluster of their own."""
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    return Agreement(
        float(adjusted_rand_score(labels, clusters.of)), float(normalized_mutual_info_score(labels, clusters.of))
    )


def _kmeans(points: np.ndarray, count: int, seed: int) -> np.ndarray:
    from sklearn.cluster import KMeans

    found: np.ndarray = KMeans(count, n_init=3, random_state=seed).fit_predict(points)
    return found


def _hdbscan(points: np.ndarray, smallest: int) -> np.ndarray:
    from sklearn.cluster import HDBSCAN

    if len(points) < smallest:
        raise ProjectionError(f"hdbscan: a cluster has at least {smallest} images, and there are {len(points)} in all")
    found: np.ndarray = HDBSCAN(min_cluster_size=smallest, copy=True).fit_predict(points)
    return found


def _scored(points: np.ndarray, of: np.ndarray, seed: int) -> Clusters:
    """Clusters in the order of their sizes, with their silhouette."""
    from sklearn.metrics import silhouette_score

    inside = of != NOISE
    sizes = np.bincount(of[inside], minlength=1)
    rank = np.argsort(np.argsort(-sizes, kind="stable"), kind="stable")
    numbers = np.where(inside, rank[of], NOISE).astype(np.int64)
    if not 1 < len(sizes) < inside.sum():
        return Clusters(numbers, None)
    sample = min(_SCORED, int(inside.sum()))
    score = silhouette_score(points[inside], numbers[inside], sample_size=sample, random_state=seed)
    return Clusters(numbers, float(score))
