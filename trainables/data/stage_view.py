"""Data set as a stage sees it: its share of the training images, at its image size."""

from __future__ import annotations

from dataclasses import replace

from trainables.data.dataset import Dataset
from trainables.data.splits.by_class import fraction_of
from trainables.data.store.images import Images
from trainables.recipe.recipe import Recipe


def data_of_stage(recipe: Recipe, dataset: Dataset, stage: int) -> Dataset:
    """Returns the data set as a stage sees it.

    The validation images are the same in all stages, but have the stage's size, because the network is used at that size.

    Args:
        recipe: recipe of the run.
        dataset: data set of the run, with all training images, at `data.image_size` and at all sizes of the stages.
        stage: position of the stage.
    """
    fraction = recipe.train.stages[stage].data_fraction
    train = dataset.train
    if fraction < 1:
        train = fraction_of(train, dataset.labels, fraction, recipe.data.seed)
    return replace(dataset, images=_images_at(recipe.image_size(stage), recipe, dataset), train=train)


def _images_at(size: int, recipe: Recipe, dataset: Dataset) -> Images:
    """Images [n, (d,) s, s, c] at a size that the recipe names."""
    return dataset.images if size == recipe.data.image_size else dataset.images_at[size]
