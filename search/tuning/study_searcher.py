"""Ray Tune searcher on Optuna's ask-and-tell interface. The study records what really happened: intermediate values,
PRUNED, FAIL.

An interrupted search is resumed by a new searcher on the same study: it first hands out the trials that were running.
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

from search.config.goals import violations
from search.config.search_config import SearchConfig
from search.tuning.pbt_children import changing_paths, explored, recipe_of, recipe_of_child
from search.tuning.population import Population
from search.tuning.samplers import Samplers
from search.tuning.study import StudyForSamplers, pruning_reason, report_end, report_epoch, report_recorded, summary_of
from search.tuning.study_storage import as_os_errors
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
    """Hands out points of the space and reports their results to the study."""

    def __init__(
        self,
        config: SearchConfig,
        layout: RunLayout,
        study: optuna.Study,
        *,
        attempt: int,
        rungs: Rungs = Rungs(),
        slots: Callable[[], float] = lambda: math.inf,
        population: Population | None = None,
    ):
        """
        Args:
            config: the search.
            layout: its run folder.
            study: its study.
            attempt: number of this start or resume.
            rungs: rungs at which the scheduler compares trials.
            slots: returns the number of trials to have at once, now.
            population: chooses the parents of trials, in population-based training.
        """
        metric = config.recipe.train.metric
        super().__init__(metric="best_score", mode=metric.mode)
        self._config, self._layout, self._study, self._attempt = config, layout, study, attempt
        self._asking, self._samplers = StudyForSamplers(study, known_trials(config, layout)), Samplers(config)
        trials = study.get_trials(deepcopy=False)
        self._count = len(trials)
        running = [trial for trial in trials if trial.state is TrialState.RUNNING]
        self._interrupted = deque(running)
        self._rungs, self._slots, self._population = rungs, slots, population
        self._live: dict[str, Trial] = {}
        self._storage_error: OSError | None = None
        """Error of the storage once it could no longer be written."""
        self._reported: dict[int, set[int]] = {trial.number: set(trial.intermediate_values) for trial in running}

    @as_os_errors()
    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        self._raise_storage_error()
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
        """Draws and records a trial's values and returns its recipe; None if its values make none: the trial has failed then."""
        values: dict[str, Any] = {}
        if parent:
            self._record(trial, values, parent)  # the choice stands, even if a kill comes before its values are drawn
        try:
            values = self._config.values_of(trial)  # a resumed trial gets the values it had
            recipe = self._recipe_of(values, parent)
        except (SpaceError, PathError, ConfigError) as error:  # a point that the check before the start did not cover
            self._record(trial, values, parent)
            self._end(trial, TrialStatus.FAILED, f"not trained: {error}")
            return None
        self._record(trial, values, parent)
        return recipe

    def _assignment(self, number: int, recipe: Recipe, parent: Parent | None) -> TrialAssignment:
        """Assignment of a trial to a worker."""
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
        """Most trials that may be live: a trial proposed before a worker is free would learn from fewer results."""
        most = self._config.settings.most_at_once
        return min(math.inf if most is None else most, self._slots())

    @as_os_errors()
    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self._raise_storage_error()
        self._report(self._live[trial_id], StepResult.of_result(result))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self._raise_storage_error()
        trial = self._live.pop(trial_id, None)
        if trial is None:
            return
        try:
            last = None if error or result is None else StepResult.of_result(result)
            if last and last.refused:
                raise OSError(last.refused)  # the search stops, and the trial continues when it is resumed
            with as_os_errors():
                self._close(trial, last)
        except OSError as refusal:
            self._storage_error = refusal
            raise

    def _raise_storage_error(self) -> None:
        """Raises the storage error until the search stops: Ray takes an error at a trial's end for the trial's failure,
        and retries the trial."""
        if self._storage_error:
            raise self._storage_error

    def _close(self, trial: Trial, result: StepResult | None) -> None:
        """Records the end of a trial and reports it to the study.

        Args:
            trial: trial of the study.
            result: its last result; None: it failed.
        """
        if result is None or result.given_up:
            self._end(trial, TrialStatus.FAILED, self._reason(trial.number))
            return
        self._report(trial, result)  # Ray passes a trial's last result only here
        objectives = {
            n: value for n, value in zip(self._config.goals, result.objectives, strict=True) if value is not None
        }
        absent = [name for name in self._config.goals if not math.isfinite(objectives.get(name, math.nan))]
        assert result.best_score is not None
        if result.finished and not math.isfinite(result.best_score):
            if flag := result.stopped_for:  # PRUNED, not FAIL, from which samplers learn nothing; see below
                self._end(
                    trial, TrialStatus.PRUNED, f"stopped for {flag} in epoch {result.epoch}: no epoch had a score"
                )
            else:
                self._end(trial, TrialStatus.FAILED, "no epoch had a score: training diverged")
        elif result.finished and absent:
            self._end(trial, TrialStatus.FAILED, f"its best epoch has no {absent[0]}")
        elif violated := violations(self._config.settings.constraints, objectives):
            self._end(trial, TrialStatus.INFEASIBLE, violated, objectives, complete=result.is_whole)
        elif not result.finished:
            reason = pruning_reason(result.best_score, result.epoch, self._config.settings.scheduler)
            self._end(trial, TrialStatus.PRUNED, reason, objectives)
        elif flag := result.stopped_for:
            # PRUNED, not FAIL: its curve teaches the sampler to stay away. Not COMPLETE: it must not be exported as the
            # best.
            self._end(trial, TrialStatus.PRUNED, f"stopped for {flag} in epoch {result.epoch}", objectives)
        else:
            self._end(trial, TrialStatus.FINISHED, None, objectives)

    def save(self, checkpoint_path: str) -> None:
        """Does nothing: the study is on disk."""

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a search is resumed by `thaw resume`, not by Ray")

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray pickles searchers into its snapshots; nobody reads ours

    def _next(self) -> tuple[Trial, Parent | None]:
        """Next trial, an interrupted one or else a new one, and its parent."""
        interrupted = self._interrupted.popleft() if self._interrupted else None
        number = interrupted.number if interrupted else self._count
        parent = self._parent_of(number, drawn=interrupted.params if interrupted else {})
        # Also for an interrupted trial: it may have been killed before its values were drawn.
        self._asking.sampler = self._samplers.of(number) if parent is None else self._child_sampler(parent, number)
        if interrupted:
            return Trial(self._asking, interrupted._trial_id), parent
        self._count += 1
        return self._asking.ask(), parent

    # --- trials that start from others --------------------------------------------------------------------------------

    def _parent_of(self, number: int, *, drawn: Mapping[str, Any]) -> Parent | None:
        """Parent of a trial, as recorded or else as chosen now; None if it starts from scratch.

        Args:
            number: number of the trial.
            drawn: values that it already has.
        """
        folder = self._layout.trial(number)
        if folder.trial.exists():
            return read_record(folder).parent
        if self._population is None or drawn:  # a parent is recorded before anything is drawn
            return None
        if number < max(self._population.settings.population, len(self._config.settings.enqueue)):
            return None
        return self._population.parent_of(number, fits=lambda parent: bool(self._changing(parent)))

    def _child_sampler(self, parent: Parent, number: int) -> BaseSampler:
        """Sampler for a trial that starts from another one."""
        assert self._population is not None
        parent_trial, parameters = self._study.get_trials(deepcopy=False)[parent.trial], self._config.space.parameters
        values = explored(
            parent_trial.params,
            parent_trial.distributions,
            changing=[parameters[path].parameter(path) for path in self._changing(parent)],
            resample=self._population.settings.resample,
            random=random_state(self._config.settings.seed, "child", number),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return PartialFixedSampler(values, self._samplers.of(number))

    def _changing(self, parent: Parent) -> list[str]:
        """Paths of the values that a child of this parent can change."""
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
        """Reports an epoch, and earlier ones whose results were lost with a driver or a worker."""
        assert result.best_score is not None
        epoch, reported = result.epoch, self._reported.setdefault(trial.number, set())
        if epoch in reported:  # trained again after a crash
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
        objectives: dict[str, float] | None = None,
        *,
        complete: bool = False,
    ) -> None:
        # The record first: after a kill in between, the trial is still running in the study, and `report_recorded_ends` reports its
        # end.
        folder = self._layout.trial(trial.number)
        ended: dict[str, Any] = {"status": status, "reason": reason, "ended": now()}
        ended |= {"objectives": objectives or {}, "summary": summary_of(folder)}
        record = read_record(folder).model_copy(update=ended)
        record.write(folder)
        report_end(trial, record, self._config, complete=complete)

    def _reason(self, number: int) -> str:
        return last_failure(self._layout.trial(number)) or "its worker died"
