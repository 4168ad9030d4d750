"""Checks that what was typed has an effect: in a recipe, or in at least one trial of a search."""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain, islice

from search.config.rung_positions import rungs_of
from search.config.scheduler import Hyperband
from search.config.search_config import SearchConfig
from search.config.yaml_source import Source
from spaces.space import FunctionSpace, SpaceError
from trainables.core.config_errors import ConfigError, Path, Problem, counted, dotted
from trainables.core.dotted_paths import PathError, resolve, with_values
from trainables.recipe.recipe import Recipe
from trainables.recipe.rules.imbalance_rules import corrected_twice
from trainables.recipe.rules.stage_plans import planned_stages
from trainables.recipe.rules.unused_settings import unused_settings

_MORE_DRAWS = 300
"""Points that are drawn before a setting of a search is said to have no effect in any trial."""

Groups = Sequence[tuple[Path | None, Sequence[Path]]]
"""Values that were typed once and may set several places, such as `train.stages[*].dropout`: the key of the value in the file, None
for the place itself; and the places."""


def unused_in_recipe(recipe: Recipe, source: Source) -> list[Problem]:
    """Problems of settings without effect in a recipe; of a search, whose settings may act in other trials, only what was typed."""
    problems = _problems([recipe], list(_of_overrides(source)))
    return _typed(problems, source) if "space" in source.data else _of_the_user(problems, source)


def unused_in_search(config: SearchConfig, source: Source) -> list[Problem]:
    """Problems of settings without effect in all trials of a search."""
    if problems := _of_the_user([*_unused_settings(config), *_one_point(config), *_replaced(config, source)], source):
        return problems
    if problems := list(_outdated_plan(config, source)):
        return problems
    corners = config.corner_recipes()
    groups = [*_of_overrides(source), *_of_space(config)]
    if not (problems := _of_the_user(_problems(corners, groups), source)):
        return _of_the_user([*_corrected_twice(config, corners)], source)
    return _of_the_user(_problems([*corners, *_drawn(config)], groups), source)


def _of_the_user(problems: Sequence[Problem], source: Source) -> list[Problem]:
    """Problems that the user is told: those of a file, and beside values on the command line, or in an exported config, those of
    these values alone. With `train.stages[*].epochs=1` for a quick try, a schedule of the file need not have an effect."""
    return _typed(problems, source) if source.overrides or "provenance" in source.data else list(problems)


def _typed(problems: Sequence[Problem], source: Source) -> list[Problem]:
    """Problems of values on the command line."""
    return [
        problem
        for problem in problems
        if any(all(map(operator.eq, problem.path, place)) for place in source.overrides)  # one is below the other
    ]


def _drawn(config: SearchConfig) -> Iterator[Recipe]:
    """Yields recipes at random points of the space, without those that do not fit, which cost a trial each."""
    draws = config.draws(_MORE_DRAWS)
    while True:
        try:
            yield config.recipe_of(next(draws))
        except (ConfigError, PathError):
            continue
        except (StopIteration, SpaceError):  # a function that raises ends the draws
            return


def _corrected_twice(config: SearchConfig, corners: Sequence[Recipe]) -> Iterator[Problem]:
    """Yields the problem of searched values that correct the imbalance beside a loss that does so itself, in whichever trial."""
    found = (
        problem for recipe in chain(corners, islice(_drawn(config), 30)) for problem in corrected_twice(recipe.train)
    )
    for problem in dict.fromkeys(found):
        searched = (
            key
            for key, places in _of_space(config)
            if any(at[:2] in {problem.path, ("train", "loss")} for at in places)
        )
        yield Problem(next(searched, problem.path), f"in some trials {problem.message}")


def _one_point(config: SearchConfig) -> Iterator[Problem]:
    """Yields the problem of a space of which all points are the same."""
    points = {repr(sorted(point.items())) for point in chain(config.corner_points(), config.draws())}
    if config.settings.trials > 1 and len(points) == 1:
        message = f"holds a single point, so that all {config.settings.trials} trials would be the same"
        yield Problem(("space",), f"{message}; give a parameter more values")


