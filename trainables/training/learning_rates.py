"""Learning rates by epoch. Pure functions of numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from trainables.recipe.stage_config import Constant, Cosine, OneCycle, ReduceOnPlateau, Step

Schedule = Constant | Cosine | Step | ReduceOnPlateau


def warmup_factor(epoch: int, warmup_epochs: int) -> float:
    """Linear rise to 1 (Goyal et al. 2017): three warm-up epochs give 1/3, 2/3, 1. No epoch is spent at 0.

    Args:
        epoch: number of epochs done in the stage, so 0 in its first.
        warmup_epochs: number of warm-up epochs; 0 switches the warm-up off.
    """
    return min(1.0, (epoch + 1) / max(1, warmup_epochs))


def cosine_factor(epoch: int, *, warmup_epochs: int, epochs: int) -> float:
    """Half a cosine over the epochs after the warm-up (Loshchilov & Hutter 2017).

    It is 1 during the warm-up and in the first epoch after it, and would reach 0 one epoch after the last one of the stage, so
    that every epoch trains.

    Args:
        epoch: number of epochs done in the stage, less than `epochs`.
        warmup_epochs: number of warm-up epochs.
        epochs: largest number of epochs of the stage; may be smaller than the warm-up.
    """
    span = max(1, epochs - warmup_epochs)
    done = max(0, epoch - warmup_epochs)
    return 0.5 * (1 + math.cos(math.pi * done / span))


def drops_on_plateau(losses: Sequence[float], *, patience: int, threshold: float) -> int:
    """Counts how often the loss has gone more than `patience` epochs without a drop larger than `threshold`, as torch does.

    The count of epochs restarts each time. NaN is never an improvement.

    Args:
        losses: validation losses of the epochs so far, oldest first.
        patience: number of epochs without improvement that are tolerated.
        threshold: smallest drop that counts as improvement.
    """
    low, waited, drops = math.inf, 0, 0
    for loss in losses:
        if loss < low - threshold:
            low, waited = loss, 0
        else:
            waited += 1
        if waited > patience:
            drops, waited = drops + 1, 0
    return drops


def learning_rate(
    schedule: Schedule, peak: float, epoch: int, *, warmup_epochs: int, epochs: int, losses: Sequence[float] = ()
) -> float:
    """Learning rate of an epoch: linear warm-up to the peak, then the schedule until the stage's last epoch; never 0.

    Args:
        schedule: schedule of the stage.
        peak: learning rate after the warm-up.
        epoch: number of epochs done in the stage, so 0 in its first.
        warmup_epochs: number of warm-up epochs; those beyond the stage do not count.
        epochs: largest number of epochs of the stage.
        losses: validation losses of the stage's epochs so far.
    """
    warmup_epochs = max(0, min(warmup_epochs, epochs))  # a default, or a drawn value, may be longer than the stage
    match schedule:
        case Constant():
            decay = 1.0
        case Cosine(min_lr=floor):
            decay = max(cosine_factor(epoch, warmup_epochs=warmup_epochs, epochs=epochs), min(1.0, floor / peak))
        case Step(every_epochs=every, factor=factor, min_lr=floor):
            decay = max(factor ** (max(0, epoch - warmup_epochs) // every), min(1.0, floor / peak))
        case ReduceOnPlateau(patience=patience, threshold=threshold, factor=factor, min_lr=floor):
            drops = drops_on_plateau(losses, patience=patience, threshold=threshold)
            decay = max(factor**drops, min(1.0, floor / peak))
    return peak * (warmup_factor(epoch, warmup_epochs) * decay)


def one_cycle_factor(progress: float, config: OneCycle) -> float:
    """Two half cosines: up to 1, then down to nearly 0 (Smith & Topin 2019, in torch's version).

    Args:
        progress: share of the run that is done, from 0 to 1.
        config: shape of the curve.
    """
    start, peak_at = 1 / config.start_divisor, config.warmup_fraction
    if progress < peak_at:
        return _eased(start, 1.0, progress / peak_at)
    return _eased(1.0, start / config.end_divisor, (progress - peak_at) / max(1 - peak_at, 1e-9))


def _eased(begin: float, end: float, share: float) -> float:
    """Interpolates from `begin` to `end` by half a cosine."""
    return end + (begin - end) * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
