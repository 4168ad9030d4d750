"""Ray's schedulers, asked at the rungs of this project and told what happened before they were made."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler

from search.config.scheduler import Asha, Hyperband, Median, Pbt, Scheduler
from search.tuning.population import Population
from trainables.core.rungs import Rungs
from trainables.core.seeding import derived_seed
from trainables.core.vocabulary import Metric
from trainables.run_folder.protocol import StepResult, TrialAssignment
from trainables.run_folder.trial_record import Parent

Records = Mapping[int, Sequence[Mapping[str, Any]]]
"""Number of a trial -> its lines in `epochs.jsonl`, oldest first."""


@dataclass(frozen=True)
class _Known:
    """A trial as the scheduler of Ray's knows it: by its number, in whichever attempt."""

    trial_id: int


class WarmScheduler(FIFOScheduler):
    """A worker that is free goes to a new trial; trials whose own worker is starting wait for it.

    Ray's own gives it to the oldest trial that waits, and drops the worker that was starting for that one. Where trials take less
    time than workers take to start, only the first worker would ever work.
    """

    def choose_trial_to_run(self, _controller: Any) -> None:
        return None  # Tune then gives free workers to trials that have none, before all others


class RungScheduler(WarmScheduler):
    """Judges a trial that comes to a rung.

    Ray itself forgets on a restore who stood where; this one reads it from what trials left on disk.
    """

    def __init__(self, settings: Asha | Hyperband | Median | Pbt, rungs: Rungs, *, metric: Metric, records: Records):
        """
        Args:
            metric: what trials are scored by.
            records: of all trials of earlier attempts, also of those that will be taken up again.
        """
        super().__init__()
        self._settings, self._rungs = settings, rungs
        self._worst = metric.worst  # not `_metric`: Ray looks for that in results
        self._passed: dict[int, int] = {}
        self.stopped: dict[int, int] = {}
        """Number of a trial -> the epoch after which it was not to go on; those of earlier attempts included."""
        lines = [(line, number) for number, of_trial in records.items() for line in of_trial]
        for line, number in sorted(lines, key=lambda pair: str(pair[0]["time"])):
            self._judge(number, line)

    def on_trial_result(self, _controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        reports = StepResult.of_result(result).reports  # none of a trial that was given up
        number = TrialAssignment.of_config(trial.config).number
        return self._judge(number, reports[-1]) if reports else str(TrialScheduler.CONTINUE)

    def on_trial_complete(self, _controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        self.on_trial_result(_controller, trial, result)  # those to come are compared with it

    def _judge(self, number: int, report: Mapping[str, Any]) -> str:
        """What becomes of a trial after an epoch."""
        passed = self._rungs.passed(report)
        if passed <= self._passed.get(number, 0):
            return str(TrialScheduler.CONTINUE)  # also an epoch that is done again after a crash
        self._passed[number] = passed
        if report["drw_pending"] and self._settings.before_drw == "wait":
            return str(TrialScheduler.CONTINUE)
        decision = self._decision(number, passed, report)
        if decision == TrialScheduler.STOP and not report["finished"]:
            self.stopped[number] = report["epoch"]
        return decision

    @abstractmethod
    def _decision(self, number: int, passed: int, report: Mapping[str, Any]) -> str:
        """What becomes of a trial that has come to so many rungs, the last of them with this report."""

    def _judged(self, report: Mapping[str, Any]) -> float:
        corrected = report["drw_pending"] and self._settings.before_drw == "corrected"
        value = report["best_corrected" if corrected else "best_score"]
        return self._worst if value is None else float(value)  # null on disk until an epoch has a score


class RayScheduler(RungScheduler):
    """Asks one of Ray's schedulers."""

    def __init__(
        self, settings: Asha | Hyperband | Median, rungs: Rungs, *, metric: Metric, seed: int, records: Records
    ):
        """
        Args:
            seed: of the brackets that trials are put in.
        """
        self._ladder, self._seed = settings, seed
        self._ray = _of_ray(settings, rungs, mode=metric.mode)
        self._known: dict[int, _Known] = {}
        super().__init__(settings, rungs, metric=metric, records=records)

    def _decision(self, number: int, passed: int, report: Mapping[str, Any]) -> str:
        if number not in self._known:
            self._known[number] = _Known(number)
            with _drawing_as(derived_seed(self._seed, "bracket", number)):
                self._ray.on_trial_add(None, self._known[number])
        told = {"time": _time(self._ladder, passed), "judged": self._judged(report)}
        if number in self.stopped and isinstance(self._ray, MedianStoppingRule):
            # It went on all the same: what is on disk does not tell in which order trials of one moment were judged.
            self._ray.on_trial_complete(None, self._known[number], told)
            return str(TrialScheduler.CONTINUE)
        return str(self._ray.on_trial_result(None, self._known[number], told))


class PopulationScheduler(RungScheduler):
    """Asks the population. A trial is judged on its own way, not on that of its parent."""

    def __init__(
        self,
        settings: Pbt,
        rungs: Rungs,
        *,
        metric: Metric,
        seed: int,
        records: Records,
        parents: Mapping[int, Parent],
    ):
        """
        Args:
            parents: of the trials that have one, by number.
        """
        self.population = Population(settings, metric=metric, seed=seed)
        self._parents = dict(parents)
        super().__init__(settings, rungs, metric=metric, records=records)
        self.population.take(parent.epoch for parent in parents.values())

    def on_trial_add(self, _controller: Any, trial: Trial) -> None:
        assignment = TrialAssignment.of_config(trial.config)
        if assignment.parent:
            self._parents[assignment.number] = assignment.parent

    def _judge(self, number: int, report: Mapping[str, Any]) -> str:
        if self.stopped.get(number, math.inf) < report["epoch"]:  # it went on all the same, see `RayScheduler`
            self.population.take([self.stopped.pop(number)])
        return super()._judge(number, report)

    def _decision(self, number: int, passed: int, report: Mapping[str, Any]) -> str:
        epoch = int(self._rungs.positions[passed - 1])
        if number in self._parents and epoch <= self._parents[number].epoch:
            return str(TrialScheduler.CONTINUE)  # its parent has been judged there
        where = Parent(trial=number, epoch=epoch, stage=report["stage_index"] + report["stage_over"])
        stops = self.population.come(where, self._judged(report), finished=report["finished"])
        return str(TrialScheduler.STOP if stops else TrialScheduler.CONTINUE)


def _of_ray(settings: Asha | Hyperband | Median, rungs: Rungs, *, mode: str) -> TrialScheduler:
    """Ray's scheduler, with a time of its own: `_time` of as many rungs as a trial has come to."""
    told = {"time_attr": "time", "metric": "judged", "mode": mode}
    if isinstance(settings, Median):
        # A slice that never ends: it would pause trials to let others catch up.
        return MedianStoppingRule(
            **told, grace_period=1, min_samples_required=settings.min_trials, min_time_slice=math.inf
        )
    count = len(rungs.positions)
    return AsyncHyperBandScheduler(
        **told,
        grace_period=1,
        reduction_factor=settings.reduction,
        max_t=_time(settings, count + 1),  # trials end by themselves: at max_t Ray would stop them
        brackets=max(1, min(settings.brackets, count)) if isinstance(settings, Hyperband) else 1,
    )


def _time(settings: Asha | Hyperband | Median, passed: int) -> float:
    """Ray's ladders are powers of `reduction`, wherever ours are."""
    return float(passed) if isinstance(settings, Median) else settings.reduction ** (passed - 1)


@contextmanager
def _drawing_as(seed: int) -> Iterator[None]:
    """NumPy's global random numbers, from which Ray draws brackets, from a seed."""
    state = np.random.get_state()
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        np.random.set_state(state)


def build_scheduler(
    settings: Scheduler,
    rungs: Rungs,
    *,
    metric: Metric,
    seed: int,
    records: Records,
    parents: Mapping[int, Parent] = MappingProxyType({}),
) -> TrialScheduler:
    """What decides which trials go on. See `RungScheduler` and `PopulationScheduler`."""
    if isinstance(settings, Pbt):
        return PopulationScheduler(settings, rungs, metric=metric, seed=seed, records=records, parents=parents)
    if isinstance(settings, Asha | Hyperband | Median):
        return RayScheduler(settings, rungs, metric=metric, seed=seed, records=records)
    return WarmScheduler()
