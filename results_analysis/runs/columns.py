"""The columns of a table of trials, and how people name several of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from results_analysis.runs.errors import RunError
from trainables.core.config_errors import nearest
from trainables.core.vocabulary import Metric, Task, metrics_of

UNREADABLE = "unreadable"
"""Status of a trial whose files are damaged; `reason` says which and how."""

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
"""Of tables of trials, with their pandas types; `columns_of` tasks leaves out what only others have. One for each objective that is
none of these follows, then one for each searched value, named by its dotted path."""


def columns_of(*tasks: Task, several: bool = False) -> dict[str, str]:
    """The columns of a table of these tasks' trials, with their pandas types; `run` where trials are of several runs."""
    own = {metric.value for task in tasks for metric in metrics_of(task)}
    own |= {"prediction_spread" if task == "regression" else "classes_predicted" for task in tasks}
    foreign = {*(metric.value for metric in Metric), "classes_predicted", "prediction_spread"} - own
    return {name: kind for name, kind in COLUMNS.items() if name not in foreign and (several or name != "run")}


def is_searched(column: str) -> bool:
    """Whether a column holds a searched value: recipe paths have a section."""
    return "." in column


def chosen(columns: Iterable[str], patterns: Sequence[str]) -> list[str]:
    """The columns that are named, in the order of the names; `*` and `?` stand for any text and any sign.

    Brackets are themselves: `train.stages[1].*`.

    Raises:
        RunError: for the names that no column has.
    """
    there = list(columns)
    found = {pattern: _matching(there, pattern) for pattern in patterns}
    if unknown := [pattern for pattern, names in found.items() if not names]:
        raise RunError("\n".join(f"columns: no column {name!r}; {nearest(name, there)}" for name in unknown))
    return list(dict.fromkeys(name for names in found.values() for name in names))


def _matching(columns: Iterable[str], pattern: str) -> list[str]:
    form = re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."))
    return [name for name in columns if form.fullmatch(name)]
