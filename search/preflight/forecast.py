"""Estimates the duration of a search from the cost of an epoch in each stage. Pure functions, whose assumptions are
documented."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pkgutil import resolve_name

import numpy as np

from search.config.resources import Resources
from search.config.scheduler import Pbt, SchedulerSettings, Stopping, scheduler_spec
from search.preflight.local_machine import Machine
from trainables.core.rungs import Rungs
from trainables.recipe.recipe import Recipe
from trainables.training.stage_plan import Position, drw_is_pending
from trainables.trial.dry_run import DryRun, StageCost

_SIMULATED_TRIALS = 2000
"""Number of trials that are simulated, in one search after the other, to find the effect of pruning."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Estimated duration of a search."""

    trials: int
    at_once: int
    """Trials that run at the same time."""
    longest_epochs: int
    """Epochs of the longest trial that the space allows."""
    mean_epochs: float
    """Mean epochs of a trial, without pruning and plateaus."""
    mean_trial_s: float
    """Mean seconds of a trial, over points drawn from the space."""
    share: float
    """Share of the seconds of all trials that remains after pruning."""
    most_s: float
    """Seconds of the search if every trial were as long as the longest and none were pruned."""
    expected_s: float
    """Seconds of the search with pruning."""


def forecast(
    draws: Sequence[Recipe],
    costs: Sequence[StageCost],
    *,
    trials: int,
    scheduler: SchedulerSettings,
    rungs: Rungs,
    longest_epochs: int,
    at_once: int,
) -> Forecast:
    """Estimates the duration of a search.

    Args:
        draws: recipes of points drawn from the space; trials take them in turn.
        costs: costs of measured stages; those of other stages are interpolated between the nearest cuts.
        trials: number of trials.
        scheduler: settings of the scheduler.
        rungs: rungs at which it compares trials.
        longest_epochs: epochs of the longest trial that the space allows.
        at_once: trials that run at the same time.
    """
    timelines = [timeline_of(recipe, costs, scheduler, rungs) for recipe in draws]
    once = max(cost.cache_s for cost in costs)  # features at one cut are computed on the way to the next
    longest = max(timeline.elapsed[-1] for timeline in timelines)
    mean = float(np.mean([timeline.elapsed[-1] for timeline in timelines]))
    share = share_left(timelines, trials=trials, scheduler=scheduler)
    return Forecast(
        trials=trials,
        at_once=at_once,
        longest_epochs=longest_epochs,
        mean_epochs=float(np.mean([len(timeline.elapsed) for timeline in timelines])),
        mean_trial_s=mean,
        share=share,
        most_s=once + math.ceil(trials / at_once) * longest,
        expected_s=once + max(mean, mean * share * trials / min(at_once, trials)),
    )


Simulation = Callable[[SchedulerSettings, Sequence["Timeline"], np.random.Generator], float]
"""Simulates a search with a scheduler: settings, timelines of the trials, random numbers -> seconds of all trials."""


@dataclass(frozen=True)
class Timeline:
    """Timeline of a run whose stages use all their epochs."""

    elapsed: Sequence[float]
    """Seconds since the start after each epoch."""
    compared: Sequence[tuple[int, int]]
    """Rungs, counted from 0, and the epochs after which trials are compared there; without those of the last epoch."""


def timeline_of(recipe: Recipe, costs: Sequence[StageCost], scheduler: SchedulerSettings, rungs: Rungs) -> Timeline:
    """Timeline of a recipe's run.

    Args:
        recipe: the recipe.
        costs: costs of measured stages.
        scheduler: settings of the scheduler.
        rungs: rungs at which it compares trials.
    """
    seconds = {cost.depth: cost.epoch_s for cost in costs}
    parameters = {cost.depth: float(cost.trained_parameters) for cost in costs}
    compute = _cumulative(recipe, parameters, data=True)
    compared, passed, position = [], 0, Position()
    for i, stage in enumerate(recipe.train.stages):
        for epoch in range(1, stage.epochs + 1):
            position = replace(position, stage=i, epoch=position.epoch + 1, epoch_in_stage=epoch)
            share = compute[position.epoch - 1] / compute[-1]
            over = epoch == stage.epochs
            now = rungs.reached({"epoch": position.epoch, "compute_share": share, "stage_index": i, "stage_over": over})
            waits = scheduler.waits_for_drw and drw_is_pending(recipe, position)
            if now > passed and not waits and position.epoch < len(compute):
                compared.append((now - 1, position.epoch))
            passed = now
    return Timeline(_cumulative(recipe, seconds), compared)


def _cumulative(recipe: Recipe, of_depth: Mapping[float, float], *, data: bool = False) -> list[float]:
    """Cumulative sum over the epochs of a quantity that is known for some depths.

    Args:
        recipe: the recipe.
        of_depth: `Recipe.depth` of a stage -> quantity of an epoch.
        data: True if it grows with the share of the images that a stage sees. (Measured seconds include that.)
    """
    depths = sorted(of_depth)
    of_epochs = [
        float(np.interp(recipe.depth(i), depths, [of_depth[depth] for depth in depths]))
        * (stage.data_fraction if data else 1.0)
        for i, stage in enumerate(recipe.train.stages)
        for _ in range(stage.epochs)
    ]
    return list(accumulate(of_epochs))


