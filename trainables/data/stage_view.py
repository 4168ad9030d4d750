"""What a stage sees of the data: its share of the training images, at its size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from trainables.data.dataset import Dataset
from trainables.data.splits.by_class import fraction_of
from trainables.recipe.recipe import Recipe


def data_of_stage(recipe: Recipe, dataset: Dataset, stage: int) -> Dataset:
    """The data set as a stage has it. Who judges is the same in all stages; images to judge by have the stage's size, too,
    because that is the size at which its network is used.

    Args:
        dataset: of the run: all training images, at `data.image_size` and at all sizes of its stages.
    """
    fraction = recipe.train.stages[stage].data_fraction
    train = dataset.train
    if fraction < 1:
        train = fraction_of(train, dataset.labels, fraction, recipe.data.seed)
    return replace(dataset, images=_images_at(recipe.image_size(stage), recipe, dataset), train=train)


def _images_at(size: int, recipe: Recipe, dataset: Dataset) -> np.ndarray:
    """[n, (d,) s, s, c], the images at a size that the recipe names."""
    return dataset.images if size == recipe.data.image_size else dataset.images_at[size]
