"""Checks of a recipe against this machine and its data, before a trial meets a problem: device, and batches of one image."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch

from search.preflight.process_check import process_problems
from trainables.core.config_errors import ConfigError, Problem, counted
from trainables.data.batches.batches import batch_count, split_batches
from trainables.data.dataset import Dataset
from trainables.data.stage_view import data_of_stage
from trainables.models.build_model import build_model
from trainables.models.precision import device_of
from trainables.recipe.backbone_catalog import backbone_info
from trainables.recipe.recipe import Recipe
from trainables.training.freezing import set_training_mode
from trainables.training.stage_plan import opening_of


def training_problems(recipe: Recipe, dataset: Dataset, *, here: bool) -> Iterator[Problem]:
    """Yields the reasons why a recipe cannot be trained.

    Args:
        recipe: the recipe.
        dataset: its data.
        here: True if it trains on this machine.
    """
    if here:
        try:
            device_of(recipe)
        except ConfigError as error:
            yield from error.problems
            return
    yield from process_problems(recipe, dataset, here=here)
    for i, stage in enumerate(recipe.train.stages):
        images = data_of_stage(recipe, dataset, i).train
        if min(map(len, split_batches(images, recipe.batch_size(i)))) > 1 or _takes_one_image(recipe, i, dataset):
            continue
        place = ("train", "batch_size") if stage.batch_size is None else ("train", "stages", i, "batch_size")
        yield Problem(
            place,
            f"{recipe.batch_size(i)}: stage {stage.name!r} would train on batches of 1 image, of "
            f"{counted(len(images), 'image')} in all, where BatchNorm of its open blocks has a single value to compare; raise it",
        )


def _takes_one_image(recipe: Recipe, stage: int, dataset: Dataset) -> bool:
    """Tries a stage's open blocks on one image, as in training: torch refuses BatchNorm of a single value."""
    opening, channels = opening_of(recipe, stage, head=True), backbone_info(recipe.model.backbone).channels
    generator = torch.Generator()
    model = build_model(recipe.model, classes=2, cosine_scale=None, generator=generator, blocks=recipe.blocks).model
    *depth, _, _, _ = dataset.images.shape[1:]
    image = torch.zeros(1, channels, *depth, *[recipe.image_size(stage)] * 2)
    set_training_mode(model, opening)
    try:
        with torch.no_grad():
            model.tail(opening.cut)(model.prefix(image, opening.cut))
    except ValueError:
        return False
    return True


def training_warnings(recipes: Sequence[Recipe], dataset: Dataset) -> Iterator[str]:
    """Yields a warning if no recipe has enough steps for the average of its weights to reach its decay.

    Args:
        recipes: the recipes; each is on the same data.
        dataset: the data.
    """
    averages = [
        (ema.decay, _longest_average(recipe, dataset) if ema.warmup else math.inf)
        for recipe in recipes
        if (ema := recipe.train.ema)
    ]
    if averages and all(
        steps < math.inf and decay > steps / (9 + steps) for decay, steps in averages
    ):  # see `training/ema.py`
        decay, steps = min(averages)
        yield (
            f"train.ema.decay: {decay:g} is not reached: the decay rises step by step, to {steps / (9 + steps):.3g} in the "
            f"{counted(int(steps), 'step')} of the longest stage; any higher value gives the same average, unless "
            "train.ema.warmup is false"
        )


def _longest_average(recipe: Recipe, dataset: Dataset) -> int:
    """Optimizer steps of the longest stage, together with those that it continues."""
    train, lengths = recipe.train, [0]
    for i, stage in enumerate(train.stages):
        batches = batch_count(len(data_of_stage(recipe, dataset, i).train), recipe.batch_size(i))
        steps = -(-batches // train.accumulate) * stage.epochs
        lengths.append(steps + (lengths[-1] if stage.continues else 0))
    return max(lengths)
