"""Ray's schedulers, called at the rungs of this project, and brought up to date after a resume.

`SCHEDULERS` in `search/config/scheduler.py` declares them.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pkgutil import resolve_name
from types import MappingProxyType
from typing import Any

import numpy as np
from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler

from search.config.scheduler import Comparing, Halving, Median, NoPruning, Pbt, Scheduler, Stopping, scheduler_spec
from search.tuning.population import Population
from trainables.core.rungs import Rungs
from trainables.core.seeding import derived_seed
from trainables.core.vocabulary import Metric
from trainables.run_folder.protocol import StepResult, TrialAssignment
from trainables.run_folder.trial_record import Parent

Records = Mapping[int, Sequence[Mapping[str, Any]]]
"""Number of a trial -> its lines in `epochs.jsonl`, oldest first."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Rungs, scores and earlier epochs that a scheduler starts from."""

    rungs: Rungs
    """Rungs at which trials are compared."""
    metric: Metric
    """Metric that trials are compared by."""
    seed: int
    """Seed of brackets, or of the choice of parents."""
    records: Records
    """Epochs of all trials of earlier attempts, including those that will be resumed."""
    parents: Mapping[int, Parent]
    """Number of a trial -> its parent, for trials that have one."""


@dataclass(frozen=True)
class _Known:
    """Stand-in for Ray's trial object, by the trial's number, which is the same in all attempts."""

    trial_id: int


class WarmScheduler(FIFOScheduler):
    """Scheduler that gives a free worker to a new trial; a trial whose own worker is starting waits for it.

    Ray's own scheduler gives a free worker to the oldest trial that waits, and drops the worker that was starting for
    it. If trials take less time than workers take to start, only the first worker would ever be used.
    """

    def choose_trial_to_run(self, _controller: Any) -> None:
        return None  # Tune then gives free workers to trials that have none, before all others


def build_no_pruning(_settings: NoPruning, _setup: Setup) -> TrialScheduler:
    return WarmScheduler()


