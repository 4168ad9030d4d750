"""What training costs, counted and not timed: trained parameters × training images. The same on every machine."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from trainables.models.staged_model import StagedModel
from trainables.recipe.recipe import Recipe
from trainables.training.freezing import trainable_parameters


def trained_parameters(model: nn.Module) -> int:
    """Numbers of a model that training moves as it stands."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def planned_compute(recipe: Recipe, model: StagedModel, images: Callable[[int], int]) -> int:
    """What a run spends whose stages use all their epochs.

    Args:
        model: the recipe's.
        images: stage -> training images that it sees in an epoch.
    """
    bn_affine = recipe.train.bn_affine
    blocks = [sum(p.numel() for p in trainable_parameters(block, bn_affine=bn_affine)) for block in model.blocks]
    head = sum(p.numel() for p in model.head.parameters())
    spent = 0
    for i, stage in enumerate(recipe.train.stages):
        rest = min(recipe.head_frozen_epochs(i), stage.epochs)
        spent += images(i) * (sum(blocks[recipe.cut(i) :]) * stage.epochs + head * (stage.epochs - rest))
    return spent
