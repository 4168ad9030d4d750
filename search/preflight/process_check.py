"""Checks, before Ray starts, that a run can be split over several processes."""

from __future__ import annotations

from collections.abc import Iterator

from search.config.yaml_source import InputError, Source
from search.preflight.local_machine import this_machine
from trainables.core.config_errors import Problem
from trainables.data.batches.batches import split_batches
from trainables.data.dataset import Dataset
from trainables.data.stage_view import data_of_stage
from trainables.recipe.recipe import Recipe
from trainables.training.trainer import device_of


def check_processes(recipe: Recipe, dataset: Dataset, source: Source) -> None:
    """Checks that the machine and the batches allow `train.workers` processes.

    Args:
        recipe: recipe of the run.
        dataset: its data.
        source: its file, for the place of the mistake.
    Raises:
        InputError: if there are too few cores or GPUs, or if batches are too small to be split.
    """
    problems = [Problem(("train", "workers"), message) for message in (*_too_few(recipe), *_too_small(recipe, dataset))]
    if problems:
        raise InputError(source.describe(problems))


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
