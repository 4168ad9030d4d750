"""`search.stop` at work: what a search has spent and reached, of which all is on disk, and the end that follows from it."""

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
from trainables.core.atomic_write import replacing
from trainables.core.vocabulary import Metric
from trainables.run_folder.epoch_report import read_epochs
from trainables.run_folder.layout import SCHEMA_VERSION, RunFileError, RunLayout
from trainables.run_folder.protocol import StepResult

_KEPT_EVERY_S = 5.0
"""Wall time that a kill may lose."""


def reached(stop: Stop, *, wall_s: float, trial_s: float, scores: Sequence[float | None], metric: Metric) -> str | None:
    """Which budget is reached, in words; None: none is.

    Args:
        wall_s: seconds of all attempts.
        trial_s: seconds that trials trained, all together.
        scores: of the trials that ended, in the order of their ends; None where one did not finish.
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
        return f"a trial scored {best:.4g}, and {stop.score:g} was asked for"
    if stop.no_improvement is not None and best is not None and since >= stop.no_improvement:
        return f"{since} trials ended without a better one than {best:.4g}"
    return None


class Budget:
    """What a search may still spend. It is known from the run's folder alone, whoever runs the search."""

    def __init__(self, config: SearchConfig, layout: RunLayout, study: optuna.Study):
        self._stop, self._metric = config.settings.stop, config.recipe.train.metric
        self._layout, self._study = layout, study
        self._earlier_s = _wall_s(layout)
        self._began = self._kept = time.monotonic()
        reports = (report for trial in layout.all_trials() for report in read_epochs(trial.epochs))
        self._trial_s = sum(_seconds(report) for report in reports)
        self.reached: str | None = None
        """Which budget is, in words."""
        self.look()

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray pickles callbacks and stoppers into its snapshots: nobody reads them, and the study knows its password

    def trained(self, reports: Sequence[dict[str, Any]]) -> None:
        """Some trial did these epochs."""
        self._trial_s += sum(_seconds(report) for report in reports)

    def look(self, *, trials: bool = True) -> None:
        """Finds out whether a budget is reached, and keeps the time.

        Args:
            trials: some may have ended.
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
        if self._layout.config.exists() and (self.reached or time.monotonic() - self._kept >= _KEPT_EVERY_S):
            self.keep()

    def keep(self) -> None:
        """Writes the time down."""
        self._kept = time.monotonic()
        wall_s = self._earlier_s + self._kept - self._began
        with replacing(self._layout.spent) as file:
            json.dump({"schema": SCHEMA_VERSION, "wall_s": round(wall_s, 1)}, file)


class BudgetStopper(Stopper):
    """Ends Tune's run when a budget is reached: no trial starts any more, and those that run are stopped."""

    def __init__(self, budget: Budget):
        self._budget = budget

    def __call__(self, _trial_id: str, result: dict[str, Any]) -> bool:
        self._budget.trained(StepResult.of_result(result).reports)
        return False

    def stop_all(self) -> bool:
        self._budget.look(trials=False)
        return self._budget.reached is not None


class BudgetCallback(Callback):
    """Looks at scores when a trial has ended, before the next one starts."""

    def __init__(self, budget: Budget):
        self._budget = budget

    def on_trial_complete(self, **_: Any) -> None:
        self._budget.look()

    def on_trial_error(self, **_: Any) -> None:
        self._budget.look()


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
