"""One row a trial: sorted, filtered, the columns and trials that were asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from results_analysis.runs.columns import chosen
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
    """The trials of a run, or of several, sorted and filtered.

    Args:
        sort: a column. `score` and every metric come best first, all others ascending; `-column` turns the order round.
            Missing values are last either way. By default by score; where several runs score differently, by run.
        where: a condition in pandas' words: `status == 'finished' and score > 0.5`; columns with dots stand in
            backticks. A comparison with a missing value is false.
        pareto: of these, keep those that no other beats in all objectives of the search; without such, in score and `train_s`.
        columns: keep only these, in this order; `*` and `?` stand for any text and any sign.
        top: keep only so many rows, after sorting.
    Raises:
        RunError: if there is no such column, `where` is no condition on the columns, `top` is below 1, or runs that score
            differently shall be compared by score.
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
        table = table[chosen(table.columns, columns)]
    return table.head(len(table) if top is None else top).reset_index(drop=True)


def best_of(table: pd.DataFrame, metric: Metric) -> int | None:
    """Number of the best trial: of the finished ones; if none has finished, of those that were pruned or still run.

    Failed trials are out: they may fail again; infeasible ones are ruled out. Of equals, the first trial counts. None: no trial to
    choose from.
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


def _filtered(table: pd.DataFrame, where: str) -> pd.DataFrame:
    import pandas as pd

    try:
        # Nothing but the columns is in reach, and the result does not depend on numexpr being installed.
        kept = table.eval(where, engine="python", local_dict={}, global_dict={})
    except Exception as error:  # a wrong expression fails in pandas, Python or the values, each in its own ways
        raise RunError(f"where: {where!r}: {error}; {_columns_for_where(table)}") from None
    if not isinstance(kept, pd.Series) or not pd.api.types.is_bool_dtype(kept):
        raise RunError(f"where: {where!r} is not true or false for each trial; {_columns_for_where(table)}")
    return table[kept]


def _columns_for_where(table: pd.DataFrame) -> str:
    return "columns: " + ", ".join(name if name.isidentifier() else f"`{name}`" for name in table.columns)


def _front(table: pd.DataFrame, runs: Frames) -> pd.DataFrame:
    """The trials that no other beats: of the finished ones; if none has finished, of those that were pruned or still run."""
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
    """Whether a column is best at its `max` or its `min`; costs at their min."""
    if column != "score":
        return Metric(column).mode if column in list(Metric) else "min"
    if runs.metric is None:
        raise RunError(f"score means {runs.judges}; compare a metric that they share: --sort {Metric.VAL_LOSS.value}")
    return runs.metric.mode
