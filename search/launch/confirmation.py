"""`thaw confirm`: trains the best trials of a search again, with seeds that had no part in choosing them."""

from __future__ import annotations

from collections.abc import Collection
from itertools import count, islice

from results_analysis.runs.run import Run, RunError
from results_analysis.tables.results_table import results_table
from search.config.search_config import SearchSettings
from search.launch.seed_comparison import Comparison, comparison_of
from trainables.recipe.recipe import Recipe, parse_recipe


def confirmation(run: Run, settings: SearchSettings, *, top: int, seeds: int) -> Comparison:
    """Comparison of the best finished trials of a run, to be trained again with full budgets.

    Args:
        run: the search.
        settings: where and with which resources trials run.
        top: number of trials.
        seeds: number of seeds that each is trained with.
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
        search_scores={f"trial {number}": score for number, score in scores.items()},
        confirms=True,
    )


def fresh_seeds(recipes: Collection[Recipe], number: int) -> list[int]:
    """Seeds that no recipe was trained with: the score of a trial that was chosen by it is too optimistic.

    Args:
        recipes: recipes of the chosen trials.
        number: number of seeds.
    """
    used = {recipe.train.seed for recipe in recipes}
    return list(islice((seed for seed in count(1) if seed not in used), number))
