"""Checks, before Ray starts, that a run or a trial can be split over several processes."""

from __future__ import annotations

from collections.abc import Iterator

from search.preflight.local_machine import this_machine
from trainables.core.config_errors import Problem
from trainables.data.batches.batches import split_batches
from trainables.data.dataset import Dataset
from trainables.data.stage_view import data_of_stage
from trainables.models.precision import device_of
from trainables.recipe.recipe import Recipe


def process_problems(recipe: Recipe, dataset: Dataset, *, here: bool) -> Iterator[Problem]:
    """Yields the reasons why a recipe cannot be trained by its `train.workers` processes: too few cores or GPUs, small batches.

    Args:
        recipe: recipe of the run.
        dataset: its data.
        here: True if it trains on this machine.
    """
    if recipe.train.workers > 1:
        for message in (*(_too_few(recipe) if here else ()), *_too_small(recipe, dataset)):
            yield Problem(("train", "workers"), message)


def _too_few(recipe: Recipe) -> Iterator[str]:
    workers, machine = recipe.train.workers, this_machine()
    needed = {"cores": (workers * recipe.train.cpu_threads, machine.cpus)}
    if device_of(recipe).type == "cuda":
        needed["GPUs"] = (workers, machine.gpus)
    for name, (count, there) in needed.items():
        if count > there:
            yield f"{workers} workers need {count} {name}, and there are {there}"


def _too_small(recipe: Recipe, dataset: Dataset) -> Iterator[str]:
    workers = recipe.train.workers
    for i, stage in enumerate(recipe.train.stages):
        data, size = data_of_stage(recipe, dataset, i), recipe.batch_size(i)
        # Two training images per worker: BatchNorm compares images.
        for what, images, least in (("train", data.train, 2 * workers), ("validate", data.validation, workers)):
            smallest = min(len(batch) for batch in split_batches(images, size))
            if smallest < least:
                yield (
                    f"{workers} workers need batches of {least} images to {what}, and stage {stage.name!r} has some "
                    f"of {smallest}"
                )
