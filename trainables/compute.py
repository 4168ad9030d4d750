"""What training costs, counted and not timed: trained parameters × training images. The same on every machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import nn

from trainables.freezing import apply_opening
from trainables.models.staged import StagedModel
from trainables.recipe import Recipe
from trainables.stages import Opening


def trained_parameters(model: nn.Module) -> int:
    """Numbers of a model that training moves as it stands."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def planned_compute(recipe: Recipe, model: StagedModel, images: Callable[[int], int]) -> int:
    """What a run spends whose stages use all their epochs. Leaves the model open.

    Args:
        model: the recipe's.
        images: stage -> training images that it sees in an epoch.
    """
    blocks, head = _sizes(model, recipe.train.bn_affine)
    spent = 0
    for i, stage in enumerate(recipe.train.stages):
        rest = min(recipe.head_frozen_epochs(i), stage.epochs)
        spent += images(i) * (sum(blocks[recipe.cut(i) :]) * stage.epochs + head * (stage.epochs - rest))
    return spent


def _sizes(model: StagedModel, bn_affine: Literal["frozen", "train"]) -> tuple[list[int], int]:
    """Trained parameters of each block, and of the head, where all are open."""
    apply_opening(model, Opening(0, head=True), bn_affine=bn_affine)
    return [trained_parameters(block) for block in model.blocks], trained_parameters(model.head)
