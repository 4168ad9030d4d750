"""One row a trial: sorted, filtered, for people and for files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from results_analysis.runs import Run, RunError
from trainables.layout import Metric, TrialStatus, replacing
from trainables.problems import nearest

if TYPE_CHECKING:
    import pandas as pd

# --- rows -----------------------------------------------------------------------------------------------------------


def results_table(run: Run, *, sort: str = "score", where: str | None = None, top: int | None = None) -> pd.DataFrame:
    """The run's trials, sorted and filtered.

    Args:
        sort: a column. `score` and every metric come best first, all others ascending; `-column` turns the order round.
            Missing values are last either way.
        where: a condition in pandas' words: `status == 'finished' and score > 0.5`; columns with dots stand in
            backticks. A comparison with a missing value is false.
        top: keep only so many rows, after sorting.
    Raises:
        RunError: if there is no such column, `where` is no condition on the columns, or `top` is below 1.
    """
    if top is not None and top < 1:
        raise RunError(f"top: {top}: must be at least 1")
    table = run.trials()
    if where is not None:
        table = _filtered(table, where)
    return _sorted(table, sort, run.metric).head(len(table) if top is None else top).reset_index(drop=True)


def best_of(table: pd.DataFrame, metric: Metric) -> int | None:
    """Number of the best trial: of the finished ones; if none has finished, of those that were pruned or still run.

    Failed trials are out: they may fail again; infeasible ones are ruled out. Of equals, the first trial counts. None: no trial to
    choose from.
    """
    for statuses in ([TrialStatus.FINISHED], [TrialStatus.PRUNED, TrialStatus.RUNNING]):
        scored = table[table["status"].isin([s.value for s in statuses]) & table["score"].notna()]
        if len(scored):
            return int(_sorted(scored.sort_values("trial"), "score", metric)["trial"].iloc[0])
    return None


def _filtered(table: pd.DataFrame, where: str) -> pd.DataFrame:
    import pandas as pd

    try:
        # Nothing but the columns is in reach, and the result does not depend on numexpr being installed.
        chosen = table.eval(where, engine="python", local_dict={}, global_dict={})
    except Exception as error:  # a wrong expression fails in pandas, Python or the values, each in its own ways
        raise RunError(f"where: {where!r}: {error}; {_columns_for_where(table)}") from None
    if not isinstance(chosen, pd.Series) or not pd.api.types.is_bool_dtype(chosen):
        raise RunError(f"where: {where!r} is not true or false for each trial; {_columns_for_where(table)}")
    return table[chosen]


def _columns_for_where(table: pd.DataFrame) -> str:
    return "columns: " + ", ".join(name if name.isidentifier() else f"`{name}`" for name in table.columns)


def _sorted(table: pd.DataFrame, sort: str, metric: Metric) -> pd.DataFrame:
    column = sort.removeprefix("-")
    if column not in table.columns:
        raise RunError(f"sort: no column {column!r}; {nearest(column, list(table.columns))}")
    judge = metric if column == "score" else column
    best_first_is_descending = judge in list(Metric) and Metric(judge).mode == "max"
    ascending = best_first_is_descending == sort.startswith("-")
    try:
        return table.sort_values(column, ascending=ascending, kind="stable", na_position="last")
    except TypeError:
        raise RunError(f"sort: {column!r} holds values of different kinds, which have no order") from None


# --- files ----------------------------------------------------------------------------------------------------------


def to_json(table: pd.DataFrame, file: Path | None = None) -> str:
    """The table as a list of objects, null where a value is missing; also written to `file`, where given."""
    rows = [
        {name: None if is_missing(value) else value for name, value in row.items()}
        for row in table.to_dict(orient="records")
    ]
    return _written(json.dumps(rows, indent=2, ensure_ascii=False, allow_nan=False) + "\n", file)


def to_csv(table: pd.DataFrame, file: Path | None = None) -> str:
    """The table with a header line, empty where a value is missing; also written to `file`, where given."""
    return _written(table.to_csv(index=False, lineterminator="\n"), file)


def _written(text: str, file: Path | None) -> str:
    if file is not None:
        with replacing(file) as stream:
            stream.write(text)
    return text


def is_missing(value: Any) -> bool:
    """Whether a cell is empty. A list is a value, not a row of them."""
    import pandas as pd

    return bool(pd.api.types.is_scalar(value) and pd.isna(value))
