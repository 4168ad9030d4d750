"""Rules that choose one trial of a search, with the reason for the choice."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from results_analysis.runs.run import Run, RunError
from results_analysis.selection.seed_comparison import confirmation_of
from results_analysis.statistics.bootstrap import CONFUSION_METRICS, standard_error
from results_analysis.statistics.paired_seeds import estimate
from results_analysis.tables.data_sets import on_same_data
from results_analysis.tables.results_table import best_of, why_no_best
from trainables.core.config_errors import nearest
from trainables.core.printable import command_line
from trainables.core.vocabulary import TrialStatus
from trainables.run_folder.trial_columns import best_report

if TYPE_CHECKING:
    import pandas as pd

MACS, TRAIN_S = "macs", "train_s"


@dataclass(frozen=True)
class Choice:
    """A trial that a rule has chosen, and the reason."""

    trial: int
    """Number of the trial."""
    why: str
    """Reason for the choice: `the cheapest by train_s (12) of 5 finished trials within one standard error …`"""


def best_trial(run: Run) -> int:
    """Number of the best trial, by the rule of `best_of`: finished ones first.

    Raises:
        RunError: if no trial that can be chosen has a score yet.
    """
    table = run.trials()
    number = best_of(table, run.metric)
    if number is None:
        instead = "; name one of its trials" if table["score"].notna().any() else ""
        raise RunError(f"run {run.name!r} has no best trial: {why_no_best(table)}{instead}")
    return number


def best_confirmed(run: Run) -> Choice:
    """Chooses the trial with the best mean over the seeds of `thaw confirm`.

    Raises:
        RunError: if the search is not confirmed, or the confirmation is not finished.
    """
    found = confirmation_of(run)
    if found is None:
        raise RunError(f"run {run.name!r} is not confirmed: run `{command_line('confirm', run.name)}` first")
    winner = found.scored[0]
    mean = estimate(list(winner.scores.values()))
    why = f"the best of {len(found.candidates)} confirmed trials: {found.metric.value} {mean} over {mean.seeds} seeds"
    return Choice(int(winner.name.removeprefix("trial ")), why)


def cheapest_within(run: Run, within: str, *, cost: str | None = None) -> Choice:
    """Chooses the cheapest finished trial whose score is within a distance of the best: the one-standard-error rule of
    Breiman et al. (1984).

    Args:
        run: the search.
        within: largest distance from the best score: standard errors, as in `1se`, or a difference of scores, as in `0.01`.
        cost: name of a numeric column; None: `macs` where every trial has it, else `train_s`.
    Raises:
        RunError: if no trial has finished, the standard error cannot be computed, or there is no such column.
    """
    table = run.trials()
    finished = table[(table["status"] == TrialStatus.FINISHED.value) & table["score"].notna()]
    if not len(finished):
        raise RunError(f"run {run.name!r} has no finished trial with a score to choose from; name a trial to export")
    best = best_of(table, run.metric)
    assert best is not None
    finished = finished[finished["trial"].isin(on_same_data(table, best)["trial"])]
    score = float(finished.set_index("trial")["score"][best])
    difference, distance = _difference(run, best, score, within)
    sign = 1 if run.metric.mode == "max" else -1
    # Rounding of the difference must not exclude the best trial.
    near = finished[sign * (score - finished["score"]) <= difference + 1e-12]
    column = _cost_column(near, cost)
    chosen = near.assign(_cost=near[column].astype("float64"), _rank=-sign * near["score"])
    chosen = chosen.sort_values(["_cost", "_rank", "trial"], na_position="last")
    number, paid = int(chosen["trial"].iloc[0]), float(chosen["_cost"].iloc[0])
    if paid != paid:
        raise RunError(f"cost: no trial within that distance has a value for {column}")
    best_paid = float(chosen.set_index("trial")["_cost"][best])
    many = f"the cheapest by {column} ({paid:.4g}) of {len(near)} finished trial{'s' if len(near) > 1 else ''}"
    compared = "it is also the best" if number == best else f"the best, trial {best}, costs {best_paid:.4g}"
    return Choice(number, f"{many} within {distance} of the best score {score:.4f}; {compared}")


def _difference(run: Run, best: int, score: float, within: str) -> tuple[float, str]:
    """Distance that `within` stands for, as a number and in words."""
    if match := re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*se", within):
        error = _standard_error(run, best, score)
        count = float(match[1])
        many = "one standard error" if count == 1 else f"{count:g} standard errors"
        return count * error, f"{many} ({count * error:.4f})"
    if re.fullmatch(r"\d+\.?\d*|\.\d+", within):
        return float(within), within
    raise RunError(f"within: {within!r}: give standard errors, as in 1se, or a difference of scores, as in 0.01")


def _standard_error(run: Run, number: int, score: float) -> float:
    instead = "give a difference of scores instead, as in --within 0.01"
    if run.metric not in CONFUSION_METRICS:
        can = ", ".join(metric.value for metric in CONFUSION_METRICS)
        raise RunError(
            f"within: the standard error of {run.metric.value} cannot be computed from epoch reports, which hold the confusion "
            f"matrix but no single predictions (possible for {can}); {instead}"
        )
    report = best_report(run.reports(number)) or {}
    confusion = report.get("confusion")
    if not confusion or report.get(run.metric.value) != score:
        raise RunError(f"within: trial {number} has no confusion matrix that matches its score; {instead}")
    error = standard_error(confusion, run.metric)
    if not math.isfinite(error):
        raise RunError(
            f"within: {run.metric.value} has no standard error on the validation images of this run; {instead}"
        )
    return error


def _cost_column(table: pd.DataFrame, cost: str | None) -> str:
    import pandas as pd

    if cost is None:
        return MACS if MACS in table and table[MACS].notna().all() else TRAIN_S
    numeric = [str(name) for name in table.columns if pd.api.types.is_numeric_dtype(table[name])]
    if cost not in numeric:
        raise RunError(f"cost: {cost!r} is not a numeric column; {nearest(cost, numeric)}")
    return cost
