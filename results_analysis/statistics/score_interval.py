"""Uncertainty of scores: intervals from the validation images, and how stable the first place is. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from results_analysis.statistics.bootstrap import CONFUSION_METRICS, resampled_scores
from trainables.core.config_errors import counted
from trainables.core.vocabulary import METRICS, Metric

if TYPE_CHECKING:
    import numpy as np

DRAWS = 400
"""Bootstrap resamples of an interval."""
Z = 1.959964
"""Standard errors on either side of a 95 % interval."""


class Spread(NamedTuple):
    """95 % interval of a score, over random draws of validation images."""

    low: float
    high: float
    error: float
    """Standard error."""
    how: str
    """Method, in words."""


def proportion_interval(hits: int, n: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927); 0 to 1 where `n` is 0."""
    if n == 0:
        return 0.0, 1.0
    p, z2 = hits / n, Z * Z
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return 0.0 if hits == 0 else middle - half, 1.0 if hits == n else middle + half  # exact, whatever the rounding


def spread_of(report: Mapping[str, Any], metric: Metric, *, images: int | None) -> Spread | None:
    """Interval of a report's score over other validation images of the same kind; None where the report does not suffice.

    Another training seed moves the score too, usually more; the interval does not include that.

    Args:
        report: report of an epoch.
        metric: the metric that is the score.
        images: number of validation images; only used where the report holds no confusion matrix.
    """
    score = report.get(metric.value)
    if score is None:
        return None
    if matrix := report.get("confusion"):
        import numpy as np

        counts = np.asarray(matrix, dtype=np.int64)
        if metric in CONFUSION_METRICS:
            return _bootstrapped(counts, metric)
        error = _error_of_classes(counts.sum(axis=1), score, metric)
        return None if error is None else _normal(score, error, "estimated from the images of each class")
    if metric is Metric.SPEARMAN and images is not None and images > 3:
        return _fisher(score, images)
    return None


def _bootstrapped(counts: np.ndarray, metric: Metric) -> Spread | None:
    import numpy as np

    images, scores = int(counts.sum()), resampled_scores(counts, metric, resamples=DRAWS)
    if not len(scores):
        return None
    low, high = np.quantile(scores, [0.025, 0.975])
    if low == high == 1.0:  # without a mistake, every resample is perfect: the bound of a share is used instead
        low = proportion_interval(images, images)[0]
        return Spread(low, 1.0, (1 - low) / Z, f"none of {counted(images, 'validation image')} was misclassified")
    return Spread(float(low), float(high), float(scores.std()), f"bootstrap over {counted(images, 'validation image')}")


def _error_of_classes(rows: np.ndarray, score: float, metric: Metric) -> float | None:
    """Standard error as if each class had the mean score: the confusion matrix does not hold more about these metrics."""
    positive = rows[rows > 0].astype(float)
    if METRICS[metric].of == "corrected_confusion":
        p = min(max(score, 0.0), 1.0)
        return math.sqrt(sum(p * (1 - p) / n for n in positive)) / len(positive)
    if metric is Metric.AUC and len(positive) > 1:
        return math.sqrt(sum(_hanley_mcneil(score, n, positive.sum() - n) ** 2 for n in positive)) / len(positive)
    return None


def _hanley_mcneil(auc: float, positives: float, negatives: float) -> float:
    """Standard error of an AUC (Hanley & McNeil 1982)."""
    q1, q2 = auc / (2 - auc), 2 * auc * auc / (1 + auc)
    square = auc * (1 - auc) + (positives - 1) * (q1 - auc**2) + (negatives - 1) * (q2 - auc**2)
    return math.sqrt(max(square, 0.0) / (positives * negatives))


def _normal(score: float, error: float, how: str) -> Spread:
    return Spread(score - Z * error, min(score + Z * error, 1.0), error, how)


def _fisher(r: float, n: int) -> Spread:
    """Interval of a rank correlation (Fieller, Hartley & Pearson 1957)."""
    bounded = min(max(r, -0.999999), 0.999999)
    error = math.sqrt(1.06 / (n - 3))
    low, high = (math.tanh(math.atanh(bounded) + side * Z * error) for side in (-1, 1))
    return Spread(low, high, (high - low) / (2 * Z), f"Fisher's transform, {n:,} validation images")


class Standing(NamedTuple):
    """Stability of the first place when the noise of all scores is drawn again."""

    wins: float
    """Share of draws in which the first trial is first again."""
    optimism: float
    """Mean amount by which the first of a draw looks better than it is: the winner's curse."""
    rivals: int
    """Number of trials that come first in at least 5 % of the draws."""


def standing(scores: Sequence[float], error: float, *, mode: str, draws: int = 4000) -> Standing:
    """Simulates the first place: each score is drawn again around itself, independently, with one standard error.

    All trials share the validation images and thus part of the noise, so the true order is somewhat more certain than this.

    Args:
        scores: scores of the competing trials; at least one.
        error: standard error of each score.
        mode: direction that is better, `max` or `min`.
        draws: number of simulations.
    """
    import numpy as np

    best_first = np.sort(np.asarray(scores, dtype=float) * (1 if mode == "max" else -1))[::-1][:200]
    noise = np.random.default_rng(0).normal(scale=error, size=(draws, len(best_first)))
    drawn = best_first + noise
    firsts = drawn.argmax(axis=1)
    looked_better = noise[np.arange(draws), firsts]
    shares = np.bincount(firsts, minlength=len(best_first)) / draws
    return Standing(float(shares[0]), float(looked_better.mean()), int((shares >= 0.05).sum()))
