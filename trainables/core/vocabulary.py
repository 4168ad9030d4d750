"""Names that every room shares: tasks, metrics, objectives, warning flags, trial statuses. Plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, get_args

Task = Literal["classification", "regression"]
"""What a run learns: a class for each image, or a number."""


class Metric(StrEnum):
    """What an epoch can be judged by, on the validation split; `metrics_of` tells which metrics are a task's."""

    ADJUSTED_BALANCED_ACCURACY = "adjusted_balanced_accuracy"
    """Mean recall over classes, rescaled so that chance is 0."""
    KAPPA = "kappa"
    AUC = "auc"
    """One against the rest, macro average."""
    MACRO_F1 = "macro_f1"
    ACCURACY = "accuracy"
    BALANCED_ACCURACY = "balanced_accuracy"
    """Mean recall over classes."""
    CORRECTED_BALANCED_ACCURACY = "corrected_balanced_accuracy"
    """The same after the class shares that training taught are divided out (`trainables/tasks/class_prior.py`)."""
    CORRECTED_MACRO_F1 = "corrected_macro_f1"
    VAL_LOSS = "val_loss"
    """Plain cross-entropy: it does not move when re-weighting starts. In regression the mean squared error in variances of the
    training targets: 1 is what predicting their mean would come to."""
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
        """What any score is better than."""
        return float("inf") if self.mode == "min" else float("-inf")

    def better(self, value: float, than: float) -> bool:
        """Whether `value` is strictly better than `than`."""
        return value < than if self.mode == "min" else value > than


Of = Literal["confusion", "corrected_confusion", "probabilities", "numbers", "val_loss"]
"""What a metric is computed from: [c, c] images of true class (row) by predicted class; the same after the learned class shares are
divided out; [n, c] probabilities and [n] labels; [n] predicted and [n] true numbers; the validation loss, which is itself."""


@dataclass(frozen=True, kw_only=True)
class MetricSpec:
    """Declaration of a metric."""

    mode: Literal["max", "min"]
    """Which direction is better."""
    of: Of
    function: str | None = None
    """`module:function` that computes it from what `of` names; None: nothing is left to compute."""
    stands_in: bool = False
    """Whether it is part of `FALLBACK_ORDER`."""
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
"""Where the chosen metric is not finite, the first of its task's among these that is judges the epoch."""


def metrics_of(task: Task) -> tuple[Metric, ...]:
    """The metrics that a task can be judged by, in the order of `Metric`."""
    return tuple(metric for metric in Metric if task in METRICS[metric].tasks)


class Objective(StrEnum):
    """What trials of a search can be compared by beside the metrics: their score, and costs, of which less is better."""

    SCORE = "score"
    """`train.metric` of the best epoch."""
    MACS = "macs"
    """Multiplications and additions, in pairs, that the network does for one image of the last stage's size."""
    PARAMETERS = "parameters"
    """Of the whole network, frozen ones included."""
    TRAIN_S = "train_s"
    """Seconds of training."""


def mode_of_objective(name: str, metric: Metric) -> str:
    """`max` or `min`, for an `Objective` or a `Metric` by name in a search whose score is `metric`."""
    if name == Objective.SCORE:
        return metric.mode
    return Metric(name).mode if name in list(Metric) else "min"


WEIGHTS = ("ema", "raw")
"""What an epoch of a run with an average has validated: the averaged weights and the current ones."""


def metric_of_weights(weights: str, metric: Metric) -> str:
    """`raw_kappa`: name of a metric of weights that are validated and not judged."""
    return f"{weights}_{metric.value}"


class Flag(StrEnum):
    """What an epoch can be warned of; `trainables/training/warning_flags.py` has the rules."""

    NAN = "nan"
    """The training or the validation loss is no finite number."""
    SPIKE = "spike"
    """The training or the validation loss is far above its recent level."""
    COLLAPSE = "collapse"
    """Classes are left out and the rest are told apart no better than by chance; or one number is predicted for all images."""
    DRW_DROP = "drw_drop"
    """The score fell when re-weighting began and has not come back."""
    STUCK_AUC = "stuck_auc"
    """No epoch's AUC has come up to 0.70."""
    GAP = "gap"
    """The validation loss rises while the training loss still falls."""


CANDIDATE, SEED = "candidate", "train.seed"
"""What tells the trials of a comparison apart, in place of searched values."""


class TrialStatus(StrEnum):
    RUNNING = "running"
    """Started and neither ended nor given up: it is running now or waits for `thaw resume`."""
    FINISHED = "finished"
    PRUNED = "pruned"
    """Ended early: by the scheduler, or by itself for a flag of `train.stop_on`."""
    FAILED = "failed"
    INFEASIBLE = "infeasible"
    """Came to its end, but costs or reports what `search.constraints` rules out."""
