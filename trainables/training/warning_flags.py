"""Signs that a run goes wrong. Pure functions of the numbers of its epochs so far.

A rule that compares epochs needs a minimum of them and is silent before; each constant says which.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import takewhile
from statistics import median

from trainables.core.vocabulary import Flag, Metric


@dataclass(frozen=True, kw_only=True)
class Vitals:
    """What the rules look at, of one epoch."""

    stage: int
    reweighted: bool
    train_loss: float
    val_loss: float
    score: float
    # NaN in the other task, where they show nothing:
    auc: float = math.nan
    classes_predicted: float = math.nan
    adjusted_balanced_accuracy: float = math.nan
    kappa: float = math.nan
    prediction_spread: float = math.nan


# --- one epoch ------------------------------------------------------------------------------------------------------

COLLAPSE_ADJUSTED_BALANCED_ACCURACY = 0.1
"""Below this, recall hardly differs from chance."""
COLLAPSE_KAPPA = 0.05
"""Below this, predictions hardly depend on the image. A constant prediction has exactly 0."""


def has_collapsed(*, classes_predicted: float, classes: int, adjusted_balanced_accuracy: float, kappa: float) -> bool:
    """Whether the network has given up on telling classes apart: it leaves some out and is no better than chance.

    Accuracy is not asked, for it looks fine where the one class that is predicted is common. All three signs must
    agree: a long-tailed run that has not found its rarest class yet tells the others apart, and a run that is at
    chance while it still uses every class has merely not learned yet. A value that is NaN (one class in the
    validation split) shows nothing.

    Args:
        classes_predicted: classes predicted at least once.
        classes: classes that exist.
    """
    return (
        classes_predicted < classes
        and adjusted_balanced_accuracy < COLLAPSE_ADJUSTED_BALANCED_ACCURACY
        and kappa < COLLAPSE_KAPPA
    )


COLLAPSE_SPREAD = 0.01
"""Predicted numbers that spread less than this share of what the targets do are one number."""


def predicts_one_number(prediction_spread: float) -> bool:
    """Whether a regression has given up on telling images apart. NaN (nothing predicted, nothing to predict) shows nothing."""
    return prediction_spread < COLLAPSE_SPREAD


# --- epochs so far, the newest last ---------------------------------------------------------------------------------

SPIKE_FACTOR = 2.0
"""A spike is a loss above so many times its recent level …"""
SPIKE_MARGIN = 0.1
"""… and this: near 0, losses double for nothing."""
SPIKE_RECENT = 5
"""Epochs whose median is the recent level."""
SPIKE_MIN_EPOCHS = 4
"""The first epoch that can be a spike: a level takes three."""


def is_spike(losses: Sequence[float]) -> bool:
    """Whether the newest loss is far above its recent level. One that is not finite is no spike, and no level."""
    recent = [loss for loss in losses[-SPIKE_RECENT - 1 : -1] if math.isfinite(loss)]
    if len(recent) < SPIKE_MIN_EPOCHS - 1 or not math.isfinite(losses[-1]):
        return False
    return losses[-1] > SPIKE_FACTOR * median(recent) + SPIKE_MARGIN


DRW_DROP_PATIENCE = 5
"""Re-weighted epochs that a run has to come back to the score it had before."""
DRW_DROP_TOLERANCE = 0.01
"""So close to it counts as back."""


def dropped_after_drw(before: Sequence[float], since: Sequence[float], metric: Metric) -> bool:
    """Whether no re-weighted epoch has come back to the best score from before.

    Args:
        before: scores of the epochs before re-weighting; none: nothing to fall from.
        since: scores of the re-weighted epochs; the rule is silent for fewer than `DRW_DROP_PATIENCE`.
    """
    if not before or len(since) < DRW_DROP_PATIENCE:
        return False
    if metric.mode == "min":
        return min(since) > min(before) + DRW_DROP_TOLERANCE
    return max(since) < max(before) - DRW_DROP_TOLERANCE


STUCK_AUC = 0.70
"""An AUC below this has not learned to rank."""
STUCK_AUC_MIN_EPOCHS = 10
"""The rule is silent in a run's first epochs."""


def is_auc_stuck(aucs: Sequence[float]) -> bool:
    """Whether no epoch of the run has reached an AUC of `STUCK_AUC`. Undefined ones (NaN) show nothing."""
    known = [auc for auc in aucs if math.isfinite(auc)]
    return len(known) >= STUCK_AUC_MIN_EPOCHS and max(known) < STUCK_AUC


GAP_PATIENCE = 5
"""Epochs since the lowest validation loss before the rule speaks: it is silent in the first five."""
GAP_RISE = 0.10
"""Share by which the validation loss lies above its low …"""
GAP_RECENT = 3
"""… in each of so many newest epochs."""
GAP_FALL = 0.05
"""Share by which the training loss has fallen since then."""


def has_gap(train_losses: Sequence[float], val_losses: Sequence[float]) -> bool:
    """Whether the validation loss rises while the training loss still falls.

    Each loss is compared with itself at the epoch of the lowest validation loss. With each other they cannot be: margins,
    weights and dropout put the training loss on a scale of its own.

    Args:
        train_losses, val_losses: of epochs that trained alike: the same stage, the same weights of classes.
    """
    if not all(map(math.isfinite, (*train_losses, *val_losses))):
        return False
    low = min(range(len(val_losses)), key=val_losses.__getitem__)
    if len(val_losses) - 1 - low < GAP_PATIENCE:
        return False
    rose = min(val_losses[-GAP_RECENT:]) > (1 + GAP_RISE) * val_losses[low]
    return rose and train_losses[-1] < (1 - GAP_FALL) * train_losses[low]


# --- all rules ------------------------------------------------------------------------------------------------------


def flags_of(history: Sequence[Vitals], *, classes: int, metric: Metric) -> tuple[Flag, ...]:
    """The newest epoch's flags, in the order of `Flag`.

    Args:
        history: all epochs of the run so far, at least one.
        classes: classes that exist.
        metric: what `score` is.
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
        Flag.GAP: has_gap(train_losses, [epoch.val_loss for epoch in alike]),
    }
    return tuple(flag for flag in Flag if raised[flag])


def flag_that_stops(flags: Sequence[Flag], stop_on: Collection[Flag], *, settled: bool) -> Flag | None:
    """The first flag that ends the run; None: it goes on.

    Args:
        settled: whether the epoch can be held against the run (`stages.has_settled`). What is no number is held against it
            at any time.
    """
    return next((flag for flag in flags if flag in stop_on and (settled or flag is Flag.NAN)), None)


def _trained_alike(history: Sequence[Vitals]) -> list[Vitals]:
    """The newest epochs whose training losses can be compared: of one stage, and all re-weighted or none."""
    now = history[-1]
    alike = takewhile(lambda epoch: (epoch.stage, epoch.reweighted) == (now.stage, now.reweighted), reversed(history))
    return list(alike)[::-1]
