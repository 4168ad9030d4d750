"""Rules that `data.task` sets for `train`: defaults of the task, and settings that only the other task has. Plain data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trainables.core.config_errors import Path, Problem
from trainables.core.vocabulary import Flag, Metric, Task, metrics_of
from trainables.recipe.loss_config import loss_kinds

_REGRESSION_DEFAULTS = {"metric": Metric.SPEARMAN.value, "loss": {"kind": "huber"}}
"""Defaults of regression. Spearman, because of a score such as popularity the right order matters: it does not depend on the scale,
and a few extreme images do not dominate it. Huber for the same reason."""
_OTHER: Mapping[Task, Task] = {"classification": "regression", "regression": "classification"}


def task_of(recipe: Mapping[str, Any]) -> Task | None:
    """Returns the task of a recipe given as plain data; None if its value is not a task."""
    data = recipe.get("data")
    named = data.get("task", "classification") if isinstance(data, Mapping) else "classification"
    return next((task for task in _OTHER if task == named), None)


def with_task_defaults(recipe: Mapping[str, Any]) -> Mapping[str, Any]:
    """Fills in the metric and the loss of regression, if that is the task and the recipe, given as plain data, names none."""
    if task_of(recipe) != "regression" or not isinstance(recipe.get("train"), Mapping):
        return recipe
    return {**recipe, "train": {**_REGRESSION_DEFAULTS, **recipe["train"]}}


def task_problems(recipe: Mapping[str, Any]) -> list[Problem]:
    """Returns a problem for each setting of `train` that only the other task has, even if the recipe has other problems."""
    task, train = task_of(recipe), recipe.get("train")
    if task is None or not isinstance(train, Mapping):
        return []
    return [Problem(("train", *place), message) for place, message in _foreign(task, train)]


def _foreign(task: Task, train: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    other = _OTHER[task]
    here = f"but data.task is {task!r}"
    own = [m.value for m in metrics_of(task)]
    for place, metric in _metrics_named_in(train):
        if metric in [m.value for m in metrics_of(other)] and metric not in own:
            yield place, f"{str(metric)!r} is a metric of {other}, {here}; use one of {', '.join(own)}"
    loss = train.get("loss")
    kind = loss.get("kind") if isinstance(loss, Mapping) else None
    if kind in loss_kinds(other):
        yield ("loss", "kind"), f"{kind!r} is a loss of {other}, {here}; use one of {', '.join(loss_kinds(task))}"
    if task == "classification":
        return
    if train.get("drw") is not None:
        yield ("drw",), f"applies only to classes, {here}; remove it"
    if train.get("class_weights") is not None:
        yield ("class_weights",), f"applies only to classes, {here}; remove it"
    if train.get("balance", "none") != "none":
        yield ("balance",), f"{train['balance']!r} applies only to classes, {here}; remove it"
    stop_on = train.get("stop_on")
    for i, flag in enumerate(stop_on if isinstance(stop_on, list | tuple) else ()):
        if flag in (Flag.DRW_DROP, Flag.STUCK_AUC):
            yield ("stop_on", i), f"{str(flag)!r} applies only to classes, {here}; remove it"


def _metrics_named_in(train: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
    """Yields the metrics that `train` names, with their places: the one that scores, and those that can end stages."""
    stages = train.get("stages")
    rules = {("early_stop",): train.get("early_stop")} | {
        ("stages", i, "plateau"): stage.get("plateau")
        for i, stage in enumerate(stages if isinstance(stages, list | tuple) else ())
        if isinstance(stage, Mapping)
    }
    yield ("metric",), train.get("metric")
    yield from (((*place, "metric"), rule.get("metric")) for place, rule in rules.items() if isinstance(rule, Mapping))
