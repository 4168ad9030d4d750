"""Optuna's ask and tell as a Ray Tune searcher. The study learns what really happened: intermediate values, PRUNED, FAIL.

A search that was cut off is taken up by a new searcher on the same study: it hands out the trials that were running first.
"""

from __future__ import annotations

import math
import warnings
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.samplers import BaseSampler, PartialFixedSampler
from optuna.trial import Trial, TrialState
from ray.tune.search import Searcher

from search.config.search_config import SearchConfig
from search.tuning.pbt_children import changing_paths, explored, recipe_of, recipe_of_child
from search.tuning.population import Population
from search.tuning.samplers import Samplers
from search.tuning.study import (
    AskingStudy,
    fell_behind,
    refusals,
    report_epoch,
    report_recorded,
    summary_of,
    tell,
)
from search.tuning.warm_start import known_trials
from spaces.space import SpaceError
from trainables.core.config_errors import ConfigError
from trainables.core.dotted_paths import PathError
from trainables.core.rungs import Rungs
from trainables.core.seeding import random_state
from trainables.core.vocabulary import TrialStatus
from trainables.recipe.recipe import Recipe
from trainables.run_folder.epoch_report import read_epochs
from trainables.run_folder.layout import RunLayout
from trainables.run_folder.protocol import StepResult, TrialAssignment
from trainables.run_folder.trial_failures import last_failure
from trainables.run_folder.trial_record import Parent, TrialRecord, now, read_record


