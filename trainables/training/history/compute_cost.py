"""Cost of training, counted instead of timed: trained parameters × training images. The same on every machine."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from trainables.models.staged_model import StagedModel
from trainables.recipe.recipe import Recipe
from trainables.training.freezing import trainable_parameters


def trained_parameters(model: nn.Module) -> int:
    """Number of a model's parameters that currently train."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def planned_compute(recipe: Recipe, model: StagedModel, images: Callable[[int], int]) -> int:
    """Compute of a run whose stages use all their epochs, in trained parameters × training images.

    Args:
        recipe: recipe of the run.
        model: model of the recipe.
        images: function that takes a stage's position and returns the training images it sees in an epoch.
    """
    blocks = [sum(p.numel() for p in trainable_parameters(part, bn_affine=recipe.bn_affine)) for part in model.parts]
    head = sum(p.numel() for p in model.head.parameters())
    spent = 0
    for i, stage in enumerate(recipe.train.stages):
        rest = min(recipe.head_frozen_epochs(i), stage.epochs)
        opened = sum(count for block, count in enumerate(blocks) if block not in recipe.frozen(i))
        spent += images(i) * (opened * stage.epochs + head * (stage.epochs - rest))
    return spent
