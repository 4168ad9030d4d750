"""Names that every room shares: tasks, metrics, objectives, warning flags, trial statuses. Plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, get_args

Task = Literal["classification", "regression"]
"""Task of a run: predict a class for each image, or a number."""


class Metric(StrEnum):
    """Metrics of an epoch, on the validation split; `metrics_of` lists those of a task."""

    ADJUSTED_BALANCED_ACCURACY = "adjusted_balanced_accuracy"
    """Mean recall over classes, rescaled so that chance is 0."""
    KAPPA = "kappa"
    AUC = "auc"
    """Area under the ROC curve, each class against the rest, macro average."""
    MACRO_F1 = "macro_f1"
    ACCURACY = "accuracy"
    BALANCED_ACCURACY = "balanced_accuracy"
    """Mean recall over classes."""
    CORRECTED_BALANCED_ACCURACY = "corrected_balanced_accuracy"
    """Mean recall after the class shares learned in training are divided out (`trainables/tasks/class_prior.py`)."""
    CORRECTED_MACRO_F1 = "corrected_macro_f1"
    VAL_LOSS = "val_loss"
    """Plain cross-entropy, which does not change when re-weighting starts. In regression the mean squared error over the variance
    of the training targets, so that predicting their mean gives 1."""
    SPEARMAN = "spearman"
    """Rank correlation of predictions and targets."""
    R2 = "r2"
    """Share of the targets' variance that is explained."""
    MAE = "mae"
    """Mean absolute error, in the targets' unit."""
    RMSE = "rmse"
    """Root of the mean squared error, in the targets' unit."""

    @property
    def mode(self) -> str:
        """`max` or `min`."""
        return METRICS[self].mode

    @property
    def worst(self) -> float:
        """Score that is worse than any other."""
        return float("inf") if self.mode == "min" else float("-inf")

    def better(self, value: float, than: float) -> bool:
        """Returns True if `value` is strictly better than `than`."""
        return value < than if self.mode == "min" else value > than


Of = Literal["confusion", "corrected_confusion", "probabilities", "numbers", "val_loss"]
"""Input of a metric: [c, c] images of true class (row) by predicted class; the same after the learned class shares are
divided out; [n, c] probabilities and [n] labels; [n] predicted and [n] true numbers; the validation loss, which is itself."""


