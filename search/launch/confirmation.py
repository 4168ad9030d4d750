"""`thaw confirm`: the best trials of a search, trained again with seeds that nothing was chosen by."""

from __future__ import annotations

from collections.abc import Collection
from itertools import count, islice

from results_analysis.runs.run import Run, RunError
from results_analysis.tables.results_table import results_table
from search.config.search_config import SearchSettings
from search.launch.seed_comparison import Comparison, comparison_of
from trainables.recipe.recipe import Recipe, parse_recipe


def confirmation(run: Run, settings: SearchSettings, *, top: int, seeds: int) -> Comparison:
    """The best finished trials of a run, to be trained with full budgets.

    Raises:
        RunError: if no trial has finished.
    """
    finished = results_table(run, where="status == 'finished' and score == score", top=top)
    if finished.empty:
        raise RunError(f"run {run.name!r} has no finished trial with a score: there is nothing to confirm")
    scores = {int(trial): float(score) for trial, score in zip(finished["trial"], finished["score"], strict=True)}
    recipes = {f"trial {number}": parse_recipe(run.recipe(number)) for number in scores}
    return comparison_of(
        run.layout.confirmation.name,
        recipes,
        fresh_seeds(recipes.values(), seeds),
        settings,
        promised={f"trial {number}": score for number, score in scores.items()},
        confirms=True,
    )


def fresh_seeds(recipes: Collection[Recipe], number: int) -> list[int]:
    """Seeds that no recipe was trained with: a score that was chosen for its seed says too much with it."""
    used = {recipe.train.seed for recipe in recipes}
    return list(islice((seed for seed in count(1) if seed not in used), number))
