"""`thaw confirm`: trains the best trials of a search again, with seeds that had no part in choosing them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import count, islice

from results_analysis.runs.run import Run, RunError
from results_analysis.tables.results_table import results_table
from search.config.search_config import SearchSettings
from search.launch.seed_comparison import Comparison, comparison_of
from trainables.recipe.recipe import Recipe, parse_recipe


def confirmation(
    run: Run, settings: SearchSettings, *, top: int, seeds: int
) -> tuple[Comparison, Mapping[int, Sequence[int]]]:
    """Comparison of the best finished trials of a run, to be trained again with full budgets.

    Trials that differ in nothing but the seed are one candidate.

    Args:
        run: the search.
        settings: where and with which resources trials run.
        top: number of candidates.
        seeds: number of seeds that each is trained with.
    Returns:
        The comparison, and the trials that have the same recipe as a better one, by that one's number.
    Raises:
        RunError: if no trial has finished.
    """
    finished = results_table(run, where="status == 'finished' and score == score")
    if finished.empty:
        raise RunError(f"run {run.name!r} has no finished trial with a score: there is nothing to confirm")
    known: dict[str, int] = {}
    same: dict[int, list[int]] = {}
    scores: dict[int, float] = {}
    for number, score in zip(finished["trial"].map(int), finished["score"].map(float), strict=True):
        first = known.setdefault(_but_for_the_seed(parse_recipe(run.recipe(number))), number)
        if first != number:
            same.setdefault(first, []).append(number)
        elif len(scores) < top:
            scores[number] = score
        else:
            break
    recipes = {f"trial {number}": parse_recipe(run.recipe(number)) for number in scores}
    comparison = comparison_of(
        run.layout.confirmation.name,
        recipes,
        fresh_seeds(recipes.values(), seeds),
        settings,
        search_scores={f"trial {number}": score for number, score in scores.items()},
        confirms=True,
    )
    return comparison, same


def _but_for_the_seed(recipe: Recipe) -> str:
    return recipe.model_dump_json(exclude={"train": {"seed"}})


def fresh_seeds(recipes: Collection[Recipe], number: int) -> list[int]:
    """Seeds that no recipe was trained with: the score of a trial that was chosen by it is too optimistic.

    Args:
        recipes: recipes of the chosen trials.
        number: number of seeds.
    """
    used = {recipe.train.seed for recipe in recipes}
    return list(islice((seed for seed in count(1) if seed not in used), number))
