"""`search.enqueue`: configs that are tried first, as points of the space."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna

from search.config.search_config import SearchConfig
from search.config.yaml_source import InputError, read_source
from spaces.checked_values import Scalar
from spaces.distributions import Choice, Distribution
from spaces.space import FunctionSpace, Space, SpaceError
from trainables.core.config_errors import ConfigError, Problem, dotted, nearest
from trainables.core.dotted_paths import PathError, value_at, with_values
from trainables.recipe.recipe import parse_recipe
from trainables.recipe.rules.stage_plans import plan_of

DEFAULTS = "defaults"


class UnfitError(ValueError):
    """Error for a config that is not a point of the space; its text says why."""


def with_points(config: SearchConfig) -> tuple[SearchConfig, list[Problem]]:
    """Replaces the enqueued configs by points of the space, so that the search can be run again without other files.

    Returns:
        The search, and the problems found.
    """
    points: list[dict[str, Any]] = []
    problems: list[Problem] = []
    for i, entry in enumerate(config.settings.enqueue):
        place = ("search", "enqueue", i)
        try:
            points.append(_point(entry, config))
        except (UnfitError, InputError) as error:
            problems.append(Problem(place, str(error)))
            continue
        if wrong := _wrong_values(points[-1], config):
            problems += [Problem((*place, path), message) for path, message in wrong.items()]
        elif message := _invalid_recipe(points[-1], config):
            problems.append(Problem(place, message))
    if len(points) > config.settings.trials:
        message = f"{len(points)} trials are enqueued, and search.trials is {config.settings.trials}"
        problems.append(Problem(("search", "enqueue"), message))
    return config.with_settings(enqueue=tuple(points)), problems


def _point(entry: Mapping[str, Any] | str, config: SearchConfig) -> dict[str, Any]:
    if not isinstance(entry, str):
        return dict(entry)
    if entry == DEFAULTS:
        return point_of(config.recipe.model_dump(mode="json"), config.space)
    try:
        file = Path(entry).expanduser()
    except RuntimeError as error:  # ~ and no user of this machine
        raise UnfitError(f"{entry}: {error}") from None
    source = read_source(file)
    try:
        recipe = parse_recipe({key: value for key, value in source.data.items() if key != "provenance"})
    except ConfigError as error:
        raise InputError(f"{entry} is not an exported config: {str(error).splitlines()[0]}") from None
    return point_of(recipe.model_dump(mode="json"), config.space)


def point_of(recipe: Mapping[str, Any], space: Space) -> dict[str, Any]:
    """Values of a recipe at the paths of a space.

    Raises:
        UnfitError: if the space could not have drawn them.
    """
    if isinstance(space, FunctionSpace):
        raise UnfitError(
            f"{space.python} is a function, whose values have no paths in a recipe; give the values that it suggests, by name"
        )
    for change in recipe["train"].get("changes") or ():
        recipe = with_values(recipe, change["set"])  # the values that its score was reached with
    values: dict[str, Any] = {}
    unfit: list[str] = []
    for path, parameter in space.parameters.items():
        if not parameter.is_active(values):
            continue
        try:
            values[path] = _drawn_value(path, recipe, space, values)
        except PathError as error:
            unfit.append(str(error))
            continue
        if not parameter.contains(values[path]):
            unfit.append(f"{path} is {values[path]!r} there, and the space draws {parameter.describe()}")
    if unfit:
        raise UnfitError("; ".join(unfit))
    return values


def _drawn_value(path: str, recipe: Mapping[str, Any], space: Space, before: Mapping[str, Any]) -> Any:
    """Value that the space would have drawn for a recipe: the recipe's own, or the name of a choice that makes the same recipe.

    Args:
        path: recipe path.
        recipe: the recipe.
        space: the space.
        before: values that it would have drawn before.
    Raises:
        PathError: if the path leads nowhere, or no named choice makes the recipe.
    """
    parameter = space.parameters[path]
    if not isinstance(parameter, Choice) or not isinstance(parameter.choices, dict):
        return plan_of(recipe) if path == "train.plan" else value_at(path, recipe)
    for name, value in parameter.choices.items():
        with contextlib.suppress(ConfigError, PathError):
            drawn_below = {
                other: value_at(other, recipe)
                for other, below in space.parameters.items()
                if other.startswith(f"{path}.") and below.is_active({**before, path: name})
            }
            if parse_recipe(with_values(recipe, {path: value, **drawn_below})) == parse_recipe(recipe):
                return name
    raise PathError(f"{path} is {value_at(path, recipe)!r} there, and the space draws {parameter.describe()}")


def _wrong_values(values: Mapping[str, Any], config: SearchConfig) -> dict[str, str]:
    """Values of a point that the space would never draw: path -> reason."""
    if isinstance(config.space, FunctionSpace):
        return _wrong_names(values, config)
    parameters = config.space.parameters
    checks = {path: _wrong_value(path, value, values, parameters) for path, value in values.items()}
    return {path: message for path, message in checks.items() if message}


def _wrong_value(
    path: str, value: Scalar, values: Mapping[str, Any], parameters: Mapping[str, Distribution]
) -> str | None:
    if path not in parameters:
        return f"is not searched; {nearest(path, list(parameters))}"
    parameter = parameters[path]
    if not parameter.contains(value):
        return f"{value!r}: the space draws {parameter.describe()}"
    if not parameter.is_active(values):
        wanted = ", ".join(f"{parent} is {' or '.join(map(repr, of))}" for parent, of in parameter.when.items())
        return f"is drawn only if {wanted}; give that, too, or leave this out"
    return None


def _wrong_names(values: Mapping[str, Any], config: SearchConfig) -> dict[str, str]:
    trial = optuna.trial.FixedTrial(dict(values))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Optuna only warns of values out of range
        try:
            config.values_of(trial)
        except SpaceError as error:
            return {"": error.problems[0].message}
    return {name: "is not suggested by the function here" for name in values if name not in trial.params}


def _invalid_recipe(values: Mapping[str, Any], config: SearchConfig) -> str | None:
    """Reason why a point of the space cannot be trained; None if it can."""
    if isinstance(config.space, FunctionSpace):
        values = config.values_of(optuna.trial.FixedTrial(dict(values)))
    try:
        config.recipe_of(values)
    except ConfigError as error:
        return "; ".join(": ".join(filter(None, (dotted(p.path), p.message))) for p in error.problems)
    except PathError as error:
        return str(error)
    return None