@dataclass(frozen=True, kw_only=True)
class MetricSpec:
    """Declaration of a metric."""

    mode: Literal["max", "min"]
    """Better direction."""
    of: Of
    function: str | None = None
    """`module:function` that computes it from what `of` names; None: nothing is left to compute."""
    stands_in: bool = False
    """True for members of `FALLBACK_ORDER`."""
    words: str | None = None
    """Its name in labels; None: its own with spaces."""

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks that it can score."""
        if self.of == "val_loss":
            return get_args(Task)
        return ("regression",) if self.of == "numbers" else ("classification",)


_OF_CLASSES, _OF_NUMBERS = "trainables.tasks.metrics", "trainables.tasks.regression_metrics"
METRICS: Mapping[Metric, MetricSpec] = {
    Metric.ADJUSTED_BALANCED_ACCURACY: MetricSpec(
        mode="max", of="confusion", function=f"{_OF_CLASSES}:adjusted_balanced_accuracy", stands_in=True
    ),
    Metric.KAPPA: MetricSpec(mode="max", of="confusion", function=f"{_OF_CLASSES}:kappa", stands_in=True),
    Metric.AUC: MetricSpec(mode="max", of="probabilities", function=f"{_OF_CLASSES}:auc", stands_in=True, words="AUC"),
    Metric.MACRO_F1: MetricSpec(
        mode="max", of="confusion", function=f"{_OF_CLASSES}:macro_f1", stands_in=True, words="macro F1"
    ),
    Metric.ACCURACY: MetricSpec(mode="max", of="confusion", function=f"{_OF_CLASSES}:accuracy", stands_in=True),
    Metric.BALANCED_ACCURACY: MetricSpec(mode="max", of="confusion", function=f"{_OF_CLASSES}:balanced_accuracy"),
    Metric.CORRECTED_BALANCED_ACCURACY: MetricSpec(
        mode="max", of="corrected_confusion", function=f"{_OF_CLASSES}:balanced_accuracy"
    ),
    Metric.CORRECTED_MACRO_F1: MetricSpec(
        mode="max", of="corrected_confusion", function=f"{_OF_CLASSES}:macro_f1", words="corrected macro F1"
    ),
    Metric.VAL_LOSS: MetricSpec(mode="min", of="val_loss", words="validation loss"),
    Metric.SPEARMAN: MetricSpec(mode="max", of="numbers", function=f"{_OF_NUMBERS}:spearman"),
    # Stands in: 0 or less for a constant prediction, which has no rank correlation.
    Metric.R2: MetricSpec(mode="max", of="numbers", function=f"{_OF_NUMBERS}:r2", stands_in=True, words="R²"),
    Metric.MAE: MetricSpec(mode="min", of="numbers", function=f"{_OF_NUMBERS}:mae", words="MAE"),
    Metric.RMSE: MetricSpec(mode="min", of="numbers", function=f"{_OF_NUMBERS}:rmse", words="RMSE"),
}
"""Every metric, in the order of reports. A new one is a name in `Metric`, an entry here, and a function that computes it."""

FALLBACK_ORDER = tuple(metric for metric, spec in METRICS.items() if spec.stands_in)
"""Metrics that replace the chosen one as the score where that is not finite: the first of the task that is finite."""


def metrics_of(task: Task) -> tuple[Metric, ...]:
    """Returns the metrics of a task, in the order of `Metric`."""
    return tuple(metric for metric in Metric if task in METRICS[metric].tasks)


class Objective(StrEnum):
    """Objectives of a search besides the metrics: the score, and costs, which are minimised."""

    SCORE = "score"
    """`train.metric` of the best epoch."""
    MACS = "macs"
    """Multiply-adds of the network for one image of the last stage's size."""
    PARAMETERS = "parameters"
    """Number of parameters of the whole network, frozen ones included."""
    TRAIN_S = "train_s"
    """Seconds of training."""


def mode_of_objective(name: str, metric: Metric) -> str:
    """Returns `max` or `min` for the name of an `Objective` or a `Metric`, in a search whose score is `metric`."""
    if name == Objective.SCORE:
        return metric.mode
    return Metric(name).mode if name in list(Metric) else "min"


WEIGHTS = ("ema", "raw")
"""Weights that are validated in a run with a weight average: the averaged and the current ones."""


def metric_of_weights(weights: str, metric: Metric) -> str:
    """Returns the name of a metric of weights that are validated but not scored, such as `raw_kappa`."""
    return f"{weights}_{metric.value}"


class Flag(StrEnum):
    """Warning signs of an epoch; `trainables/training/history/warning_flags.py` has the rules."""

    NAN = "nan"
    """The training or the validation loss is not finite."""
    SPIKE = "spike"
    """The training or the validation loss is far above its recent level."""
    COLLAPSE = "collapse"
    """Some classes are never predicted and the others no better than by chance; or all images get nearly the same number."""
    DRW_DROP = "drw_drop"
    """The score fell when re-weighting began and has not recovered."""
    STUCK_AUC = "stuck_auc"
    """No epoch has reached an AUC of 0.70."""
    GAP = "gap"
    """The validation loss rises while the training loss still falls; or the training accuracy stays far above the
    validation accuracy."""


CANDIDATE, SEED = "candidate", "train.seed"
"""Keys that identify the trials of a comparison, in place of searched values."""


class TrialStatus(StrEnum):
    """Status of a trial."""

    RUNNING = "running"
    """Started and not ended: it is running now, or waits for `thaw resume`."""
    FINISHED = "finished"
    PRUNED = "pruned"
    """Ended early: pruned by the scheduler, or stopped by a flag of `train.stop_on`."""
    FAILED = "failed"
    INFEASIBLE = "infeasible"
    """Finished, but violates `search.constraints`."""