class RungScheduler(WarmScheduler):
    """Compares a trial that reaches a rung with others, and decides whether it continues.

    Ray forgets on a restore which trial reached which rung; this class reads it from the epochs on disk.
    """

    def __init__(self, settings: Comparing, setup: Setup):
        super().__init__()
        self._settings, self._rungs = settings, setup.rungs
        self._worst = setup.metric.worst  # not `_metric`: Ray looks for that in results
        self._passed: dict[int, int] = {}
        self.stopped: dict[int, int] = {}
        """Number of a trial -> the epoch after which it was to stop, earlier attempts included."""
        lines = [(line, number) for number, of_trial in setup.records.items() for line in of_trial]
        for line, number in sorted(lines, key=lambda pair: str(pair[0]["time"])):
            self._after_epoch(number, line)

    def on_trial_result(self, _controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        reports = StepResult.of_result(result).reports  # empty for a trial that was given up
        number = TrialAssignment.of_config(trial.config).number
        return self._after_epoch(number, reports[-1]) if reports else str(TrialScheduler.CONTINUE)

    def on_trial_complete(self, _controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        self.on_trial_result(_controller, trial, result)  # later trials are compared with it

    def _after_epoch(self, number: int, report: Mapping[str, Any]) -> str:
        """Decides whether a trial continues after an epoch."""
        passed = self._rungs.reached(report)
        if passed <= self._passed.get(number, 0):
            return str(TrialScheduler.CONTINUE)  # also for an epoch that is trained again after a crash
        self._passed[number] = passed
        if report["drw_pending"] and self._settings.before_drw == "wait":
            return str(TrialScheduler.CONTINUE)
        decision = self._at_rung(number, passed, report)
        if decision == TrialScheduler.STOP and not report["finished"]:
            self.stopped[number] = report["epoch"]
        return decision

    @abstractmethod
    def _at_rung(self, number: int, passed: int, report: Mapping[str, Any]) -> str:
        """Decides whether a trial continues that has passed this many rungs, the last of them with this report."""

    def _rung_score(self, report: Mapping[str, Any]) -> float:
        """Score of a trial that is compared at a rung."""
        corrected = report["drw_pending"] and self._settings.before_drw == "corrected"
        value = report["best_corrected" if corrected else "best_score"]
        return self._worst if value is None else float(value)  # null on disk until an epoch has a score


class RayScheduler(RungScheduler):
    """Rungs with one of Ray's schedulers."""

    def __init__(self, settings: Stopping, setup: Setup):
        self._seed, self._known = setup.seed, dict[int, _Known]()
        self._ray = self._of_ray(settings, setup)
        super().__init__(settings, setup)

    @abstractmethod
    def _of_ray(self, settings: Any, setup: Setup) -> TrialScheduler:
        """Ray's scheduler. Its time is `_time` of the number of rungs that a trial has passed."""

    @abstractmethod
    def _time(self, passed: int) -> float:
        """Time of a trial that has passed this many rungs."""

    def _at_rung(self, number: int, passed: int, report: Mapping[str, Any]) -> str:
        if number not in self._known:
            self._known[number] = _Known(number)
            with _drawing_as(derived_seed(self._seed, "bracket", number)):
                self._ray.on_trial_add(None, self._known[number])
        return str(self._ray.on_trial_result(None, self._known[number], self._result(passed, report)))

    def _result(self, passed: int, report: Mapping[str, Any]) -> dict[str, Any]:
        return {"time": self._time(passed), "rung_score": self._rung_score(report)}


class HalvingScheduler(RayScheduler):
    """Ray's successive halving, for ASHA and Hyperband. Its rungs are powers of `reduction`, wherever ours are."""

    _settings: Halving

    def _of_ray(self, settings: Halving, setup: Setup) -> TrialScheduler:
        count = len(setup.rungs.positions)
        return AsyncHyperBandScheduler(
            **_names_in_results(setup.metric),
            grace_period=1,
            reduction_factor=settings.reduction,
            max_t=settings.reduction**count,  # beyond the last rung, because Ray stops trials at max_t
            brackets=settings.brackets_of(count),
        )

    def _time(self, passed: int) -> float:
        return self._settings.reduction ** (passed - 1)


class MedianScheduler(RayScheduler):
    """Ray's median stopping rule."""

    def _of_ray(self, settings: Median, setup: Setup) -> TrialScheduler:
        # A time slice without end: otherwise it would pause trials to let others catch up.
        return MedianStoppingRule(
            **_names_in_results(setup.metric),
            grace_period=1,
            min_samples_required=settings.min_trials,
            min_time_slice=math.inf,
        )

    def _time(self, passed: int) -> float:
        return float(passed)

    def _at_rung(self, number: int, passed: int, report: Mapping[str, Any]) -> str:
        if number in self.stopped:
            # It continued nevertheless: the files do not show in which order trials with equal times were compared.
            self._ray.on_trial_complete(None, self._known[number], self._result(passed, report))
            return str(TrialScheduler.CONTINUE)
        return super()._at_rung(number, passed, report)


def _names_in_results(metric: Metric) -> dict[str, str]:
    """Names under which Ray's schedulers find time and score, and the mode of the score."""
    return {"time_attr": "time", "metric": "rung_score", "mode": metric.mode}


@contextmanager
def _drawing_as(seed: int) -> Iterator[None]:
    """Seeds NumPy's global random numbers, from which Ray draws brackets, within the context."""
    state = np.random.get_state()
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        np.random.set_state(state)


class PopulationScheduler(RungScheduler):
    """Rungs of population-based training. A trial is compared only on epochs of its own, not on those of its parent."""

    def __init__(self, settings: Pbt, setup: Setup):
        self.population = Population(settings, metric=setup.metric, seed=setup.seed)
        self._parents = dict(setup.parents)
        super().__init__(settings, setup)
        self.population.mark_taken(parent.epoch for parent in setup.parents.values())

    def on_trial_add(self, _controller: Any, trial: Trial) -> None:
        assignment = TrialAssignment.of_config(trial.config)
        if assignment.parent:
            self._parents[assignment.number] = assignment.parent

    def _after_epoch(self, number: int, report: Mapping[str, Any]) -> str:
        if self.stopped.get(number, math.inf) < report["epoch"]:  # it continued nevertheless, see `RayScheduler`
            self.population.mark_taken([self.stopped.pop(number)])
        return super()._after_epoch(number, report)

    def _at_rung(self, number: int, passed: int, report: Mapping[str, Any]) -> str:
        epoch = int(self._rungs.positions[passed - 1])
        if number in self._parents and epoch <= self._parents[number].epoch:
            return str(TrialScheduler.CONTINUE)  # its parent was compared there
        where = Parent(trial=number, epoch=epoch, stage=report["stage_index"] + report["stage_over"])
        stops = self.population.arrive(where, self._rung_score(report), finished=report["finished"])
        return str(TrialScheduler.STOP if stops else TrialScheduler.CONTINUE)


def build_scheduler(
    settings: Scheduler,
    rungs: Rungs,
    *,
    metric: Metric,
    seed: int,
    records: Records,
    parents: Mapping[int, Parent] = MappingProxyType({}),
) -> TrialScheduler:
    """Builds the scheduler that decides which trials continue; see `RungScheduler` and `PopulationScheduler`.

    Args:
        settings: settings of the scheduler.
        rungs: rungs at which trials are compared.
        metric: metric that trials are compared by.
        seed: seed of brackets, or of the choice of parents.
        records: epochs of all trials of earlier attempts.
        parents: number of a trial -> its parent, in population-based training.
    """
    build = resolve_name(scheduler_spec(settings).build)
    scheduler: TrialScheduler = build(
        settings, Setup(rungs=rungs, metric=metric, seed=seed, records=records, parents=parents)
    )
    return scheduler
