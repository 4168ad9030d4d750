"""The table of results: one row a trial, sorted and filtered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from results_analysis.runs.columns import matching_columns
from results_analysis.runs.errors import RunError
from results_analysis.runs.frames import Frames
from results_analysis.tables.pareto import pareto_front
from trainables.core.config_errors import nearest
from trainables.core.vocabulary import Metric, TrialStatus

if TYPE_CHECKING:
    import pandas as pd


def results_table(
    runs: Frames,
    *,
    sort: str | None = None,
    where: str | None = None,
    pareto: bool = False,
    columns: Sequence[str] | None = None,
    top: int | None = None,
) -> pd.DataFrame:
    """The trials of one or several runs, sorted and filtered.

    Args:
        runs: the run or runs.
        sort: name of a column. `score` and metrics are sorted best first, all others ascending; `-column` reverses the
            order. Missing values come last either way. Default: by score; by run where several runs score differently.
        where: a condition for pandas' `eval`: `status == 'finished' and score > 0.5`; names with dots need backticks. A
            comparison with a missing value is false.
        pareto: only the Pareto front of these trials in the objectives of the search, or in score and `train_s`.
        columns: only these columns, in this order; `*` stands for any text and `?` for any character.
        top: only this many rows, after sorting.
    Raises:
        RunError: if there is no such column, `where` is not a condition on the columns, `top` is below 1, or runs that score
            differently are to be compared by score.
    """
    if top is not None and top < 1:
        raise RunError(f"top: {top}: must be at least 1")
    table = runs.trials()
    if where is not None:
        table = _filtered(table, where)
    if pareto:
        table = _front(table, runs)
    if sort is not None or runs.metric is not None:
        table = _sorted(table, sort or "score", runs)
    if columns is not None:
        table = table[matching_columns(table.columns, columns)]
    return table.head(len(table) if top is None else top).reset_index(drop=True)


def best_of(table: pd.DataFrame, metric: Metric) -> int | None:
    """Number of the best trial: among the finished ones; if none has finished, among the pruned and running ones.

    Failed trials do not count, because they may fail again, nor do infeasible ones. Of equal scores the first trial wins. None
    where there is no trial to choose from.
    """
    row = best_row(table, metric)
    return None if row is None else int(table.loc[row, "trial"])


def best_row(table: pd.DataFrame, metric: Metric) -> Any:
    """Index of the best trial's row, by the rule of `best_of`."""
    for statuses in ([TrialStatus.FINISHED], [TrialStatus.PRUNED, TrialStatus.RUNNING]):
        scored = table[table["status"].isin([s.value for s in statuses]) & table["score"].notna()]
        if len(scored):
            ordered = scored.sort_values("trial", kind="stable")["score"]
            return ordered.idxmin() if metric.mode == "min" else ordered.idxmax()
    return None


def why_no_best(table: pd.DataFrame) -> str:
    """Reason why `best_of` finds no trial: `no trial has a score yet (3 failed, 1 running)`."""
    counts = ", ".join(f"{count} {status}" for status, count in table["status"].value_counts().items())
    if table["score"].notna().any():
        return f"no trial with a score may be the best ({counts})"
    return f"no trial has a score yet ({counts})" if len(table) else "it has no trials yet"


def _filtered(table: pd.DataFrame, where: str) -> pd.DataFrame:
    import pandas as pd

    try:
        # The expression can reach nothing but the columns, and the result does not depend on whether numexpr is installed.
        matches = table.eval(where, engine="python", local_dict={}, global_dict={})
    except Exception as error:  # a wrong expression may raise anything: in pandas, in Python or in the values
        raise RunError(f"where: {where!r}: {error}; {_columns_for_where(table)}") from None
    if not isinstance(matches, pd.Series) or not pd.api.types.is_bool_dtype(matches):
        raise RunError(f"where: {where!r} is not true or false for each trial; {_columns_for_where(table)}")
    return table[matches]


def _columns_for_where(table: pd.DataFrame) -> str:
    return "columns: " + ", ".join(name if name.isidentifier() else f"`{name}`" for name in table.columns)


def _front(table: pd.DataFrame, runs: Frames) -> pd.DataFrame:
    """Pareto front: of the finished trials; if none has finished, of the pruned and running ones."""
    objectives = {
        name: _mode(name, runs) for name in (runs.objectives if len(runs.objectives) > 1 else ("score", "train_s"))
    }
    missing = [name for name in objectives if name not in table]
    for statuses in ([TrialStatus.FINISHED], [TrialStatus.PRUNED, TrialStatus.RUNNING]):
        candidates = table[table["status"].isin([s.value for s in statuses])]
        if not missing and len(front := pareto_front(candidates, objectives)):
            return front
    return table.head(0)


def _sorted(table: pd.DataFrame, sort: str, runs: Frames) -> pd.DataFrame:
    column = sort.removeprefix("-")
    if column not in table.columns:
        raise RunError(f"sort: no column {column!r}; {nearest(column, list(table.columns))}")
    best_first_is_descending = (column == "score" or column in list(Metric)) and _mode(column, runs) == "max"
    ascending = best_first_is_descending == sort.startswith("-")
    try:
        return table.sort_values(column, ascending=ascending, kind="stable", na_position="last")
    except TypeError:
        raise RunError(f"sort: {column!r} holds values of different kinds, which have no order") from None


def _mode(column: str, runs: Frames) -> str:
    """Direction in which a column is better, `max` or `min`; `min` for costs."""
    if column != "score":
        return Metric(column).mode if column in list(Metric) else "min"
    if runs.metric is None:
        raise RunError(
            f"score means {runs.score_meaning}; sort by a metric that all runs have: --sort {Metric.VAL_LOSS.value}"
        )
    return runs.metric.mode
