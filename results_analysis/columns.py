"""The columns of a table of trials."""

from __future__ import annotations

from trainables.layout import Metric, Task, metrics_of

COLUMNS = {
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
    "started": "string",
    "ended": "string",
    "reason": "string",
}
"""Of tables of trials, with their pandas types; `columns_of` a task leaves out what only the other one has. One for each searched
value follows, named by its dotted path."""


def columns_of(task: Task) -> dict[str, str]:
    """The columns of a task's table, with their pandas types."""
    foreign = "classes_predicted" if task == "regression" else "prediction_spread"
    others = {foreign, *(metric.value for metric in Metric if metric not in metrics_of(task))}
    return {name: kind for name, kind in COLUMNS.items() if name not in others}
