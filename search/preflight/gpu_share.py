"""`search.resources.gpus: auto`: measures how many trials fit on a GPU, by trying one there."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from typing import Any

from search.config.search_config import SearchConfig
from search.preflight.forecast import memory
from search.preflight.local_machine import this_machine
from trainables.recipe.recipe import Recipe

_USABLE = 0.9
"""Share of a GPU's memory that trials may take; the rest is left for fragmentation and for other programs."""


def gpu_share(*, trial_bytes: int, gpu_bytes: int) -> float:
    """Share of a GPU for one trial, so that as many trials share it as fit; 1 if only one fits.

    Args:
        trial_bytes: GPU memory of a trial, including its process.
        gpu_bytes: memory of the GPU.
    """
    return 1 / max(1, int(_USABLE * gpu_bytes // trial_bytes))


def heaviest_stages(recipes: Sequence[Recipe]) -> list[tuple[Recipe, int]]:
    """Stages that may take the most memory: of those with the largest batches the one that opens the most blocks, and
    of those that open the most blocks the one with the largest batches."""

    def pixels(recipe: Recipe, stage: int) -> int:
        return int(recipe.batch_size(stage) * recipe.image_size(stage) ** 2)

    stages = [(recipe, i) for recipe in recipes for i in range(len(recipe.train.stages))]
    largest = min(stages, key=lambda s: (-pixels(*s), s[0].depth(s[1])))
    deepest = min(stages, key=lambda s: (s[0].depth(s[1]), -pixels(*s)))
    return [largest] if largest == deepest else [largest, deepest]


def measured_gpu_share(config: SearchConfig) -> float:
    """Share of a GPU that a trial of the search takes; 0 if there is no GPU.

    It is measured in a process of its own, so that CUDA's memory is free again before trials start.
    """
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        share: float = pool.apply(_measure, (config.recipe.model_dump(mode="json"), _plain(config.corner_recipes())))
    return share


def _plain(recipes: Sequence[Recipe]) -> list[dict[str, Any]]:
    return [recipe.model_dump(mode="json") for recipe in recipes]


def _measure(recipe: dict[str, Any], corners: list[dict[str, Any]]) -> float:
    from trainables.data.dataset import open_dataset
    from trainables.recipe.recipe import parse_recipe
    from trainables.trial.dry_run import dry_run

    machine = this_machine()
    if machine.gpu_bytes is None:
        return 0.0
    own, recipes = parse_recipe(recipe), [parse_recipe(corner) for corner in corners]
    sizes = {each.image_size(i) for each in recipes for i in range(len(each.train.stages))}
    tried = dry_run(heaviest_stages(recipes), open_dataset(own.data, image_sizes=sizes))
    trial_bytes = memory(tried, machine).trial_gpu_bytes
    assert trial_bytes is not None
    return gpu_share(trial_bytes=trial_bytes, gpu_bytes=machine.gpu_bytes)
