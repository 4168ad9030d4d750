"""`thaw ablate`: measures the effect of several changes to a recipe, each alone and all together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from search.config.ablation import Ablation
from search.config.search_config import SearchSettings
from search.config.yaml_source import InputError, Source
from search.config_file.check_unused import unused_in_ablation
from search.launch.seed_comparison import Comparison, comparison_of
from trainables.core.config_errors import ConfigError, Problem, problems_of
from trainables.core.dotted_paths import PathError
from trainables.recipe.recipe import Recipe, recipe_with

BASELINE, TOGETHER = "baseline", "all together"


def ablation(source: Source, recipe: Recipe, settings: SearchSettings, *, name: str, seeds: int | None) -> Comparison:
    """Comparison of the recipe as it is, with each change alone, and with all changes together.

    Args:
        source: the file, for its `ablate` section and the places of mistakes.
        recipe: the baseline.
        settings: where and with which resources trials run.
        name: name of the run folder.
        seeds: number of seeds, instead of the file's.
    Raises:
        InputError: with all mistakes.
    """
    section = _parsed(source)
    changes = dict(section.changes)
    if len(changes) > 1:
        changes[TOGETHER] = {path: value for change in changes.values() for path, value in change.items()}
    recipes, problems = {BASELINE: recipe}, []
    for change, values in changes.items():
        try:
            recipes[change] = _changed(recipe, values)
        except ConfigError as error:
            key = () if change == TOGETHER else (change,)
            prefix = "all changes together: " if change == TOGETHER else ""
            problems += [Problem(("ablate", "changes", *key), f"{prefix}{p}") for p in str(error).splitlines()]
        else:
            if recipes[change] == recipe:
                problems.append(
                    Problem(("ablate", "changes", change), "changes nothing: the recipe already has these values")
                )
    if problems := problems or unused_in_ablation(recipes, section.changes, source):
        raise InputError(source.describe(problems))
    first = recipe.train.seed
    return comparison_of(name, recipes, range(first, first + (seeds or section.seeds)), settings)


def _parsed(source: Source) -> Ablation:
    given = source.data.get("ablate")
    if given is None:
        message = (
            "is required: `changes`, with a name for each, and below it paths and values such as train.ema.decay: 0.99"
        )
        raise InputError(source.describe([Problem(("ablate",), message)]))
    try:
        section = Ablation.model_validate(given)
    except ValidationError as error:
        found = problems_of(error, Ablation, given)
        raise InputError(source.describe([Problem(("ablate", *p.path), p.message) for p in found])) from None
    reserved = [Problem(("ablate", "changes", name), "is a reserved name") for name in (BASELINE, TOGETHER)]
    if problems := [problem for problem in reserved if problem.path[-1] in section.changes]:
        raise InputError(source.describe(problems))
    if clashes := _clashes(section.changes):
        raise InputError(source.describe(clashes))
    return section


def _clashes(changes: Mapping[str, Mapping[str, Any]]) -> list[Problem]:
    """Changes that set the same path to different values: the result of all together would depend on their order."""
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
        return recipe_with(recipe.model_dump(mode="json"), values)
    except PathError as error:
        raise ConfigError([Problem((), str(error))]) from None
