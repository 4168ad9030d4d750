"""Optuna's ask and tell as a Ray Tune searcher. The study learns what really happened: intermediate values, PRUNED, FAIL.

A search that was cut off is taken up by a new searcher on the same study: it hands out the trials that were running first.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Container, Iterable, Sequence
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import Trial, TrialState
from ray.tune.search import Searcher

from search.config import SearchConfig
from search.paths import PathError
from search.samplers import build_sampler
from spaces.space import SpaceError
from trainables.data.seeding import derived_seed
from trainables.layout import RunFileError, RunLayout, TrialLayout, TrialStatus
from trainables.problems import ConfigError
from trainables.record import TrialRecord, now, read_record
from trainables.report import read_epochs
from trainables.summary import TrialSummary, summary_in

_STATES = {
    TrialStatus.FINISHED: TrialState.COMPLETE,
    TrialStatus.PRUNED: TrialState.PRUNED,
    TrialStatus.FAILED: TrialState.FAIL,
}


def open_study(layout: RunLayout, config: SearchConfig) -> optuna.Study:
    """The run's study; made where there is none."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = JournalStorage(JournalFileBackend(str(layout.study)))
    try:
        return optuna.load_study(storage=storage, study_name=config.name)
    except KeyError:
        minimize = config.recipe.train.metric.mode == "min"
        direction = optuna.study.StudyDirection.MINIMIZE if minimize else optuna.study.StudyDirection.MAXIMIZE
        return optuna.create_study(storage=storage, study_name=config.name, direction=direction)


def settle(study: optuna.Study, layout: RunLayout) -> None:
    """Tells the study of trials whose end was recorded, but not told before the driver was killed."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        folder = layout.trial(trial.number)
        record = read_record(folder) if folder.trial.exists() else None
        if record is None or record.status is TrialStatus.RUNNING:
            continue
        reports = read_epochs(folder.epochs)
        _report_recorded(Trial(study, trial._trial_id), reports, known=set(trial.intermediate_values))
        value = reports[-1]["best_score"] if record.status is TrialStatus.FINISHED else None
        study.tell(trial.number, value, state=_STATES[record.status])


def _report_recorded(trial: Trial, reports: Iterable[dict[str, Any]], *, known: Container[int]) -> None:
    """Reports the epochs that are on disk and not `known` to the study."""
    for report in reports:
        if report["epoch"] not in known and report["best_score"] is not None:
            trial.report(report["best_score"], report["epoch"])


def _summary(folder: TrialLayout) -> TrialSummary | None:
    """None: the epochs are damaged, which is for those to tell who read them."""
    try:
        return summary_in(folder.epochs)
    except RunFileError:
        return None


class StudySearcher(Searcher):
    """Hands out points of the space and tells the study what came of them."""

    def __init__(
        self, config: SearchConfig, layout: RunLayout, study: optuna.Study, *, attempt: int, rungs: Sequence[int] = ()
    ):
        """
        Args:
            rungs: epochs at which the scheduler judges.
        """
        metric = config.recipe.train.metric
        super().__init__(metric="best_score", mode=metric.mode)
        self._config, self._layout, self._study, self._attempt = config, layout, study, attempt
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        self._interrupted = deque(running)
        self._rungs = list(rungs)
        self._live: dict[str, Trial] = {}
        self._reported: dict[int, set[int]] = {trial.number: set(trial.intermediate_values) for trial in running}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        limit = self._config.settings.max_concurrent
        if limit is not None and len(self._live) >= limit:
            return None
        if not self._interrupted and len(self._study.get_trials(deepcopy=False)) >= self._config.settings.trials:
            return str(Searcher.FINISHED)
        trial = self._next()
        values: dict[str, Any] = {}
        try:
            values = self._config.values_of(trial)  # a trial taken up again gets the values it had
            recipe = self._config.recipe_of(values)
        except (SpaceError, PathError, ConfigError) as error:  # a point that the check before the start did not meet
            self._record(trial, values)
            self._end(trial, TrialStatus.FAILED, f"not trained: {error}")
            return None
        self._record(trial, values)
        self._live[trial_id] = trial
        return {
            "run": str(self._layout.root),
            "number": trial.number,
            "attempt": self._attempt,
            "recipe": recipe.model_dump(mode="json"),
            "trials": self._config.settings.trials,
            "rungs": self._rungs,
        }

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self._report(self._live[trial_id], result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        trial = self._live.get(trial_id)
        if trial is None:
            return
        del self._live[trial_id]
        if error or result is None:
            self._end(trial, TrialStatus.FAILED, self._reason(trial.number))
            return
        self._report(trial, result)  # Ray tells of a trial's last result here only
        if not result["finished"]:
            rung = f"{result['best_score']:.4g} at epoch {result['epoch']} was not among the best there"
            self._end(trial, TrialStatus.PRUNED, rung)
        elif not math.isfinite(result["best_score"]):
            self._end(trial, TrialStatus.FAILED, "no epoch had a score: training diverged")
        elif flag := result["stopped_for"]:
            # PRUNED, not FAIL: its curve teaches the sampler to stay away. Not COMPLETE: it is no config to export as best.
            self._end(trial, TrialStatus.PRUNED, f"stopped for {flag} in epoch {result['epoch']}")
        else:
            self._end(trial, TrialStatus.FINISHED, None, value=result["best_score"])

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study is on disk."""

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a search is taken up by `thaw resume`, not by Ray")

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray pickles searchers into its snapshots; nobody reads ours

    def _next(self) -> Trial:
        """An interrupted trial, or else a new one."""
        taken_up = self._interrupted.popleft() if self._interrupted else None
        number = taken_up.number if taken_up else len(self._study.get_trials(deepcopy=False))
        settings = self._config.settings
        seed = derived_seed(settings.seed, "proposal", number) % 2**32
        # Also for a trial taken up: it may have been cut off before its values were drawn.
        self._study.sampler = build_sampler(settings.sampler, seed=seed)
        return Trial(self._study, taken_up._trial_id) if taken_up else self._study.ask()

    def _record(self, trial: Trial, values: dict[str, Any]) -> None:
        folder = self._layout.trial(trial.number)
        started = read_record(folder).started if folder.trial.exists() else now()
        TrialRecord(number=trial.number, params=values, status=TrialStatus.RUNNING, started=started).write(folder)

    def _report(self, trial: Trial, result: dict[str, Any]) -> None:
        """Reports an epoch, and those before it whose results died with a driver or a worker before they came here."""
        epoch, reported = result["epoch"], self._reported.setdefault(trial.number, set())
        if epoch in reported:  # done again after a crash
            return
        if missed := set(range(1, epoch)) - reported:
            earlier = read_epochs(self._layout.trial(trial.number).epochs)
            _report_recorded(trial, (r for r in earlier if r["epoch"] in missed), known=reported)
        trial.report(result["best_score"], epoch)
        reported |= {epoch, *missed}

    def _end(self, trial: Trial, status: TrialStatus, reason: str | None, *, value: float | None = None) -> None:
        # The record first: a kill in between leaves the study's trial running, and it is taken up and told again.
        folder = self._layout.trial(trial.number)
        end = {"status": status, "reason": reason, "ended": now(), "summary": _summary(folder)}
        read_record(folder).model_copy(update=end).write(folder)
        self._study.tell(trial, value, state=_STATES[status])

    def _reason(self, number: int) -> str:
        error = self._layout.trial(number).error
        lines = error.read_text(encoding="utf-8").strip().splitlines() if error.exists() else []
        return lines[-1] if lines else "its worker died"
