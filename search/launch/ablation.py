"""`thaw ablate`: what each of several changes to a recipe does alone, and what all do together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from search.config.ablation import Ablation
from search.config.search_config import SearchSettings
from search.config.yaml_source import InputError, Source
from search.launch.seed_comparison import Comparison, comparison_of
from trainables.core.config_errors import ConfigError, Problem, problems_of
from trainables.core.dotted_paths import PathError, with_values
from trainables.recipe.recipe import Recipe, parse_recipe

BASELINE, TOGETHER = "baseline", "all together"


def ablation(source: Source, recipe: Recipe, settings: SearchSettings, *, name: str, seeds: int | None) -> Comparison:
    """The recipe as it is, with each change, and with all of them.

    Args:
        source: the file, for its `ablate` and for what its mistakes are called.
        seeds: in place of the file's.
    Raises:
        InputError: with all mistakes.
    """
    asked = _parsed(source)
    changes = dict(asked.changes)
    if len(changes) > 1:
        changes[TOGETHER] = {path: value for change in changes.values() for path, value in change.items()}
    recipes, problems = {BASELINE: recipe}, []
    for change, values in changes.items():
        try:
            recipes[change] = _changed(recipe, values)
        except ConfigError as error:
            key = () if change == TOGETHER else (change,)
            said = "all changes together: " if change == TOGETHER else ""
            problems += [Problem(("ablate", "changes", *key), f"{said}{p}") for p in str(error).splitlines()]
        else:
            if recipes[change] == recipe:
                problems.append(Problem(("ablate", "changes", change), "changes nothing: the recipe is so already"))
    if problems:
        raise InputError(source.describe(problems))
    first = recipe.train.seed
    return comparison_of(name, recipes, range(first, first + (seeds or asked.seeds)), settings)


def _parsed(source: Source) -> Ablation:
    given = source.data.get("ablate")
    if given is None:
        message = "is required: `changes` with a name for each, and below it paths and values, train.ema.decay: 0.99"
        raise InputError(source.describe([Problem(("ablate",), message)]))
    try:
        asked = Ablation.model_validate(given)
    except ValidationError as error:
        found = problems_of(error, Ablation, given)
        raise InputError(source.describe([Problem(("ablate", *p.path), p.message) for p in found])) from None
    taken = [Problem(("ablate", "changes", name), "is a name of ours") for name in (BASELINE, TOGETHER)]
    if problems := [problem for problem in taken if problem.path[-1] in asked.changes]:
        raise InputError(source.describe(problems))
    if clashes := _clashes(asked.changes):
        raise InputError(source.describe(clashes))
    return asked


def _clashes(changes: Mapping[str, Mapping[str, Any]]) -> list[Problem]:
    """Changes that set one path to different values: all together would be a matter of their order."""
    first: dict[str, tuple[str, Any]] = {}
    problems = []
    for name, values in changes.items():
        for path, value in values.items():
            earlier, other = first.setdefault(path, (name, value))
            if other != value:
                message = f"sets {value!r} where {earlier!r} sets {other!r}: they cannot be tried together"
                problems.append(Problem(("ablate", "changes", name, path), message))
    return problems


def _changed(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    try:
        return parse_recipe(with_values(recipe.model_dump(mode="json"), values))
    except PathError as error:
        raise ConfigError([Problem((), str(error))]) from None
