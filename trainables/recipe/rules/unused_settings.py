"""Settings that have no effect in a recipe, because of others. What is given acts, or is refused with the reason; a default that
does not fit is not reported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from pydantic import BaseModel

from trainables.core.config_errors import Path, Problem
from trainables.core.dotted_paths import resolve
from trainables.recipe.recipe import Recipe
from trainables.recipe.rules.unused_schedules import SCHEDULE_RULES
from trainables.recipe.rules.unused_stage_settings import STAGE_RULES, Rule
from trainables.recipe.rules.unused_train_settings import TRAIN_RULES

RULES: Mapping[str, Rule] = {**STAGE_RULES, **SCHEDULE_RULES, **TRAIN_RULES}
"""Path of a setting -> its rule. A rule also holds for everything below its path."""


def unused_settings(recipes: Sequence[Recipe]) -> list[Problem]:
    """Returns a problem for each setting that differs from its default and has no effect in any of some recipes.

    Not part of `parse_recipe`: a search may well draw a value that only some of its trials use.
    """
    unused = [_unused_in(recipe) for recipe in recipes]
    return [
        Problem(place, reason)
        for place, reason in (unused[0].items() if unused else ())
        if all(place in found for found in unused) and any(_is_given(recipe, place) for recipe in recipes)
    ]


def _unused_in(recipe: Recipe) -> dict[Path, str]:
    """Settings of a recipe, defaults included, that have no effect, neither at first nor after its changes during a run, and the
    reasons."""
    found = [dict(_unused_now(each)) for each in (recipe, *_after_changes(recipe))]
    unused = {place: reason for place, reason in found[0].items() if all(place in other for other in found)}
    return unused | dict(_late_changes(recipe, recipe.model_dump(mode="json")))


def _after_changes(recipe: Recipe) -> Iterator[Recipe]:
    return (recipe.in_epoch(change.after_epoch + 1) for change in recipe.train.changes)


def _unused_now(recipe: Recipe) -> Iterator[tuple[Path, str]]:
    data = recipe.model_dump(mode="json")
    for path, rule in RULES.items():
        for place in resolve(path, data):
            i = next((key for key in place if isinstance(key, int)), 0)
            if _exists(recipe, place) and (reason := rule(recipe, i)):
                yield place, reason


def _exists(recipe: Recipe, place: Path) -> bool:
    return _value_at(recipe, place[:-1]) is not None


def _is_given(recipe: Recipe, place: Path) -> bool:
    """True if a value differs from its default."""
    if not _exists(recipe, place):
        return False
    owner = _value_at(recipe, place[:-1])
    if not isinstance(owner, BaseModel):
        return True  # items of lists have no defaults
    return bool(
        _value_at(recipe, place) != type(owner).model_fields[str(place[-1])].get_default(call_default_factory=True)
    )


def _value_at(recipe: Recipe, place: Path) -> Any:
    value: Any = recipe
    for key in place:
        value = None if value is None else value[key] if isinstance(key, int) else getattr(value, key)
    return value


def _late_changes(recipe: Recipe, data: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Yields the changes during a run that concern only stages which are over by then."""
    ends = list(accumulate(stage.epochs for stage in recipe.train.stages))
    for n, change in enumerate(recipe.train.changes):
        for path in change.set:
            stages = [int(place[2]) for place in resolve(path, data) if place[:2] == ("train", "stages")]
            last = max((ends[i] for i in stages), default=None)
            if last is not None and last <= change.after_epoch:
                yield (
                    ("train", "changes", n, "set", path),
                    f"the stage is over after epoch {last} at the latest; remove it",
                )
