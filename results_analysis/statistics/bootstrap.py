"""Bootstrap (Efron 1979) of validation metrics: how much they would vary with other images of the same kind.

Images are resampled within each class, so that class counts stay the same, because splits are stratified by class.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pkgutil import resolve_name
from typing import Any

import numpy as np
import numpy.typing as npt

from trainables.core.vocabulary import METRICS, Metric
from trainables.tasks.metrics import measured
from trainables.tasks.regression_metrics import evaluate_numbers

RESAMPLES = 1000
"""Bootstrap resamples of a set of validation images."""
_RANKED = 2_000_000
"""Number of probabilities above which the AUC gets no interval: each resample would sort them all."""

Confusion = npt.NDArray[np.int64]
Intervals = dict[str, tuple[float, float]]


CONFUSION_METRICS: Mapping[Metric, Callable[[Confusion], float]] = {
    metric: resolve_name(spec.function) for metric, spec in METRICS.items() if spec.function and spec.of == "confusion"
}
"""Metrics that can be computed from a confusion matrix."""


def standard_error(confusion: npt.ArrayLike, metric: Metric) -> float:
    """Standard error of a metric, from an epoch's confusion matrix alone; NaN where it has none. See `resampled_scores`."""
    scores = resampled_scores(confusion, metric)
    return float(np.std(scores, ddof=1)) if len(scores) > 1 else math.nan


def resampled_scores(
    confusion: npt.ArrayLike, metric: Metric, *, resamples: int = RESAMPLES
) -> npt.NDArray[np.float64]:
    """[k] values of a metric on resampled images, from a confusion matrix alone; values that are not finite are left out.

    Args:
        confusion: [c, c] images of true class (row) by predicted class (column).
        metric: one of `CONFUSION_METRICS`.
        resamples: number of resamples.
    """
    matrix, random = np.asarray(confusion, np.int64), np.random.default_rng(0)
    counts = matrix.sum(axis=1)
    shares = matrix / np.maximum(counts, 1)[:, None]
    scores = np.array([CONFUSION_METRICS[metric](random.multinomial(counts, shares)) for _ in range(resamples)])
    finite: npt.NDArray[np.float64] = scores[np.isfinite(scores)]
    return finite


def class_intervals(
    probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], *, learned_prior: npt.ArrayLike
) -> tuple[Intervals, list[tuple[float, float] | None]]:
    """95 % intervals of all classification metrics, and of the recall of each class (None for a class without images).

    Args:
        probabilities: [n, c] predicted probabilities.
        labels: [n] true classes.
        learned_prior: [c] class shares that the model has learned; see `trainables/tasks/class_prior.py`.
    """
    n, c = probabilities.shape
    predicted, corrected = probabilities.argmax(axis=1), (probabilities / np.asarray(learned_prior)).argmax(axis=1)
    losses = -np.log(np.maximum(probabilities[np.arange(n), labels], np.finfo(np.float64).tiny))
    found: dict[str, list[float]] = {}
    recalls = []
    for rows in _resamples(labels):
        of_rows, of_corrected = (_confusion(labels[rows], classes[rows], c) for classes in (predicted, corrected))
        values = measured(confusion=(of_rows,)) | measured(corrected_confusion=(of_corrected,))
        values[Metric.VAL_LOSS.value] = float(losses[rows].mean())
        if n * c <= _RANKED:
            values |= measured(probabilities=(probabilities[rows], labels[rows]))
        for name, value in values.items():
            found.setdefault(name, []).append(value)
        recalls.append(of_rows.diagonal() / np.maximum(of_rows.sum(axis=1), 1))
    of_classes = np.array(recalls).T
    present = np.bincount(labels, minlength=c) > 0
    return _all(found), [_interval(of_classes[j]) if present[j] else None for j in range(c)]


def number_intervals(predicted: npt.NDArray[np.float64], targets: npt.NDArray[np.float64]) -> Intervals:
    """95 % intervals of all regression metrics except `val_loss`; both arguments are [n]."""
    found: dict[str, list[float]] = {}
    for rows in _resamples(np.zeros(len(targets), np.int64)):
        for name, value in evaluate_numbers(predicted[rows], targets[rows]).metrics.items():
            found.setdefault(name, []).append(value)
    return _all(found)


def _resamples(labels: npt.NDArray[np.int64]) -> Any:
    """Yields `RESAMPLES` times [n] positions, drawn within each class."""
    random = np.random.default_rng(0)
    by_class = np.argsort(labels, kind="stable")
    counts = np.bincount(labels)
    starts, sizes = np.repeat(np.cumsum(counts) - counts, counts), np.repeat(counts, counts)
    for _ in range(RESAMPLES):
        yield by_class[starts + (random.random(len(labels)) * sizes).astype(np.int64)]


def _confusion(true: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64], classes: int) -> Confusion:
    return np.bincount(true * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def _all(found: Mapping[str, list[float]]) -> Intervals:
    return {name: of for name, values in found.items() if (of := _interval(np.array(values))) is not None}


def _interval(values: npt.NDArray[np.float64]) -> tuple[float, float] | None:
    if not np.isfinite(values).all():
        return None
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)
