"""Columns of a table of trials, and their selection by name patterns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from results_analysis.runs.errors import RunError
from trainables.core.config_errors import nearest
from trainables.core.vocabulary import Metric, Task, metrics_of

UNREADABLE = "unreadable"
"""Status of a trial whose files are damaged; its `reason` names the file and the damage."""

COLUMNS = {
    "run": "string",
    "trial": "int64",
    "status": "string",
    "score": "float64",
    "best_epoch": "Int64",
    "epochs": "int64",
    "stage": "string",
    "stage_index": "Int64",
    **{metric.value: "float64" for metric in Metric},
    "classes_predicted": "float64",
    "prediction_spread": "float64",
    "flags": "string",
    "flags_at_best": "string",
    "stopped_for": "string",
    "train_s": "float64",
    "val_s": "float64",
    "cache_s": "float64",
    "compute": "float64",
    "parent": "Int64",
    "parent_epoch": "Int64",
    "started": "string",
    "ended": "string",
    "reason": "string",
}
"""Columns of a table of trials, with their pandas types; `columns_of` leaves out those of other tasks. They are followed by
further objectives, then by searched values, whose columns are named by their dotted paths."""


def columns_of(*tasks: Task, several: bool = False) -> dict[str, str]:
    """Columns for trials of these tasks, with their pandas types; with `run` if `several` runs are together in the table."""
    own = {metric.value for task in tasks for metric in metrics_of(task)}
    own |= {"prediction_spread" if task == "regression" else "classes_predicted" for task in tasks}
    foreign = {*(metric.value for metric in Metric), "classes_predicted", "prediction_spread"} - own
    return {name: kind for name, kind in COLUMNS.items() if name not in foreign and (several or name != "run")}


def is_searched(column: str) -> bool:
    """True where a column holds a searched value: dotted paths contain a dot."""
    return "." in column


def chosen(columns: Iterable[str], patterns: Sequence[str]) -> list[str]:
    """The columns that match the patterns, in their order; `*` stands for any text and `?` for any character.

    Brackets have no special meaning: `train.stages[1].*`.

    Raises:
        RunError: for patterns that match no column.
    """
    there = list(columns)
    found = {pattern: _matching(there, pattern) for pattern in patterns}
    if unknown := [pattern for pattern, names in found.items() if not names]:
        raise RunError("\n".join(f"columns: no column {name!r}; {nearest(name, there)}" for name in unknown))
    return list(dict.fromkeys(name for names in found.values() for name in names))


def _matching(columns: Iterable[str], pattern: str) -> list[str]:
    form = re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."))
    return [name for name in columns if form.fullmatch(name)]
