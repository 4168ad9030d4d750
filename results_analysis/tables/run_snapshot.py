"""`Snapshot`: the state of a run at one moment, read once so that all parts of a report show the same state."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json

from results_analysis.runs.columns import is_searched
from results_analysis.runs.files import class_names
from results_analysis.runs.run import Run
from results_analysis.tables.data_sets import on_same_data
from results_analysis.tables.results_table import best_of
from results_analysis.tables.search_ranges import Searched, searched_values
from trainables.core.vocabulary import Metric, Objective, Task, TrialStatus
from trainables.run_folder.trial_columns import Report, best_report

if TYPE_CHECKING:
    import pandas as pd

FIELDS = (
    "stage",
    "stage_index",
    "epoch_in_stage",
    "open_from",
    "head_frozen",
    "reweighted",
    "score",
    "best_score",
    "val_loss",
    "train_loss",
    "train_s",
    "val_s",
    "cache_s",
    "uncached",
    "stage_over",
    "finished",
    "inherited",
)
"""Fields of the epoch reports that pictures need."""


@dataclass(frozen=True, eq=False)
class Snapshot:
    """State of a run at one moment."""

    run: Run
    trials: pd.DataFrame
    """Table with one row a trial, best first: the columns of `Run.trials`, `place` and `cost_s`.

    `place` counts from 1: finished trials by score, then pruned and running ones by their number of epochs, then by score. It is
    missing for trials that have no score, failed or are infeasible. `cost_s` is the time of training and validation.
    """
    curves: pd.DataFrame
    """Table with one row for each epoch that the trial ran itself: `trial`, `epoch` and `FIELDS`."""
    ways: pd.DataFrame
    """Same as `curves`, with the epochs that a trial inherits from the trial it continues."""
    searched: tuple[Searched, ...]
    taken_at: str
    """Time of the snapshot in UTC, ISO 8601."""

    @property
    def metric(self) -> Metric:
        return self.run.metric

    @property
    def task(self) -> Task:
        return self.run.task

    @cached_property
    def best(self) -> int | None:
        """Number of the best trial, by the rule of `best_of`."""
        return best_of(self.trials, self.metric)

    @cached_property
    def best_report(self) -> Report:
        """Report of the best epoch of the best trial, as it was written; empty where there is none."""
        if self.best is None:
            return {}
        return best_report(self.run.reports(self.best)) or {}

    @cached_property
    def environment(self) -> dict[str, Any]:
        """Environment of the best trial, or of the first; empty before one has started."""
        numbers = [self.best] if self.best is not None else sorted(self.trials["trial"])[:1]
        return self.run.environment(int(numbers[0])) if numbers else {}

    def stages_of(self, trial: int) -> list[dict[str, Any]]:
        """Stages of a trial's recipe; those of the search where the recipe is missing."""
        has_recipe = self.run.layout.trial(trial).recipe.is_file()
        train = (self.run.recipe(trial) if has_recipe else self.run.config).get("train")
        stages = train.get("stages") if isinstance(train, dict) else None
        return stages if isinstance(stages, list) else []

    @property
    def class_names(self) -> list[str]:
        """See `class_names`."""
        return class_names(self.environment, len(self.best_report.get("confusion") or ()))

    def of_status(self, *statuses: TrialStatus) -> pd.DataFrame:
        """Trials of these statuses, best first."""
        return self.trials[self.trials["status"].isin([status.value for status in statuses])]

    @property
    def placed(self) -> pd.DataFrame:
        """Trials that have a place, best first."""
        return self.trials[self.trials["place"].notna()]

    @cached_property
    def on_the_same_data(self) -> pd.DataFrame:
        """Trials that have a place and saw the same data as the best one, best first: only their scores can be compared."""
        if self.best is None:
            return self.placed
        comparable = on_same_data(self.trials, self.best)
        return comparable[comparable["place"].notna()]

    @property
    def finished(self) -> pd.DataFrame:
        """Trials that finished with a score, best first."""
        return self.placed[self.placed["status"] == TrialStatus.FINISHED.value]

    @property
    def further_objectives(self) -> list[str]:
        """Objectives of the search besides the score that some trial has a value of."""
        return [name for name in self.run.objectives if name != Objective.SCORE and name in self.trials]

    @cached_property
    def is_over(self) -> bool:
        """True if the last driver left the search complete: with all its trials, or because a budget ended it."""
        try:
            status = from_json(self.run.layout.status.read_bytes())
        except (OSError, ValueError):
            return False
        known = status if isinstance(status, dict) else {}
        return (
            known.get("state") == "complete" and known.get("trials") == self.planned
        )  # else it has been extended since

    @cached_property
    def planned(self) -> int | None:
        """Number of trials in the search's config; None where it is not given."""
        settings = self.run.config.get("search")
        planned = settings.get("trials") if isinstance(settings, dict) else None
        return planned if isinstance(planned, int) else None


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a frame as dictionaries of plain values."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def take_snapshot(run: Run) -> Snapshot:
    """Reads the current state of a run.

    Raises:
        RunError: if a file of the run cannot be read.
    """
    trials, curves = run.trials(), run.curves(FIELDS)
    ways = curves[curves["trial"].isin(trials["trial"])].reset_index(drop=True)
    curves = ways[~ways["inherited"].fillna(False).astype(bool)]
    searched = searched_values(run.config.get("space"), trials, [c for c in trials.columns if is_searched(c)])
    cost = curves.assign(cost=curves[["train_s", "val_s"]].astype("float64").sum(axis=1)).groupby("trial")["cost"].sum()
    trials = trials.assign(cost_s=trials["trial"].map(cost).fillna(0.0), place=_places(trials, run.metric))
    return Snapshot(
        run=run,
        trials=trials.sort_values(["place", "trial"], na_position="last").reset_index(drop=True),
        curves=curves.reset_index(drop=True),
        ways=ways,
        searched=searched,
        taken_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _places(trials: pd.DataFrame, metric: Metric) -> pd.Series[Any]:
    import pandas as pd

    could_be_best = [TrialStatus.FINISHED.value, TrialStatus.PRUNED.value, TrialStatus.RUNNING.value]
    placed = trials[trials["score"].notna() & trials["status"].isin(could_be_best)]
    finished = placed["status"] == TrialStatus.FINISHED.value
    order = pd.DataFrame(
        {
            "unfinished": ~finished,
            "short": (-placed["epochs"]).where(~finished, 0),
            "worse": placed["score"] * (1 if metric.mode == "min" else -1),
            "trial": placed["trial"],
        }
    ).sort_values(["unfinished", "short", "worse", "trial"])
    return pd.Series(range(1, len(order) + 1), index=order.index, dtype="Int64").reindex(trials.index)
