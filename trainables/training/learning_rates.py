"""Learning rates and momentum by epoch or by optimizer step. Pure functions of numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from trainables.recipe.recipe import Recipe
from trainables.recipe.stage_config import Constant, Cosine, ReduceOnPlateau, Step

Schedule = Constant | Cosine | Step | ReduceOnPlateau


def warmup_factor(done: int, warmup: int) -> float:
    """Linear rise to 1 (Goyal et al. 2017): three warm-up epochs give 1/3, 2/3, 1. None is spent at 0.

    Args:
        done: number of epochs, or optimizer steps, done: 0 in the first.
        warmup: length of the warm-up in the same unit; 0 switches it off.
    """
    return min(1.0, (done + 1) / max(1, warmup))


def cosine_factor(done: int, *, warmup: int, length: int) -> float:
    """Half a cosine after the warm-up (Loshchilov & Hutter 2017).

    It is 1 during the warm-up and right after it, and would reach 0 right after the end, so that every epoch (or step) trains.

    Args:
        done: number of epochs, or optimizer steps, done; less than `length`.
        warmup: length of the warm-up in the same unit.
        length: length of warm-up and cosine; may be smaller than the warm-up.
    """
    span = max(1, length - warmup)
    return 0.5 * (1 + math.cos(math.pi * max(0, done - warmup) / span))


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
    schedule: Schedule,
    peak: float,
    done: int,
    *,
    warmup: int,
    length: int,
    steps_in_epoch: int = 1,
    losses: Sequence[float] = (),
) -> float:
    """Learning rate: linear warm-up to the peak, then the schedule until the end; never 0.

    Args:
        schedule: schedule of the stage.
        peak: learning rate after the warm-up.
        done: number of epochs, or optimizer steps, done: 0 in the first.
        warmup: length of the warm-up in the same unit; what is beyond `length` does not count.
        length: largest number of epochs, or optimizer steps, of the stage.
        steps_in_epoch: optimizer steps in an epoch; 1 if the unit is an epoch.
        losses: validation losses of the stage's epochs so far.
    """
    warmup = max(0, min(warmup, length))  # a default, or a drawn value, may be longer than the stage
    match schedule:
        case Constant():
            decay = 1.0
        case Cosine(min_lr=floor):
            decay = max(cosine_factor(done, warmup=warmup, length=length), min(1.0, floor / peak))
        case Step(every_epochs=every, factor=factor, min_lr=floor):
            drops = max(0, done - warmup) // (every * steps_in_epoch)
            decay = max(factor**drops, min(1.0, floor / peak))
        case ReduceOnPlateau(patience=patience, threshold=threshold, factor=factor, min_lr=floor):
            drops = drops_on_plateau(losses, patience=patience, threshold=threshold)
            decay = max(factor**drops, min(1.0, floor / peak))
    return peak * (warmup_factor(done, warmup) * decay)


def one_cycle(done: float, *, peak: float, end: float, values: tuple[float, float, float]) -> float:
    """Two half cosines (Smith & Topin 2019, in torch's version).

    Args:
        done: number of optimizer steps done, or share of the run.
        peak: number or share at which the middle value is reached; 0 or less: before the first step.
        end: number or share at which the last value is reached.
        values: first, middle and last value.
    """
    first, middle, last = values
    if done < peak:
        return _eased(first, middle, done / peak)
    return _eased(middle, last, (done - peak) / max(end - peak, 1e-9))


def _eased(begin: float, end: float, share: float) -> float:
    """Interpolates from `begin` to `end` by half a cosine."""
    return end + (begin - end) * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


# --- rates of a recipe ----------------------------------------------------------------------------------------------


class Rates(NamedTuple):
    """Learning rates and momentum of an optimizer step."""

    head_lr: float
    backbone_lr: float
    momentum: float
    """Momentum of SGD; Adam's first beta."""


def rates_of_epoch(
    recipe: Recipe,
    stage: int,
    epoch: int,
    *,
    losses: Sequence[float] = (),
    steps_in_epoch: Callable[[int], int] | None = None,
) -> tuple[Rates, ...]:
    """Rates of each optimizer step of an epoch, or of all of them if learning rates follow epochs, as if all was open.

    They depend on nothing but the position in the recipe's plan: a stage that ended early counts as if it had used all its epochs,
    and a step that fp16 skips counts, too.

    Args:
        recipe: recipe of the run.
        stage: position of the stage.
        epoch: number of epochs done in the stage.
        losses: validation losses of the stage's epochs so far.
        steps_in_epoch: position of a stage -> optimizer steps in each of its epochs; needed for `schedule_by: step`.
    """
    stages = recipe.train.stages
    if recipe.train.schedule_by == "epoch":
        units = [1] * len(stages)
    else:
        assert steps_in_epoch is not None
        units = [steps_in_epoch(i) for i in range(len(stages))]
    of_unit = _curve_of_run if recipe.train.curve_of_run else partial(_curves_of_stage, losses=losses)
    return tuple(of_unit(recipe, stage, epoch * units[stage] + i, units) for i in range(units[stage]))


def _curves_of_stage(recipe: Recipe, index: int, done: int, units: Sequence[int], *, losses: Sequence[float]) -> Rates:
    """Rates by the stage's own warm-ups and schedule, `done` units (epochs or steps) into the stage."""
    stage, unit = recipe.train.stages[index], units[index]
    rest = recipe.head_frozen_epochs(index) * unit
    rate = partial(learning_rate, stage.schedule, losses=losses, steps_in_epoch=unit)
    length = stage.epochs * unit
    # The head's schedule starts when the head starts to train.
    head_warmup, backbone_warmup = stage.head_warmup_epochs * unit, stage.backbone_warmup_epochs * unit
    return Rates(
        rate(stage.peak_head_lr, max(0, done - rest), warmup=head_warmup, length=length - rest),
        rate(stage.peak_backbone_lr, done, warmup=backbone_warmup, length=length),
        recipe.train.optimizer.momentum,
    )


def _curve_of_run(recipe: Recipe, index: int, done: int, units: Sequence[int]) -> Rates:
    """Rates by the curve over all stages, `done` units (epochs or steps) into a stage."""
    train, stage = recipe.train, recipe.train.stages[index]
    peaks, momentum = (stage.peak_head_lr, stage.peak_backbone_lr), train.optimizer.momentum
    done, length = _planned(recipe, units, stages=index) + done, _planned(recipe, units)
    if train.cosine:
        warmups = (train.cosine.head_warmup_epochs, train.cosine.backbone_warmup_epochs)
        schedule = Cosine(kind="cosine", min_lr=train.cosine.min_lr)
        head_lr, backbone_lr = (
            learning_rate(schedule, peak, done, warmup=_planned(recipe, units, epochs=epochs), length=length)
            for peak, epochs in zip(peaks, warmups, strict=True)
        )
        return Rates(head_lr, backbone_lr, momentum)
    cycle = train.one_cycle
    assert cycle is not None
    start, rise = 1 / cycle.start_divisor, cycle.warmup_fraction
    if train.schedule_by == "step":  # counted as torch does
        curve = partial(one_cycle, done, peak=rise * length - 1, end=length - 1)
    else:  # an epoch has the value in its middle
        curve = partial(one_cycle, (done + 0.5) / length, peak=rise, end=1)
    factor = curve(values=(start, 1.0, start / cycle.end_divisor))
    if cycle.momentum:
        momentum = curve(values=(cycle.momentum.high, cycle.momentum.low, cycle.momentum.high))
    return Rates(peaks[0] * factor, peaks[1] * factor, momentum)


def _planned(recipe: Recipe, units: Sequence[int], *, stages: int | None = None, epochs: int | None = None) -> int:
    """Number of units (epochs or steps) in the first stages of the plan, or in its first epochs.

    Args:
        recipe: recipe of the run.
        units: units in an epoch of each stage.
        stages: number of stages; None: all.
        epochs: largest number of epochs; None: all.
    """
    left, total = recipe.train.max_epochs if epochs is None else epochs, 0
    for stage, unit in list(zip(recipe.train.stages, units, strict=True))[:stages]:
        total += min(left, stage.epochs) * unit
        left -= min(left, stage.epochs)
    return total
