"""Comparison of recipes trained with the same seeds, instead of a search: `thaw confirm` and `thaw ablate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from yaml import YAMLError

from search.config.sampler import Random
from search.config.scheduler import NoPruning
from search.config.search_config import SearchConfig, SearchSettings
from spaces.space import Space
from trainables.core.plain_yaml import dump_yaml, load_yaml
from trainables.core.vocabulary import CANDIDATE, SEED
from trainables.recipe.recipe import Recipe, parse_recipe

if TYPE_CHECKING:
    from optuna.trial import BaseTrial


@dataclass(frozen=True)
class Comparison(SearchConfig):
    """A search without a space: trial n trains one candidate with one seed, and none is pruned. Build it with `comparison_of`."""

    candidates: Mapping[str, Recipe]
    """Name of a candidate -> its recipe."""
    seeds: tuple[int, ...]
    """Seeds that each candidate is trained with."""
    search_scores: Mapping[str, float | None]
    """Name of a candidate -> its score in the search that it comes from."""
    confirms: bool
    """True if each trial ends with an evaluation on the test split."""

    @property
    def reads_test(self) -> bool:
        return self.confirms

    def values_of(self, trial: BaseTrial) -> dict[str, Any]:
        # Seed by seed: all candidates can be compared as soon as the first seed is done.
        seed, candidate = divmod(trial.number, len(self.candidates))
        return {CANDIDATE: list(self.candidates)[candidate], SEED: self.seeds[seed]}

    def recipe_of(self, values: Mapping[str, Any]) -> Recipe:
        recipe = self.candidates[values[CANDIDATE]]
        return recipe.model_copy(update={"train": recipe.train.model_copy(update={"seed": values[SEED]})})

    def corner_recipes(self) -> list[Recipe]:
        return list(self.candidates.values())

    def to_yaml(self) -> str:
        """Comparison as YAML; the recipe at the top is the first candidate's."""
        comparison = {
            "seeds": list(self.seeds),
            "reads_test": self.confirms,
            "promised": dict(self.search_scores),
            "candidates": {name: recipe.model_dump(mode="json") for name, recipe in self.candidates.items()},
        }
        settings = self.settings.model_copy(update={"name": self.name}).model_dump(mode="json")
        parts = {**self.recipe.model_dump(mode="json"), "comparison": comparison, "search": settings}
        return dump_yaml(parts)

    def is_that_of(self, text: str) -> bool:
        """Returns True if a text of `to_yaml` describes this comparison, also where it is older than a setting and lacks it."""
        if text == self.to_yaml():
            return True
        try:
            data = load_yaml(text)
            given = data["comparison"]
            candidates = {name: parse_recipe(recipe) for name, recipe in given["candidates"].items()}
            settings = SearchSettings.model_validate(data["search"])
        except (KeyError, TypeError, AttributeError, ValueError, YAMLError):  # not such a text
            return False
        older = replace(
            self,
            recipe=next(iter(candidates.values()), self.recipe),
            settings=settings,
            candidates=candidates,
            seeds=tuple(given.get("seeds", ())),
            search_scores=given.get("promised", {}),
            confirms=given.get("reads_test", False),
        )
        return settings.name == self.name and older.to_yaml() == self.to_yaml()


def comparison_of(
    name: str,
    candidates: Mapping[str, Recipe],
    seeds: Sequence[int],
    settings: SearchSettings,
    *,
    search_scores: Mapping[str, float | None] | None = None,
    confirms: bool = False,
) -> Comparison:
    """Builds a comparison.

    Args:
        name: name of the run folder.
        candidates: name that people read -> recipe; at least one.
        seeds: seeds that each candidate is trained with.
        settings: settings of the search, for where and with which resources trials run.
        search_scores: score of each candidate in the search that it comes from.
        confirms: True to evaluate each trial on the test split at its end.
    """
    machine_settings = settings.model_dump(include={"address", "resources", "max_concurrent", "max_retries", "wandb"})
    return Comparison(
        name,
        next(iter(candidates.values())),
        Space({}),
        SearchSettings(
            trials=len(candidates) * len(seeds),
            sampler=Random(kind="random"),
            scheduler=NoPruning(kind="none"),
            **machine_settings,
        ),
        candidates,
        tuple(seeds),
        search_scores or {},
        confirms,
    )
