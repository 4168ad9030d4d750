"""Checks that the settings of a search fit its space and its task: sampler, objectives, constraints."""

from __future__ import annotations

from collections.abc import Iterator

from search.config.sampler import sampler_kinds, sampler_spec
from search.config.scheduler import scheduler_spec
from search.config.search_config import SearchConfig
from search.tuning.pbt_children import changing_paths
from spaces.grid import grid_points
from spaces.space import FunctionSpace
from trainables.core.config_errors import Problem
from trainables.core.vocabulary import Metric, metrics_of
from trainables.recipe.scheduled_changes import CHANGEABLE

_MOST_GRID_POINTS = 100_000


def proposal_problems(config: SearchConfig) -> list[Problem]:
    """Problems of the settings, for a search whose space and enqueued points have been checked."""
    checks = (_unfit_goals, _unfit_device, _unfit_space, _unfit_grid, _unfit_warm_start, _unfit_population)
    return [problem for check in checks for problem in check(config)]


def _unfit_goals(config: SearchConfig) -> Iterator[Problem]:
    task, settings = config.recipe.data.task, config.settings
    foreign = {metric.value for metric in Metric} - set(metrics_of(task))
    for i, name in enumerate(settings.objectives):
        if name in foreign:
            yield Problem(("search", "objectives", i), f"{name!r} is not a metric of {task}")
        if name == config.recipe.train.metric:
            yield Problem(
                ("search", "objectives", i), f"{name!r} is train.metric, which is the score already; remove it"
            )
    for name in settings.constraints:
        if name in foreign:
            yield Problem(("search", "constraints", name), f"is not a metric of {task}")
    if len(settings.objectives) > 1 and not sampler_spec(settings.sampler).multi_objective:
        names = ", ".join(settings.objectives)
        message = (
            f"{settings.sampler.kind} optimizes one objective, and there are {len(settings.objectives)} ({names}); "
        )
        yield Problem(("search", "sampler", "kind"), message + "use nsga2 or tpe")


def _unfit_device(config: SearchConfig) -> Iterator[Problem]:
    trains = [recipe.train for recipe in config.corner_recipes()]
    needs = "train.device cuda" if any(train.device == "cuda" for train in trains) else "train.precision fp16"
    if config.settings.resources.gpus == 0 and any(t.device == "cuda" or t.precision == "fp16" for t in trains):
        message = f"0: trials would not see a GPU, and {needs} needs one; give 1, or a share of one"
        yield Problem(("search", "resources", "gpus"), message)


def _unfit_space(config: SearchConfig) -> Iterator[Problem]:
    kind, place = config.settings.sampler.kind, ("search", "sampler", "kind")
    spec = sampler_spec(config.settings.sampler)
    if not spec.conditional and config.space.is_conditional:
        conditional = [path for path, parameter in config.space.parameters.items() if parameter.when]
        which = (
            f"{', '.join(conditional)} {'is' if len(conditional) == 1 else 'are'}" if conditional else "some values are"
        )
        message = f"{kind} models the same parameters in all trials, and {which} drawn only in some; use tpe"
        yield Problem(place, message)
    elif spec.numbers and not any(hasattr(d, "low") for d in config.space.distributions().values()):
        yield Problem(place, f"{kind} proposes numbers, and this space has only choices; use tpe or grid")


def _unfit_grid(config: SearchConfig) -> Iterator[Problem]:
    if not sampler_spec(config.settings.sampler).finite:
        return
    kind, place, space = config.settings.sampler.kind, ("search", "sampler", "kind"), config.space
    if isinstance(space, FunctionSpace):
        message = f"{kind} tries every point, and those of the function {space.python} are unknown; use tpe or random"
        yield Problem(place, message)
        return
    endless = [path for path, parameter in space.parameters.items() if parameter.grid() is None]
    for path in endless:
        message = f"{space.parameters[path].describe()}: the grid needs a finite number of values; give "
        yield Problem(("space", path), message + "{choice: [...]}, {int: [...]}, or {float: [...], step: ...}")
    if endless:
        return
    points = grid_points(space, most=_MOST_GRID_POINTS + 1)
    if len(points) > _MOST_GRID_POINTS:
        yield Problem(place, f"the grid has more than {_MOST_GRID_POINTS:,} points; use random or qmc")
        return
    enqueued = [point for point in config.settings.enqueue if isinstance(point, dict)]
    most = len([point for point in points if point not in enqueued]) + len(enqueued)
    if config.settings.trials > most:
        message = f"{config.settings.trials}: the grid has {len(points)} points, each tried once; give at most {most}"
        yield Problem(("search", "trials"), message)


def _unfit_population(config: SearchConfig) -> Iterator[Problem]:
    settings, kind, place = config.settings, config.settings.scheduler.kind, ("search", "scheduler", "kind")
    if not scheduler_spec(settings.scheduler).forks:
        return
    if others := [name for name in config.goals if name != "score"]:
        message = f"{kind} starts trials from those with the best score, and ignores {', '.join(others)}; use asha"
        yield Problem(place, message)
    if sampler_spec(settings.sampler).every_trial:
        message = (
            f"{settings.sampler.kind} must propose every trial, and {kind} starts some from others; use tpe or random"
        )
        yield Problem(("search", "sampler", "kind"), message)
    if isinstance(config.space, FunctionSpace):
        message = f"{kind} must know which values it can change, and {config.space.python} is a function; write the space as paths"
        yield Problem(place, message)
    elif not any(changing_paths(config.space, point, config.recipe_of(point)) for point in config.corner_points()):
        searched = ", ".join(config.space.parameters)
        message = f"{kind}: none of the searched values ({searched}) can change during training; these can: {', '.join(CHANGEABLE)}"
        yield Problem(place, message)


def _unfit_warm_start(config: SearchConfig) -> Iterator[Problem]:
    sampler, place = config.settings.sampler, ("search", "warm_start")
    if not config.settings.warm_start:
        return
    if not sampler_spec(sampler).learns:
        *others, last = sampler_kinds(lambda spec: spec.learns)
        message = f"{sampler.kind} does not learn from earlier runs; use {', '.join(others)} or {last}, or enqueue "
        yield Problem(place, message + "their best config")
    elif isinstance(config.space, FunctionSpace):
        message = (
            f"{config.space.python} is a function, whose values cannot be found in earlier trials; enqueue their values"
        )
        yield Problem(place, message)
