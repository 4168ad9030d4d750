"""Budgets of `search.stop`: what a search has used of them, and its end when one is used up. All of it is read from the
run folder."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from ray.tune import Callback, Stopper

from search.config.search_config import SearchConfig
from search.config.stop import Stop
from search.launch.failed_trials import SameFailure
from trainables.core.atomic_write import replacing
from trainables.core.vocabulary import Metric
from trainables.run_folder.epoch_report import read_epochs
from trainables.run_folder.layout import SCHEMA_VERSION, RunFileError, RunLayout
from trainables.run_folder.protocol import StepResult

_SAVE_EVERY_S = 5.0
"""Seconds between two saves of the wall time; a kill loses at most as much."""


def reached(stop: Stop, *, wall_s: float, trial_s: float, scores: Sequence[float | None], metric: Metric) -> str | None:
    """Description of the budget that is used up; None if none is.

    Args:
        stop: the budgets.
        wall_s: seconds of all attempts.
        trial_s: seconds that all trials together have trained.
        scores: scores of the ended trials, in the order in which they ended; None for one that did not finish.
        metric: metric of the scores.
    """
    if stop.hours is not None and wall_s >= stop.hours * 3600:
        return f"{stop.hours:g} hours have passed"
    if stop.cost is not None and stop.price_per_trial_hour is not None:
        cost = stop.price_per_trial_hour * trial_s / 3600
        if cost >= stop.cost:
            return f"trials have cost {cost:.2f} of {stop.cost:g}"
    best, since = None, 0
    for score in scores:
        better = score is not None and (best is None or metric.better(score, than=best))
        best, since = (score, 0) if better else (best, since + 1)
    if stop.score is not None and best is not None and not metric.better(stop.score, than=best):
        return f"a trial scored {best:.4g}, and the target was {stop.score:g}"
    if stop.no_improvement is not None and best is not None and since >= stop.no_improvement:
        return f"{since} trials ended without improving on {best:.4g}"
    return None


class Budget:
    """Budgets of a search. Their state is read from the run folder, whichever driver ran the search before."""

    def __init__(self, config: SearchConfig, layout: RunLayout, study: optuna.Study):
        self._stop, self._metric = config.settings.stop, config.recipe.train.metric
        self._layout, self._study = layout, study
        self._earlier_s = _wall_s(layout)
        self._began = self._saved = time.monotonic()
        reports = (report for trial in layout.all_trials() for report in read_epochs(trial.epochs))
        self._trial_s = sum(_seconds(report) for report in reports)
        self.reached: str | None = None
        """Description of the budget that is used up; None if none is."""
        self.check()

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray pickles callbacks and stoppers into its snapshots: nobody reads them, and the study contains its password

    def add_epochs(self, reports: Sequence[dict[str, Any]]) -> None:
        """Adds epochs that a trial has trained."""
        self._trial_s += sum(_seconds(report) for report in reports)

    def check(self, *, trials: bool = True) -> None:
        """Checks whether a budget is used up, and saves the time.

        Args:
            trials: True if trials may have ended.
        """
        wall_s = self._earlier_s + time.monotonic() - self._began
        ended = self._study.get_trials(deepcopy=False) if trials else []
        self.reached = self.reached or reached(
            self._stop,
            wall_s=wall_s,
            trial_s=self._trial_s,
            scores=_scores(ended),
            metric=self._metric,
        )
        if self._layout.config.exists() and (self.reached or time.monotonic() - self._saved >= _SAVE_EVERY_S):
            self.save()

    def save(self) -> None:
        """Saves the wall time."""
        self._saved = time.monotonic()
        wall_s = self._earlier_s + self._saved - self._began
        with replacing(self._layout.spent) as file:
            json.dump({"schema": SCHEMA_VERSION, "wall_s": round(wall_s, 1)}, file)


class BudgetStopper(Stopper):
    """Ends Tune's run when a budget is used up, or all trials fail for one reason: no new trial starts, and running ones are
    stopped."""

    def __init__(self, budget: Budget, failure: SameFailure):
        self._budget, self._failure = budget, failure

    def __call__(self, _trial_id: str, result: dict[str, Any]) -> bool:
        self._budget.add_epochs(StepResult.of_result(result).reports)
        return False

    def stop_all(self) -> bool:
        self._budget.check(trials=False)
        return self._budget.reached is not None or self._failure.found is not None


class BudgetCallback(Callback):
    """Checks the budgets when a trial has ended, before the next one starts."""

    def __init__(self, budget: Budget):
        self._budget = budget

    def on_trial_complete(self, **_: Any) -> None:
        self._budget.check()

    def on_trial_error(self, **_: Any) -> None:
        self._budget.check()


def _scores(trials: Sequence[FrozenTrial]) -> list[float | None]:
    ended = [trial for trial in trials if trial.datetime_complete is not None]
    ended.sort(key=lambda trial: (trial.datetime_complete, trial.number))
    return [trial.values[0] if trial.state is TrialState.COMPLETE else None for trial in ended]


def _wall_s(layout: RunLayout) -> float:
    try:
        return float(json.loads(layout.spent.read_bytes())["wall_s"])
    except FileNotFoundError:
        return 0.0
    except (ValueError, LookupError, TypeError):
        message = f"{layout.spent} is damaged; remove it, and search.stop counts the hours from now on"
        raise RunFileError(message) from None


def _seconds(report: dict[str, Any]) -> float:
    return float(report["train_s"] + report.get("val_s", 0.0))
