"""Checks that a space fits the recipe it is applied to, by trying its points before any trial does."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from search.config.rung_positions import rungs_of
from search.config.scheduler import scheduler_spec
from search.config.search_config import SearchConfig, longest_run
from spaces import parse_space, preset_names, preset_paths
from spaces.space import Space, SpaceError
from trainables.core.config_errors import ConfigError, Problem, counted, dotted
from trainables.core.dotted_paths import PathError, resolve, with_values
from trainables.core.vocabulary import Metric
from trainables.recipe.data_config import SEARCHABLE, DataConfig
from trainables.recipe.recipe import redundant_stages
from trainables.recipe.rules.task_rules import task_problems

_METRICS = "trials would be compared by different metrics"
_NOT_SEARCHABLE = {
    **{
        f"data.{name}": "trials would be validated on different images or classes"
        for name, field in DataConfig.model_fields.items()
        if SEARCHABLE not in field.metadata
    },
    "data.task": _METRICS,
    "train.metric": _METRICS,
    "train.workers": "trials would need different resources",
}
"""Paths that no space may vary, nor anything below them -> the reason."""


def space_problems(config: SearchConfig) -> list[Problem]:
    """Problems that show only when the space is applied to the recipe."""
    try:
        corners, draws = list(config.space.corner_points()), list(config.draws())
    except SpaceError as error:
        return [Problem(("space", *problem.path), problem.message) for problem in error.problems]
    unfit = {path: why for path in chain(*corners, *draws) if (why := _why_unfit(path, config))}
    problems = [Problem(("space", path), why) for path, why in unfit.items()]
    gpus, workers = config.settings.resources.gpus, config.recipe.train.workers
    if workers > 1 and gpus not in {None, 0.0, 1.0}:
        message = f"{gpus}: each of a trial's {workers} processes (train.workers) needs a GPU of its own; set 1, or 0 for none"
        problems.append(Problem(("search", "resources", "gpus"), message))
    problems += _wrong_points(corners, config, unfit) or next(
        (wrong for draw in draws if (wrong := _wrong_points([draw], config, unfit))),
        [],  # draws show what corners cannot: values that do not fit together
    )
    if not problems:
        problems += redundant_stages(config.corner_recipes())
    return problems or _unused_scheduler(config)


def _unused_scheduler(config: SearchConfig) -> list[Problem]:
    """Problem of a scheduler that has no rung at which to compare trials."""
    first_rung = scheduler_spec(config.settings.scheduler).first_rung
    if first_rung is None or rungs_of(config).positions:
        return []
    value, epochs = getattr(config.settings.scheduler, first_rung), counted(longest_run(config), "epoch")
    message = f"{value}: no trial has more than {epochs}, so none would be pruned; lower it, or set "
    return [Problem(("search", "scheduler", first_rung), message + "search.scheduler to {kind: none}")]


def presets_for_another_task(given: object, config: SearchConfig) -> list[Problem]:
    """Presets for the other task: one problem for each, however many values they would draw.

    Args:
        given: the `space:` section as it was written.
        config: the search.
    """
    origin = preset_paths(given)
    foreign: dict[str, list[str]] = {}
    for path in _paths_of_another_task(config.space, config):
        if path in origin:
            foreign.setdefault(origin[path], []).append(path)
    if not foreign:
        return []
    fit = [name for name in preset_names() if not _paths_of_another_task(parse_space(name), config)]
    place, task = ("space", *(("preset",) if isinstance(given, Mapping) else ())), config.recipe.data.task
    return [
        Problem(
            place,
            f"{name!r} is a preset for another task than {task}: it searches {', '.join(paths)}; use {', '.join(fit)}",
        )
        for name, paths in foreign.items()
    ]


def _paths_of_another_task(space: Space, config: SearchConfig) -> list[str]:
    """Paths with a value that only the other task has, in the order of the space."""
    data = config.recipe.model_dump(mode="json")
    drawn = dict.fromkeys(item for point in space.corner_points() for item in point.items())
    values = (
        (path, value) for name, drawn_value in drawn for path, value in space.recipe_values({name: drawn_value}).items()
    )
    return list(dict.fromkeys(path for path, value in values if _is_of_another_task(path, value, data)))


def _is_of_another_task(path: str, value: object, data: Mapping[str, Any]) -> bool:
    try:
        return bool(task_problems(with_values(data, {path: value})))
    except PathError:
        return False  # reported elsewhere


_OF_TARGETS = (
    "val_loss is measured on the scale of the targets, which differs between trials; choose spearman, mae, rmse or r2"
)


def _why_unfit(path: str, config: SearchConfig) -> str | None:
    """Reason why a path cannot be searched at all; None if it can."""
    try:
        with_values(config.recipe.model_dump(mode="json"), {path: None})
    except PathError as error:
        return str(error)
    if path.startswith("data.target") and config.recipe.train.metric == Metric.VAL_LOSS:
        return f"cannot be searched: {_OF_TARGETS}"
    for fixed, why in _NOT_SEARCHABLE.items():
        if path == fixed or path.startswith(f"{fixed}."):
            return f"cannot be searched: {why}"
    return None


def _wrong_points(points: Iterable[Mapping[str, Any]], config: SearchConfig, unfit: Collection[str]) -> list[Problem]:
    """Problems at some points, without their unfit paths; each problem once, however many points have it."""
    found: dict[tuple[str, str], Problem] = {}
    for point in points:
        values = {path: value for path, value in point.items() if path not in unfit}
        for problem in _problems_at(values, config):
            blamed = _in_space(problem, values, config)
            found.setdefault((dotted(blamed.path), problem.message), blamed)
    return list(found.values())


def _problems_at(values: Mapping[str, Any], config: SearchConfig) -> Sequence[Problem]:
    try:
        config.recipe_of(values)
    except ConfigError as error:
        return error.problems
    except PathError as error:
        return [Problem((), str(error))]
    return []


def _in_space(problem: Problem, values: Mapping[str, Any], config: SearchConfig) -> Problem:
    """Moves a recipe's problem to the searched value that causes it: the one at its path, or the one without which it
    disappears."""
    data = config.recipe.model_dump(mode="json")
    for path in values:
        if any(problem.path[: len(place)] == place for place in resolve(path, data)):
            return Problem(("space", path), problem.message)
    what = ": ".join(filter(None, (dotted(problem.path), problem.message)))
    for path, value in values.items():
        others = {other: values[other] for other in values if other != path}
        if problem not in _problems_at(others, config):
            return Problem(("space", path), f"with {value!r}, {what}")
    drawn = ", ".join(f"{path}={value!r}" for path, value in values.items())
    return Problem(("space",), f"{what} (drawn: {drawn})")
