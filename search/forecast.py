"""How long a search should take, from what an epoch of each stage costs. Pure numbers; what they assume is said beside them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from search.machine import Machine
from search.resources_config import Resources
from search.rungs import rungs
from search.scheduler_config import Asha, NoPruning
from trainables.dry_run import DryRun, StageCost
from trainables.recipe import Recipe

_PLAYED_TRIALS = 2000
"""Trials that are played through, in one search after the other, to find what pruning leaves."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """The length of a search."""

    trials: int
    at_once: int
    """Trials that run at the same time."""
    longest_epochs: int
    """Of the longest run that the space allows."""
    mean_epochs: float
    """Of a trial, without pruning and without plateaus."""
    mean_trial_s: float
    """The same in seconds, over points drawn from the space."""
    share: float
    """Of the seconds of all trials, what the scheduler lets run."""
    most_s: float
    """Length of the search if every trial were the longest and none were pruned."""
    expected_s: float
    """Length with pruning."""


def forecast(
    draws: Sequence[Recipe],
    costs: Sequence[StageCost],
    *,
    trials: int,
    scheduler: Asha | NoPruning,
    longest_epochs: int,
    at_once: int,
) -> Forecast:
    """The length of a search.

    Args:
        draws: recipes of points drawn from the space; trials take them in turn.
        costs: of measured stages; an epoch of any other stage costs what lies between those with the next cuts.
        longest_epochs: of the longest run that the space allows.
    """
    curves = [elapsed(recipe, costs) for recipe in draws]
    once = max(cost.cache_s for cost in costs)  # features at one cut come by on the way to the next
    longest = max(curve[-1] for curve in curves)
    mean = float(np.mean([curve[-1] for curve in curves]))
    share = share_left(curves, trials=trials, scheduler=scheduler, longest_epochs=longest_epochs)
    return Forecast(
        trials=trials,
        at_once=at_once,
        longest_epochs=longest_epochs,
        mean_epochs=float(np.mean([len(curve) for curve in curves])),
        mean_trial_s=mean,
        share=share,
        most_s=once + math.ceil(trials / at_once) * longest,
        expected_s=once + max(mean, mean * share * trials / min(at_once, trials)),
    )


def elapsed(recipe: Recipe, costs: Sequence[StageCost]) -> list[float]:
    """Seconds that have gone by after each epoch of a run whose stages use all their epochs."""
    known = {cost.cut: cost.epoch_s for cost in sorted(costs, key=lambda cost: cost.cut)}
    seconds = [
        float(np.interp(recipe.cut(i), list(known), list(known.values())))
        for i, stage in enumerate(recipe.train.stages)
        for _ in range(stage.epochs)
    ]
    return list(accumulate(seconds))


def share_left(
    curves: Sequence[Sequence[float]], *, trials: int, scheduler: Asha | NoPruning, longest_epochs: int
) -> float:
    """What a scheduler leaves of the seconds of all trials, on average over searches that are played through.

    One trial after the other comes to the rungs, and is as good as its place in a random order says, at every rung. A trial
    goes on where it is no worse than the best 1 / `reduction` of those that came before it, the first ones thus always.

    Args:
        curves: seconds gone by after each epoch, of runs that trials take in turn.
    """
    if not isinstance(scheduler, Asha):
        return 1.0
    milestones, random = rungs(scheduler, max_epochs=longest_epochs), np.random.default_rng(0)
    taken = [curves[i % len(curves)] for i in range(trials)]
    orders = [random.permutation(trials).tolist() for _ in range(math.ceil(_PLAYED_TRIALS / trials))]
    run = sum(_seconds_run(taken, order, milestones, scheduler) for order in orders)
    return run / (len(orders) * sum(curve[-1] for curve in taken))


def _seconds_run(
    curves: Sequence[Sequence[float]], quality: Sequence[int], milestones: Sequence[int], scheduler: Asha
) -> float:
    seen: dict[int, list[int]] = {milestone: [] for milestone in milestones}
    total = 0.0
    for curve, own in zip(curves, quality, strict=True):
        end = len(curve)
        for milestone in (m for m in milestones if m < len(curve)):
            others = seen[milestone]
            stops = bool(others) and own < np.percentile(others, 100 * (1 - 1 / scheduler.reduction))
            others.append(own)
            if stops:
                end = milestone
                break
        total += curve[end - 1]
    return total


def trials_at_once(resources: Resources, machine: Machine, limit: int | None) -> int:
    """Trials that run at the same time; 0 where none fits.

    Args:
        limit: `search.max_concurrent`.
    """
    # What `auto` will come to is not known before it was tried: one trial has room in any case.
    gpus = min(1.0, machine.gpus) if resources.gpus in {None, "auto"} else float(resources.gpus)
    counts = [int(machine.cpus / resources.cpus + 1e-9)]
    if gpus:
        # A share of a GPU lies on one GPU: two trials of 0.6 take two.
        counts.append(machine.gpus * int(1 / gpus + 1e-9))
    return min(counts if limit is None else [*counts, limit])


_WORKER_BYTES = 400 * 2**20
"""What a process of Ray with torch takes by itself: 372 MB were measured."""
_GPU_CONTEXT_BYTES = 500 * 2**20
"""What CUDA takes of a GPU for each process."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What a trial takes, and how many have room."""

    trial_ram_bytes: int
    """Its process, its model and its batches; without decoded images, which all trials share."""
    fit_in_ram: int
    """Trials that have room in what is free now."""
    trial_gpu_bytes: int | None
    fit_on_a_gpu: int | None
    """None without a GPU."""


def memory(tried: DryRun, machine: Machine) -> Memory:
    """What a trial takes, from what trying its stages took."""
    ram = _WORKER_BYTES + tried.ram_bytes
    gpu = None if tried.gpu_bytes is None else _GPU_CONTEXT_BYTES + tried.gpu_bytes
    return Memory(
        trial_ram_bytes=ram,
        fit_in_ram=machine.ram_bytes // ram,
        trial_gpu_bytes=gpu,
        fit_on_a_gpu=None if gpu is None or machine.gpu_bytes is None else machine.gpu_bytes // gpu,
    )
