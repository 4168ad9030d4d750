"""Classification metrics of a validation epoch. They equal scikit-learn's, without its cost and its warnings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any

import numpy as np
import numpy.typing as npt

from trainables.core.vocabulary import FALLBACK_ORDER, METRICS, Metric

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Comparison of predictions with the truth. Holds only plain Python values, so that it can be stored anywhere."""

    metrics: dict[str, float]
    """Every `Metric` of the task except `val_loss` by name, and `classes_predicted` or `prediction_spread`; NaN where undefined.
    Only those named `corrected_…` use the learned prior."""
    per_class: dict[str, list[float]]
    """`precision`, `recall`, `f1` (0 where undefined), `true_count`, `predicted_count` (whole numbers), each [c]; empty in
    regression, and where a prediction is not finite."""
    confusion: list[list[int]]
    """Number of images by true class (row) and predicted class (column), [c][c]; empty in regression, and where a prediction is
    not finite."""


def evaluate(
    probabilities: npt.ArrayLike, labels: npt.ArrayLike, *, learned_prior: npt.ArrayLike | None = None
) -> Evaluation:
    """Compares predicted probabilities with labels.

    The prediction is the most probable class, the first one of a tie. A network that gives an image a probability that is not
    finite has diverged: there is no prediction, and all metrics are NaN.

    Args:
        probabilities: [n, c] one row for each image; for the AUC only their order within a column matters.
        labels: [n] true classes, 0 … c − 1.
        learned_prior: [c] class shares learned in training, in any scale (`prior.learned_prior`); the corrected metrics divide the
            probabilities by it (post-hoc logit adjustment, Menon et al. 2021). None: no correction.
    Raises:
        ValueError: if shapes do not fit, there is no image, or a label is not a class.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    true = np.asarray(labels, dtype=np.int64)
    if p.ndim != 2 or true.shape != p.shape[:1] or p.size == 0:
        raise ValueError(f"probabilities {p.shape} and labels {true.shape} are not [n, c] and [n] with n, c ≥ 1")
    c = p.shape[1]
    if true.min() < 0 or true.max() >= c:
        raise ValueError(f"labels lie in {true.min()} … {true.max()}, but the classes are 0 … {c - 1}")

    if not np.isfinite(p).all():
        of_classes = [m for m, spec in METRICS.items() if spec.function and "classification" in spec.tasks]
        return Evaluation(
            metrics=dict.fromkeys((*of_classes, "classes_predicted"), math.nan), per_class={}, confusion=[]
        )

    confusion = _confusion(p, true)
    corrected = confusion if learned_prior is None else _confusion(p / np.asarray(learned_prior), true)
    hits, true_count, predicted_count = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    metrics = measured(confusion=(confusion,), corrected_confusion=(corrected,), probabilities=(p, true))
    return Evaluation(
        metrics={**metrics, "classes_predicted": float((predicted_count > 0).sum())},
        per_class={
            "precision": _ratio(hits, predicted_count).tolist(),
            "recall": _ratio(hits, true_count).tolist(),
            "f1": _ratio(2 * hits, true_count + predicted_count).tolist(),
            "true_count": true_count.tolist(),
            "predicted_count": predicted_count.tolist(),
        },
        confusion=confusion.tolist(),
    )


def measured(**given: tuple[Any, ...]) -> dict[str, float]:
    """Computes the metrics that depend on the given arguments only, by name, in the order of `METRICS`.

    Args:
        given: `MetricSpec.of` -> arguments of the functions of these metrics.
    """
    return {
        metric.value: resolve_name(spec.function)(*given[spec.of])
        for metric, spec in METRICS.items()
        if spec.function and spec.of in given
    }


def _confusion(scores: Floats, labels: Ints) -> Ints:
    """Counts images by true class (row) and class with the highest score (column), [c, c]."""
    c = scores.shape[1]
    return np.bincount(labels * c + scores.argmax(axis=1), minlength=c * c).reshape(c, c)


def balanced_accuracy(confusion: Ints) -> float:
    """Mean recall over the classes that occur, of a [c, c] confusion matrix with true classes as rows."""
    true_count = confusion.sum(axis=1)
    return float(_ratio(confusion.diagonal(), true_count)[true_count > 0].mean())


def adjusted_balanced_accuracy(confusion: Ints) -> float:
    """Balanced accuracy of a [c, c] confusion matrix, rescaled so that chance is 0; see `above_chance`."""
    return above_chance(balanced_accuracy(confusion), classes=int((confusion.sum(axis=1) > 0).sum()))


def accuracy(confusion: Ints) -> float:
    """Share of the images that are predicted right, of a [c, c] confusion matrix."""
    return float(confusion.trace() / confusion.sum())


def above_chance(balanced: float, *, classes: int) -> float:
    """Balanced accuracy rescaled so that chance is 0 and perfect is 1; NaN for a single class, where the two coincide.

    (scikit-learn returns −inf instead of NaN if the single class was sometimes missed.)
    """
    return (balanced - 1 / classes) / (1 - 1 / classes) if classes > 1 else math.nan


def kappa(confusion: Ints) -> float:
    """Cohen's kappa (1960) of a [c, c] confusion matrix: agreement beyond what the marginal counts make likely.

    0 for a constant prediction; NaN if truth and prediction are the same class for all images.
    """
    n = confusion.sum()
    agreed = confusion.trace() / n
    by_chance = float(confusion.sum(axis=1) / n @ (confusion.sum(axis=0) / n))
    return float((agreed - by_chance) / (1 - by_chance)) if by_chance < 1 else math.nan


def macro_f1(confusion: Ints) -> float:
    """Mean F1 over the classes that occur as truth or prediction, of a [c, c] confusion matrix."""
    counts = confusion.sum(axis=1) + confusion.sum(axis=0)
    return float(_ratio(2 * confusion.diagonal(), counts)[counts > 0].mean())


def auc(probabilities: Floats, labels: Ints) -> float:
    """Area under the ROC curve, each class against the rest, macro average.

    Computed from ranks (Hanley & McNeil 1982); ties count half. NaN if a class does not occur or a probability is NaN.

    Args:
        probabilities: [n, c]. With two classes only the second column is used, as in binary AUC: rounding may make
            probabilities near 1 equal whose complements near 0 are distinct.
        labels: [n] classes, 0 … c − 1.
    """
    n, c = probabilities.shape
    positives = np.bincount(labels, minlength=c)
    if c < 2 or not positives.all():
        return math.nan
    if c == 2:
        probabilities = np.column_stack((-probabilities[:, 1], probabilities[:, 1]))
    ranks = np.column_stack([mean_ranks(column) for column in probabilities.T])
    rank_sums = np.bincount(labels, weights=ranks[np.arange(n), labels], minlength=c)
    u = rank_sums - positives * (positives + 1) / 2
    return float((u / (positives * (n - positives))).mean())


def mean_ranks(values: Floats) -> Floats:
    """Ranks [n] counted from 1; ties get their mean rank. All are NaN if a value is NaN.

    (Does the same as SciPy's `rankdata`, whose import costs each worker most of a second and 40 MB.)
    """
    if np.isnan(values).any():
        return np.full(len(values), math.nan)
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    mean_of_ties: Floats = counts.cumsum() - (counts - 1) / 2
    return mean_of_ties[place]


def score_of(metrics: Mapping[str, float], metric: Metric) -> float:
    """Returns the score of an epoch: the chosen metric, or the first finite one of `FALLBACK_ORDER` that the task has.

    A metric that is minimised has no fallback, because the others are maximised; it becomes inf if it is not finite. A score is
    therefore never NaN, can always be compared by `metric.better`, and is the worst possible if nothing is known.

    Args:
        metrics: values by `Metric` name; `val_loss` is only needed if it is the chosen metric.
        metric: the chosen metric.
    """
    candidates = [metric] if metric.mode == "min" else [metric, *(m for m in FALLBACK_ORDER if m in metrics)]
    return next((metrics[m] for m in candidates if math.isfinite(metrics[m])), metric.worst)


_CORRECTED = {
    Metric.BALANCED_ACCURACY: Metric.CORRECTED_BALANCED_ACCURACY,
    Metric.ADJUSTED_BALANCED_ACCURACY: Metric.CORRECTED_BALANCED_ACCURACY,
    Metric.MACRO_F1: Metric.CORRECTED_MACRO_F1,
}


def corrected_score(evaluation: Evaluation, metric: Metric) -> float:
    """Returns the score with the class shares learned in training divided out, an estimate of the score after re-weighting.

    Equal to `score_of` for metrics without a correction, and if the corrected value is not finite.

    Args:
        evaluation: evaluation with the validation loss among its metrics.
        metric: the chosen metric.
    """
    score = score_of(evaluation.metrics, metric)
    if metric not in _CORRECTED:
        return score
    corrected = evaluation.metrics[_CORRECTED[metric]]
    if metric is Metric.ADJUSTED_BALANCED_ACCURACY and math.isfinite(corrected):
        corrected = above_chance(corrected, classes=sum(count > 0 for count in evaluation.per_class["true_count"]))
    return corrected if math.isfinite(corrected) else score


def _ratio(part: Ints, whole: Ints) -> Floats:
    """Divides `part` by `whole`; 0 where `whole` is 0."""
    return np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0)
