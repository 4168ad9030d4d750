"""Whether the batches of a run are large enough to be shared by several processes."""

from __future__ import annotations

from search.source import InputError, Source
from trainables.data.batches import split_batches
from trainables.data.dataset import Dataset
from trainables.problems import Problem
from trainables.recipe import Recipe
from trainables.stage_data import data_of_stage


def check_parts(recipe: Recipe, dataset: Dataset, source: Source) -> None:
    """Each process needs its part of every batch.

    Raises:
        InputError: if a batch is too small to be shared.
    """
    count, problems = recipe.train.workers, []
    for i, stage in enumerate(recipe.train.stages):
        data, size = data_of_stage(recipe, dataset, i), recipe.batch_size(i)
        for what, images, least in (("train", data.train, 2 * count), ("judge", data.validation, count)):
            smallest = min(len(batch) for batch in split_batches(images, size))
            if smallest < least:  # 2 to train: BatchNorm compares images
                which = f"stage {stage.name!r} has batches of {smallest} images to {what}"
                problems.append(Problem(("train", "workers"), f"{count} workers need {least} in a batch, and {which}"))
    if problems:
        raise InputError(source.describe(problems))