def share_left(timelines: Sequence[Timeline], *, trials: int, scheduler: SchedulerSettings) -> float:
    """Share of the seconds of all trials that a scheduler leaves, on average over simulated searches.

    Trials reach the rungs one after the other. Each has a place in a random order, the same at every rung, and
    continues if the scheduler would let it, given the trials before it; the first ones thus always continue.

    Args:
        timelines: timelines of runs that trials take in turn.
        trials: number of trials of a search.
        scheduler: settings of the scheduler.
    """
    simulated = scheduler_spec(scheduler).simulate
    if simulated is None:
        return 1.0
    simulate: Simulation = resolve_name(simulated)
    random, trials = np.random.default_rng(0), min(trials, _SIMULATED_TRIALS)
    taken = [timelines[i % len(timelines)] for i in range(trials)]
    searches = math.ceil(_SIMULATED_TRIALS / trials)
    run = sum(simulate(scheduler, taken, random) for _ in range(searches))
    return run / (searches * sum(timeline.elapsed[-1] for timeline in taken))


def seconds_of_population(scheduler: Pbt, timelines: Sequence[Timeline], random: np.random.Generator) -> float:
    """Simulates a population with random ranks at each interval; trials that replace others start from there.

    Args:
        scheduler: settings of the scheduler.
        timelines: timelines of the trials.
        random: source of the ranks.
    Returns:
        Seconds of all trials.
    """
    arrivals: Counter[int] = Counter()
    free: list[tuple[Timeline, int]] = []
    total = 0.0
    for number, own in enumerate(timelines):
        timeline, begin = free.pop(0) if free and number >= scheduler.population else (own, 0)
        end = len(timeline.elapsed)
        for epoch in (epoch for _, epoch in timeline.compared if epoch > begin):
            arrivals[epoch] += 1
            others = min(arrivals[epoch], scheduler.population)
            if random.integers(others) < scheduler.stopping(others):
                free.append((timeline, end := epoch))
                break
        total += timeline.elapsed[end - 1] - (timeline.elapsed[begin - 1] if begin else 0.0)
    return total


def seconds_of_stopping(scheduler: Stopping, timelines: Sequence[Timeline], random: np.random.Generator) -> float:
    """Simulates a search whose trials stop at rungs; each has a random rank, the same at every rung.

    Args:
        scheduler: settings of the scheduler.
        timelines: timelines of the trials.
        random: source of the ranks.
    Returns:
        Seconds of all trials.
    """
    return _seconds_run(timelines, random.permutation(len(timelines)).tolist(), scheduler, random)


def _seconds_run(
    timelines: Sequence[Timeline], quality: Sequence[int], scheduler: Stopping, random: np.random.Generator
) -> float:
    """Seconds of a search whose trials have the given ranks; higher is better."""
    seen: dict[tuple[int, int], list[int]] = {}
    count = max((rung + 1 for timeline in timelines for rung, _ in timeline.compared), default=0)
    brackets = scheduler.brackets_of(count)
    chances = np.exp(-np.arange(brackets))  # as Ray draws brackets: each is e times less likely than the one before
    total = 0.0
    for timeline, own in zip(timelines, quality, strict=True):
        bracket, end = int(random.choice(brackets, p=chances / chances.sum())), len(timeline.elapsed)
        for rung, epoch in timeline.compared:
            if rung < bracket:
                continue
            others = seen.setdefault((bracket, rung), [])
            stops = scheduler.stops(own, others)
            others.append(own)
            if stops:
                end = epoch
                break
        total += timeline.elapsed[end - 1]
    return total


def trials_at_once(resources: Resources, machine: Machine, limit: int | None, *, processes: int = 1) -> int:
    """Number of trials that run at the same time; 0 if none fits.

    Args:
        resources: resources of each process of a trial.
        machine: the machine that they run on.
        limit: `SearchSettings.most_at_once`.
        processes: processes of a trial.
    """
    # The result of `auto` is not known before it is measured; one trial fits in any case.
    gpus = min(1.0, machine.gpus) if resources.gpus in {None, "auto"} else float(resources.gpus)
    counts = [int(machine.cpus / resources.cpus + 1e-9)]
    if gpus:
        # A share of a GPU is on one GPU: two trials of 0.6 take two.
        counts.append(machine.gpus * int(1 / gpus + 1e-9))
    room = min(counts) // processes
    return room if limit is None else min(room, limit)


_WORKER_BYTES = 400 * 2**20
"""RAM of a Ray process with torch, without a trial: 372 MB were measured."""
_GPU_CONTEXT_BYTES = 500 * 2**20
"""GPU memory that CUDA takes for each process."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Memory of a trial, and how many trials fit."""

    trial_ram_bytes: int
    """RAM of its process, its model and its batches; without decoded images, which all trials share."""
    fit_in_ram: int
    """Number of trials that fit in the RAM that is free now."""
    trial_gpu_bytes: int | None
    """GPU memory of a trial; None without a GPU."""
    fit_on_a_gpu: int | None
    """Number of trials that fit on a GPU; None without a GPU."""


def memory(tried: DryRun, machine: Machine) -> Memory:
    """Memory of a trial, from what trying its stages took."""
    ram = _WORKER_BYTES + tried.ram_bytes
    gpu = None if tried.gpu_bytes is None else _GPU_CONTEXT_BYTES + tried.gpu_bytes
    return Memory(
        trial_ram_bytes=ram,
        fit_in_ram=machine.ram_bytes // ram,
        trial_gpu_bytes=gpu,
        fit_on_a_gpu=None if gpu is None or machine.gpu_bytes is None else machine.gpu_bytes // gpu,
    )