def _replaced(config: SearchConfig, source: Source) -> Iterator[Problem]:
    """Yields the problem of stages that no trial trains, because each has a plan."""
    resolved = "plan" in source.data["train"]  # as null, which only Thaw writes
    if (
        not resolved
        and "stages" in source.data["train"]
        and all(point.get("train.plan") for point in config.corner_points())
    ):
        message = "no trial trains these stages, because the space gives each a train.plan; give train.plan here, too"
        yield Problem(("train", "stages"), message)


def _outdated_plan(config: SearchConfig, source: Source) -> Iterator[Problem]:
    """Yields the problem of a plan whose stages would be others in some trials, because what they depend on is searched."""
    plan, points = source.data["train"].get("plan"), list(config.corner_points())
    if plan is None or any("train.plan" in point for point in points):
        return
    recipe = config.recipe.model_dump(mode="json")
    own = planned_stages(plan, recipe)
    for path in ("model.backbone", "data.image_size", "train.batch_size"):
        values = [point[path] for point in points if path in point]
        if any(planned_stages(plan, with_values(recipe, {path: value})) != own for value in values):
            message = f"the stages of train.plan depend on it; search that, too: train.plan: {{choice: [{plan}]}}"
            yield Problem(("space", path), message)


def _unused_settings(config: SearchConfig) -> Iterator[Problem]:
    """Yields the settings of the scheduler that no trial of the search meets.

    Not those that need more trials than `search.trials`, such as `startup_trials`: `thaw extend` adds trials.
    """
    settings, recipes, rungs = config.settings.scheduler, config.corner_recipes(), len(rungs_of(config).positions)
    reasons: list[tuple[str, str]] = []
    if getattr(settings, "before_drw", None) and not any(recipe.train.drw for recipe in recipes):
        reasons.append(("before_drw", "no trial re-weights (train.drw); remove it"))
    if isinstance(settings, Hyperband) and settings.brackets > max(2, rungs):
        reasons.append(("brackets", f"there are only {counted(rungs, 'rung')}; lower it"))
    for name, reason in reasons:
        value = getattr(settings, name)
        if value != type(settings).model_fields[name].default:
            yield Problem(("search", "scheduler", name), f"{value}: {reason}")


def unused_in_ablation(
    recipes: Mapping[str, Recipe], changes: Mapping[str, Collection[str]], source: Source
) -> list[Problem]:
    """Problems of settings without effect in all runs of an ablation.

    Args:
        recipes: the recipes, by name.
        changes: name of a change -> the paths that it sets.
        source: the file.
    """
    data = next(iter(recipes.values())).model_dump(mode="json")
    groups = [
        (("ablate", "changes", name, path), resolve(path, data)) for name, paths in changes.items() for path in paths
    ]
    return _problems(list(recipes.values()), [*_of_overrides(source), *groups])


def _of_overrides(source: Source) -> Iterator[tuple[None, list[Path]]]:
    for typed in dict.fromkeys(source.overrides.values()):
        yield None, [place for place, text in source.overrides.items() if text == typed]


def _of_space(config: SearchConfig) -> Iterator[tuple[Path, list[Path]]]:
    data = config.recipe.model_dump(mode="json")
    for path in dict.fromkeys(path for point in config.corner_points() for path in point):
        key = "python" if isinstance(config.space, FunctionSpace) else path
        yield ("space", key), resolve(path, data)


def _problems(recipes: Sequence[Recipe], groups: Groups) -> list[Problem]:
    unused = unused_settings(recipes)

    def acts(place: Path) -> bool:
        return not any(place[: len(problem.path)] == problem.path for problem in unused)

    found: dict[Path, Problem] = {}
    for place, message in unused:
        typed = [(key, places) for key, places in groups if any(at[: len(place)] == place for at in places)]
        if any(acts(at) for _, places in typed for at in places):
            continue  # typed for several places, and has an effect in one
        key = next((key for key, _ in typed if key), None)
        found.setdefault(key or place, Problem(key, f"{dotted(place)}: {message}") if key else Problem(place, message))
    return list(found.values())
