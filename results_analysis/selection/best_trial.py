"""Which trial of a search to keep, and why."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from results_analysis.runs.run import Run, RunError
from results_analysis.selection.seed_comparison import confirmation_of
from results_analysis.statistics.bootstrap import OF_CONFUSION, standard_error
from results_analysis.statistics.paired_seeds import estimate
from results_analysis.tables.results_table import best_of
from trainables.core.config_errors import nearest
from trainables.core.vocabulary import TrialStatus
from trainables.run_folder.trial_columns import best_report

if TYPE_CHECKING:
    import pandas as pd

MACS, TRAIN_S = "macs", "train_s"


@dataclass(frozen=True)
class Choice:
    """A trial that a rule has chosen."""

    trial: int
    why: str
    """`the cheapest by train_s (12) of 5 finished trials within one standard error …`"""


def best_trial(run: Run) -> int:
    """Number of the best trial, by the rule of `best_of`: finished ones first.

    Raises:
        RunError: if no trial that can be chosen has a score yet.
    """
    number = best_of(run.trials(), run.metric)
    if number is None:
        raise RunError(
            f"run {run.name!r} has no best trial yet: none has finished an epoch with a score; name one to export"
        )
    return number


def best_confirmed(run: Run) -> Choice:
    """The trial with the best mean over the seeds of `thaw confirm`.

    Raises:
        RunError: if the search is not confirmed, or not to the end.
    """
    found = confirmation_of(run)
    if found is None:
        raise RunError(f"run {run.name!r} is not confirmed: thaw confirm {run.name} trains its best trials again")
    winner = found.scored[0]
    mean = estimate(list(winner.scores.values()))
    why = f"the best of {len(found.candidates)} confirmed trials: {found.metric.value} {mean} over {mean.seeds} seeds"
    return Choice(int(winner.name.removeprefix("trial ")), why)


def cheapest_within(run: Run, within: str, *, cost: str | None = None) -> Choice:
    """The cheapest of the finished trials whose score is about as good as the best one's: the one-standard-error rule of
    Breiman et al. (1984).

    Args:
        within: `1se`: so many standard errors of the best score; or a difference of scores, `0.01`.
        cost: a column of numbers; None: `macs` where there is such a column, else `train_s`.
    Raises:
        RunError: if no trial has finished, the standard error cannot be had, or there is no such column.
    """
    table = run.trials()
    finished = table[(table["status"] == TrialStatus.FINISHED.value) & table["score"].notna()]
    if not len(finished):
        raise RunError(f"run {run.name!r} has no finished trial with a score to choose from; name one to export")
    best = best_of(table, run.metric)
    assert best is not None
    score = float(finished.set_index("trial")["score"][best])
    difference, said = _difference(run, best, score, within)
    sign = 1 if run.metric.mode == "max" else -1
    # Rounding of the difference itself must not shut the best one out.
    near = finished[sign * (score - finished["score"]) <= difference + 1e-12]
    column = _cost_column(near, cost)
    chosen = near.assign(_cost=near[column].astype("float64"), _rank=-sign * near["score"])
    chosen = chosen.sort_values(["_cost", "_rank", "trial"], na_position="last")
    number, paid = int(chosen["trial"].iloc[0]), float(chosen["_cost"].iloc[0])
    if paid != paid:
        raise RunError(f"cost: no trial near the best one has a {column}")
    best_paid = float(chosen.set_index("trial")["_cost"][best])
    many = f"the cheapest by {column} ({paid:.4g}) of {len(near)} finished trial{'s' if len(near) > 1 else ''}"
    beside = "it is the best one itself" if number == best else f"that of the best, trial {best}, is {best_paid:.4g}"
    return Choice(number, f"{many} within {said} of the best score {score:.4f}; {beside}")


def _difference(run: Run, best: int, score: float, within: str) -> tuple[float, str]:
    """What `within` comes to, and in words."""
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
    if run.metric not in OF_CONFUSION:
        can = ", ".join(metric.value for metric in OF_CONFUSION)
        raise RunError(
            f"within: the standard error of {run.metric.value} cannot be had from epoch reports, which hold the confusion "
            f"matrix and no single predictions (that of {can} can); {instead}"
        )
    report = best_report(run.reports(number)) or {}
    confusion = report.get("confusion")
    if not confusion or report.get(run.metric.value) != score:
        raise RunError(f"within: trial {number} has no confusion matrix that its score is of; {instead}")
    return standard_error(confusion, run.metric)


def _cost_column(table: pd.DataFrame, cost: str | None) -> str:
    import pandas as pd

    if cost is None:
        return MACS if MACS in table and table[MACS].notna().all() else TRAIN_S
    numeric = [str(name) for name in table.columns if pd.api.types.is_numeric_dtype(table[name])]
    if cost not in numeric:
        raise RunError(f"cost: {cost!r} is no column of numbers; {nearest(cost, numeric)}")
    return cost
