"""Learning rates by the epoch. Pure numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from trainables.recipe.stage_config import Constant, Cosine, OneCycle, ReduceOnPlateau, Step

Schedule = Constant | Cosine | Step | ReduceOnPlateau


def warmup_factor(epoch: int, warmup_epochs: int) -> float:
    """Linear rise to 1 (Goyal et al. 2017): three warm-up epochs give 1/3, 2/3, 1. No epoch is spent at 0.

    Args:
        epoch: epochs of the stage that are done, so 0 in its first.
        warmup_epochs: 0 switches the warm-up off.
    """
    return min(1.0, (epoch + 1) / max(1, warmup_epochs))


def cosine_factor(epoch: int, *, warmup_epochs: int, epochs: int) -> float:
    """Half a cosine over what the warm-up leaves of the stage (Loshchilov & Hutter 2017).

    It is 1 until the warm-up is over and in the first epoch after it, and would reach 0 one epoch after the stage's
    last: every epoch trains.

    Args:
        epoch: epochs of the stage that are done, fewer than `epochs`.
        epochs: the stage's largest number of epochs; may be smaller than the warm-up.
    """
    span = max(1, epochs - warmup_epochs)
    done = max(0, epoch - warmup_epochs)
    return 0.5 * (1 + math.cos(math.pi * done / span))


def drops_on_plateau(losses: Sequence[float], *, patience: int, threshold: float) -> int:
    """How often the loss has gone more than `patience` epochs without a drop larger than `threshold`, as torch counts it.

    The wait starts anew after each time. NaN never improves.
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
    """Linear warm-up to the peak, then what the schedule says until the stage's last epoch; never 0.

    Args:
        epoch: epochs of the stage that are done, so 0 in its first.
        losses: validation losses of the stage's epochs so far.
    """
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
    """Two half cosines: up to 1, then down to next to nothing (Smith & Topin 2019, as torch draws it).

    Args:
        progress: share of the run that is done, in 0 … 1.
    """
    start, peak_at = 1 / config.start_divisor, config.warmup_fraction
    if progress < peak_at:
        return _eased(start, 1.0, progress / peak_at)
    return _eased(1.0, start / config.end_divisor, (progress - peak_at) / max(1 - peak_at, 1e-9))


def _eased(begin: float, end: float, share: float) -> float:
    """Half a cosine from `begin` to `end`."""
    return end + (begin - end) * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