class StudySearcher(Searcher):
    """Hands out points of the space and tells the study what came of them."""

    def __init__(
        self,
        config: SearchConfig,
        layout: RunLayout,
        study: optuna.Study,
        *,
        attempt: int,
        rungs: Rungs = Rungs(),
        room: Callable[[], float] = lambda: math.inf,
        population: Population | None = None,
    ):
        """
        Args:
            rungs: where the scheduler judges.
            room: how many trials there are to be at once, now.
            population: whose trials go on from each other, if they do.
        """
        metric = config.recipe.train.metric
        super().__init__(metric="best_score", mode=metric.mode)
        self._config, self._layout, self._study, self._attempt = config, layout, study, attempt
        self._asking, self._samplers = AskingStudy(study, known_trials(config, layout)), Samplers(config)
        trials = study.get_trials(deepcopy=False)
        self._count = len(trials)
        running = [trial for trial in trials if trial.state is TrialState.RUNNING]
        self._interrupted = deque(running)
        self._rungs, self._room, self._population = rungs, room, population
        self._live: dict[str, Trial] = {}
        self._refusal: OSError | None = None
        """What the storage said when it took no file any more."""
        self._reported: dict[int, set[int]] = {trial.number: set(trial.intermediate_values) for trial in running}

    @refusals()
    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        self._stop_if_refused()
        if len(self._live) >= self._limit():
            return None
        if not self._interrupted and self._count >= self._config.settings.trials:
            return str(Searcher.FINISHED)
        trial, parent = self._next()
        recipe = self._drawn(trial, parent)
        if recipe is None:
            return None
        self._live[trial_id] = trial
        return self._assignment(trial.number, recipe, parent).to_config()

    def _drawn(self, trial: Trial, parent: Parent | None) -> Recipe | None:
        """Draws a trial's values, records them, and makes its recipe; None: there is none, and the trial has failed."""
        values: dict[str, Any] = {}
        if parent:
            self._record(trial, values, parent)  # decided once, also where a kill comes before its values are drawn
        try:
            values = self._config.values_of(trial)  # a trial taken up again gets the values it had
            recipe = self._recipe_of(values, parent)
        except (SpaceError, PathError, ConfigError) as error:  # a point that the check before the start did not meet
            self._record(trial, values, parent)
            self._end(trial, TrialStatus.FAILED, f"not trained: {error}")
            return None
        self._record(trial, values, parent)
        return recipe

    def _assignment(self, number: int, recipe: Recipe, parent: Parent | None) -> TrialAssignment:
        return TrialAssignment(
            run=str(self._layout.root),
            number=number,
            attempt=self._attempt,
            recipe=recipe.model_dump_json(),
            trials=self._config.settings.trials,
            parent=parent,
            rungs=self._rungs,
            objectives=tuple(self._config.goals),
            reads_test=self._config.reads_test,
        )

    def _limit(self) -> float:
        """How many trials may be live: those proposed before a worker is free would know less."""
        most = self._config.settings.most_at_once
        return min(math.inf if most is None else most, self._room())

    @refusals()
    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self._stop_if_refused()
        self._report(self._live[trial_id], StepResult.of_result(result))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self._stop_if_refused()
        trial = self._live.pop(trial_id, None)
        if trial is None:
            return
        try:
            last = None if error or result is None else StepResult.of_result(result)
            if last and last.refused:
                raise OSError(last.refused)  # the search stops, and the trial goes on when it is resumed
            with refusals():
                self._close(trial, last)
        except OSError as refusal:
            self._refusal = refusal
            raise

    def _stop_if_refused(self) -> None:
        """Ray takes what is raised at a trial's end for the trial's failure, and tries it again: it is raised until heard."""
        if self._refusal:
            raise self._refusal

    def _close(self, trial: Trial, result: StepResult | None) -> None:
        """
        Args:
            result: the last one; None: the trial failed.
        """
        if result is None or result.given_up:
            self._end(trial, TrialStatus.FAILED, self._reason(trial.number))
            return
        self._report(trial, result)  # Ray tells of a trial's last result here only
        came_to = {
            n: value for n, value in zip(self._config.goals, result.objectives, strict=True) if value is not None
        }
        missing = [name for name in self._config.goals if not math.isfinite(came_to.get(name, math.nan))]
        assert result.best_score is not None
        if result.finished and not math.isfinite(result.best_score):
            self._end(trial, TrialStatus.FAILED, "no epoch had a score: training diverged")
        elif result.finished and missing:
            self._end(trial, TrialStatus.FAILED, f"its best epoch has no {missing[0]}")
        elif broken := self._broken(came_to):
            self._end(trial, TrialStatus.INFEASIBLE, broken, came_to, came_to_its_end=result.is_whole)
        elif not result.finished:
            reason = fell_behind(result.best_score, result.epoch, self._config.settings.scheduler)
            self._end(trial, TrialStatus.PRUNED, reason, came_to)
        elif flag := result.stopped_for:
            # PRUNED, not FAIL: its curve teaches the sampler to stay away. Not COMPLETE: it is no config to export as best.
            self._end(trial, TrialStatus.PRUNED, f"stopped for {flag} in epoch {result.epoch}", came_to)
        else:
            self._end(trial, TrialStatus.FINISHED, None, came_to)

    def _broken(self, came_to: dict[str, float]) -> str | None:
        """How a trial breaks the search's constraints, if it does."""
        bounds = {name: bound for name, bound in self._config.settings.constraints.items() if name in came_to}
        broken = [
            f"{name} is {came_to[name]:.4g} ({bound.describe()})"
            for name, bound in bounds.items()
            if bound.excess(came_to[name]) > 0
        ]
        return ", ".join(broken) or None

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study is on disk."""

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a search is taken up by `thaw resume`, not by Ray")

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray pickles searchers into its snapshots; nobody reads ours

    def _next(self) -> tuple[Trial, Parent | None]:
        """An interrupted trial, or else a new one; and what it goes on from."""
        taken_up = self._interrupted.popleft() if self._interrupted else None
        number = taken_up.number if taken_up else self._count
        parent = self._parent_of(number, drawn=taken_up.params if taken_up else {})
        # Also for a trial taken up: it may have been cut off before its values were drawn.
        self._asking.sampler = self._samplers.of(number) if parent is None else self._sampler_beside(parent, number)
        if taken_up:
            return Trial(self._asking, taken_up._trial_id), parent
        self._count += 1
        return self._asking.ask(), parent

    # --- trials that go on from others --------------------------------------------------------------------------------

    def _parent_of(self, number: int, *, drawn: Mapping[str, Any]) -> Parent | None:
        """What a trial goes on from: as it is recorded, or else as it is to be. None: it begins anew.

        Args:
            drawn: values that it has already.
        """
        folder = self._layout.trial(number)
        if folder.trial.exists():
            return read_record(folder).parent
        if self._population is None or drawn:  # a parent is recorded before anything is drawn
            return None
        if number < max(self._population.settings.population, len(self._config.settings.enqueue)):
            return None
        return self._population.parent_of(number, fits=lambda parent: bool(self._changing(parent)))

    def _sampler_beside(self, parent: Parent, number: int) -> BaseSampler:
        """What proposes the values of a trial that goes on from another one."""
        assert self._population is not None
        of_parent, parameters = self._study.get_trials(deepcopy=False)[parent.trial], self._config.space.parameters
        values = explored(
            of_parent.params,
            of_parent.distributions,
            changing=[parameters[path].parameter(path) for path in self._changing(parent)],
            resample=self._population.settings.resample,
            random=random_state(self._config.settings.seed, "child", number),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return PartialFixedSampler(values, self._samplers.of(number))

    def _changing(self, parent: Parent) -> list[str]:
        """Paths of what a trial that goes on from there can do otherwise."""
        record = read_record(self._layout.trial(parent.trial))
        recipe = recipe_of(record, self._config, self._layout)
        return changing_paths(self._config.space, record.params, recipe, stage=parent.stage)

    def _recipe_of(self, values: dict[str, Any], parent: Parent | None) -> Recipe:
        if parent is None:
            return self._config.recipe_of(values)
        return recipe_of_child(values, parent, self._config, self._layout)

    # --- records ------------------------------------------------------------------------------------------------------

    def _record(self, trial: Trial, values: dict[str, Any], parent: Parent | None) -> None:
        folder = self._layout.trial(trial.number)
        started = read_record(folder).started if folder.trial.exists() else now()
        fields: dict[str, Any] = {"status": TrialStatus.RUNNING, "started": started}
        TrialRecord(number=trial.number, params=values, parent=parent, **fields).write(folder)

    def _report(self, trial: Trial, result: StepResult) -> None:
        """Reports an epoch, and those before it whose results died with a driver or a worker before they came here."""
        assert result.best_score is not None
        epoch, reported = result.epoch, self._reported.setdefault(trial.number, set())
        if epoch in reported:  # done again after a crash
            return
        if missed := set(range(1, epoch)) - reported:
            earlier = read_epochs(self._layout.trial(trial.number).epochs)
            report_recorded(trial, (r for r in earlier if r["epoch"] in missed), known=reported)
        report_epoch(trial, result.best_score, epoch)
        reported |= {epoch, *missed}

    def _end(
        self,
        trial: Trial,
        status: TrialStatus,
        reason: str | None,
        came_to: dict[str, float] | None = None,
        *,
        came_to_its_end: bool = False,
    ) -> None:
        # The record first: a kill in between leaves the study's trial running, and it is taken up and told again.
        folder = self._layout.trial(trial.number)
        ended: dict[str, Any] = {"status": status, "reason": reason, "ended": now()}
        ended |= {"objectives": came_to or {}, "summary": summary_of(folder)}
        record = read_record(folder).model_copy(update=ended)
        record.write(folder)
        tell(trial, record, self._config, came_to_its_end=came_to_its_end)

    def _reason(self, number: int) -> str:
        return last_failure(self._layout.trial(number)) or "its worker died"
