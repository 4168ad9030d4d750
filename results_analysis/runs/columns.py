"""Columns of a table of trials, and their selection by name patterns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from results_analysis.runs.errors import RunError
from trainables.core.config_errors import nearest
from trainables.core.vocabulary import Task, metrics_of
from trainables.run_folder.trial_columns import AT_BEST, DIAGNOSTICS
from trainables.run_folder.trial_summary import column_kinds

NULL = "null"
"""Text of a searched value that is null, in a table; where a trial has no such value, the cell is empty."""
UNREADABLE = "unreadable"
"""Status of a trial whose files are damaged; its `reason` names the file and the damage."""

_PANDAS: dict[Any, str] = {
    int: "int64",
    int | None: "Int64",
    float: "float64",
    float | None: "float64",
    bool | None: "boolean",
    str | None: "string",
}

COLUMNS = {
    "run": "string",
    "trial": "int64",
    "status": "string",
    **{name: _PANDAS[kind] for name, kind in column_kinds().items()},
    "parent": "Int64",
    "parent_epoch": "Int64",
    "started": "string",
    "ended": "string",
    "reason": "string",
    "data_fingerprint": "string",
}
"""Columns of a table of trials, with their pandas types; `columns_of` leaves out those of other tasks. They are followed by
further objectives, then by searched values, whose columns are named by their dotted paths."""


def columns_of(*tasks: Task, several: bool = False) -> dict[str, str]:
    """Columns for trials of these tasks, with their pandas types; with `run` if `several` runs are together in the table."""
    own = {metric.value for task in tasks for metric in metrics_of(task)}
    own |= {name for name, task in DIAGNOSTICS.items() if task in tasks}
    foreign = {*AT_BEST} - own
    return {name: kind for name, kind in COLUMNS.items() if name not in foreign and (several or name != "run")}


def is_searched(column: str) -> bool:
    """True where a column holds a searched value: dotted paths contain a dot."""
    return "." in column


def matching_columns(columns: Iterable[str], patterns: Sequence[str]) -> list[str]:
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
