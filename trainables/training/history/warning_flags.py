"""Warning signs of a run that goes wrong. Pure functions of the metrics of its epochs so far.

A rule that compares epochs needs a minimum number of them and raises no flag before; see the constants.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import takewhile
from statistics import median

from trainables.core.vocabulary import Flag, Metric


@dataclass(frozen=True, kw_only=True)
class EpochHealth:
    """Metrics of one epoch that the rules use."""

    stage: int
    reweighted: bool
    train_loss: float
    val_loss: float
    score: float
    # NaN, which raises no flag, in the task that does not have the metric:
    auc: float = math.nan
    classes_predicted: float = math.nan
    adjusted_balanced_accuracy: float = math.nan
    kappa: float = math.nan
    prediction_spread: float = math.nan
    train_accuracy: float = math.nan
    """NaN also where images are mixed with each other."""
    accuracy: float = math.nan
    """Validation accuracy for the class shares of training; see `accuracy_for_shares`."""


# --- one epoch ------------------------------------------------------------------------------------------------------

COLLAPSE_ADJUSTED_BALANCED_ACCURACY = 0.1
"""Adjusted balanced accuracy below which recall hardly differs from chance."""
COLLAPSE_KAPPA = 0.05
"""Kappa below which predictions hardly depend on the image. A constant prediction has exactly 0."""


def has_collapsed(*, classes_predicted: float, classes: int, adjusted_balanced_accuracy: float, kappa: float) -> bool:
    """Returns True if the network no longer distinguishes the classes: it never predicts some and is no better than chance.

    Accuracy is not used, because it looks fine if the only predicted class is common. All three signs must agree: a long-tailed
    run that has not found its rarest class yet still distinguishes the others, and a run at chance level that predicts every class
    has only not learned yet. A value that is NaN (one class in the validation split) raises no flag.

    Args:
        classes_predicted: number of classes predicted at least once.
        classes: number of classes.
        adjusted_balanced_accuracy: mean recall, rescaled so that chance is 0.
        kappa: Cohen's kappa.
    """
    return (
        classes_predicted < classes
        and adjusted_balanced_accuracy < COLLAPSE_ADJUSTED_BALANCED_ACCURACY
        and kappa < COLLAPSE_KAPPA
    )


COLLAPSE_SPREAD = 0.01
"""Standard deviation of the predictions, as a share of that of the targets, below which they count as one number."""


def predicts_one_number(prediction_spread: float) -> bool:
    """Returns True if a regression predicts nearly the same number for all images; False for NaN (an undefined spread)."""
    return prediction_spread < COLLAPSE_SPREAD


# --- epochs so far, the newest last ---------------------------------------------------------------------------------

SPIKE_FACTOR = 2.0
"""Multiple of the recent level that a spike exceeds …"""
SPIKE_MARGIN = 0.1
"""… by more than this margin: losses near 0 double easily."""
SPIKE_RECENT = 5
"""Number of epochs whose median is the recent level."""
SPIKE_MIN_EPOCHS = 4
"""First epoch that can be a spike: the level needs three before it."""


def is_spike(losses: Sequence[float]) -> bool:
    """Returns True if the newest loss is far above its recent level. Losses that are not finite count neither as spike nor for
    the level."""
    recent = [loss for loss in losses[-SPIKE_RECENT - 1 : -1] if math.isfinite(loss)]
    if len(recent) < SPIKE_MIN_EPOCHS - 1 or not math.isfinite(losses[-1]):
        return False
    return losses[-1] > SPIKE_FACTOR * median(recent) + SPIKE_MARGIN


DRW_DROP_PATIENCE = 5
"""Number of re-weighted epochs in which a run has to recover its earlier score."""
DRW_DROP_TOLERANCE = 0.01
"""Difference from the earlier score that still counts as recovered."""


def dropped_after_drw(before: Sequence[float], since: Sequence[float], metric: Metric) -> bool:
    """Returns True if no re-weighted epoch has recovered the best score from before re-weighting.

    Args:
        before: scores of the epochs before re-weighting; False if there are none.
        since: scores of the re-weighted epochs; False if there are fewer than `DRW_DROP_PATIENCE`.
        metric: metric of the scores.
    """
    if not before or len(since) < DRW_DROP_PATIENCE:
        return False
    if metric.mode == "min":
        return min(since) > min(before) + DRW_DROP_TOLERANCE
    return max(since) < max(before) - DRW_DROP_TOLERANCE


STUCK_AUC = 0.70
"""AUC below which a network has not learned to rank."""
STUCK_AUC_MIN_EPOCHS = 10
"""Number of epochs that the rule needs."""


def is_auc_stuck(aucs: Sequence[float]) -> bool:
    """Returns True if no epoch of the run has reached an AUC of `STUCK_AUC`. Undefined values (NaN) are ignored."""
    known = [auc for auc in aucs if math.isfinite(auc)]
    return len(known) >= STUCK_AUC_MIN_EPOCHS and max(known) < STUCK_AUC


GAP_PATIENCE = 5
"""Number of epochs since the lowest validation loss, or since the highest validation accuracy, that the rules need."""
GAP_RISE = 0.10
"""Share by which the validation loss exceeds its lowest value …"""
GAP_RECENT = 3
"""… in each of this many newest epochs."""
GAP_FALL = 0.05
"""Share by which the training loss has fallen since then."""


def has_gap(train_losses: Sequence[float], val_losses: Sequence[float]) -> bool:
    """Returns True if the validation loss rises while the training loss still falls.

    Each loss is compared with its own value at the epoch of the lowest validation loss. The two cannot be compared with each
    other, because margins, weights and dropout put the training loss on a scale of its own.

    Args:
        train_losses, val_losses: losses of epochs that trained in the same way: in the same stage, with the same class weights.
    """
    if not all(map(math.isfinite, (*train_losses, *val_losses))):
        return False
    low = min(range(len(val_losses)), key=val_losses.__getitem__)
    if len(val_losses) - 1 - low < GAP_PATIENCE:
        return False
    rose = min(val_losses[-GAP_RECENT:]) > (1 + GAP_RISE) * val_losses[low]
    return rose and train_losses[-1] < (1 - GAP_FALL) * train_losses[low]


def accuracy_for_shares(recall: Sequence[float], shares: Sequence[float]) -> float:
    """Accuracy on images of which each class has the given share.

    It is comparable with a training accuracy: after a long tail was cut or with balanced sampling, the classes have other shares in
    training than in the validation split.

    Args:
        recall: [c] recall of each class on the validation split; empty: unknown.
        shares: [c] share of each class.
    """
    return sum(r * share for r, share in zip(recall, shares, strict=True)) if recall else math.nan


GAP_ACCURACY = 0.20
"""Difference of training and validation accuracy above which the network fits the training images rather than the classes."""


def has_accuracy_gap(train: Sequence[float], validation: Sequence[float]) -> bool:
    """Returns True if the training accuracy has stayed far above the validation accuracy, which no longer improves.

    Augmentation and dropout lower the training accuracy, so that they hide a gap but never make one. A validation accuracy that
    still improves is no bad sign, however far below it is.

    Args:
        train, validation: accuracies of all epochs; NaN where unknown, which raises no flag.
    """
    recent, before = validation[-GAP_PATIENCE:], [value for value in validation[:-GAP_PATIENCE] if math.isfinite(value)]
    if not before or max(recent) > max(before):
        return False
    return all(t - v > GAP_ACCURACY for t, v in zip(train[-GAP_PATIENCE:], recent, strict=True))


# --- all rules ------------------------------------------------------------------------------------------------------


def flags_of(history: Sequence[EpochHealth], *, classes: int, metric: Metric) -> tuple[Flag, ...]:
    """Returns the flags of the newest epoch, in the order of `Flag`.

    Args:
        history: all epochs of the run so far, at least one.
        classes: number of classes.
        metric: metric of the scores.
    """
    now, alike = history[-1], _trained_alike(history)
    train_losses = [epoch.train_loss for epoch in alike]
    raised = {
        Flag.NAN: not (math.isfinite(now.train_loss) and math.isfinite(now.val_loss)),
        # The validation loss is plain cross-entropy (or squared error) throughout, and comparable over the whole run.
        Flag.SPIKE: is_spike(train_losses) or is_spike([epoch.val_loss for epoch in history]),
        Flag.COLLAPSE: has_collapsed(
            classes_predicted=now.classes_predicted,
            classes=classes,
            adjusted_balanced_accuracy=now.adjusted_balanced_accuracy,
            kappa=now.kappa,
        )
        or predicts_one_number(now.prediction_spread),
        Flag.DRW_DROP: dropped_after_drw(
            [epoch.score for epoch in history if not epoch.reweighted],
            [epoch.score for epoch in history if epoch.reweighted],
            metric,
        ),
        Flag.STUCK_AUC: is_auc_stuck([epoch.auc for epoch in history]),
        Flag.GAP: has_gap(train_losses, [epoch.val_loss for epoch in alike])
        or has_accuracy_gap([epoch.train_accuracy for epoch in history], [epoch.accuracy for epoch in history]),
    }
    return tuple(flag for flag in Flag if raised[flag])


def flag_that_stops(flags: Sequence[Flag], stop_on: Collection[Flag], *, settled: bool) -> Flag | None:
    """Returns the first flag that ends the run, or None if the run continues.

    Args:
        flags: flags of the newest epoch.
        stop_on: flags that end the run.
        settled: whether the run has settled after a change (`stages.has_settled`). `nan` ends it even before.
    """
    return next((flag for flag in flags if flag in stop_on and (settled or flag is Flag.NAN)), None)


def _trained_alike(history: Sequence[EpochHealth]) -> list[EpochHealth]:
    """Newest epochs whose training losses are comparable: from one stage, and either all re-weighted or none."""
    now = history[-1]
    alike = takewhile(lambda epoch: (epoch.stage, epoch.reweighted) == (now.stage, now.reweighted), reversed(history))
    return list(alike)[::-1]
