"""What training costs, counted and not timed: trained parameters × training images. The same on every machine."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from trainables.data.dataset import Dataset
from trainables.freezing import apply_opening
from trainables.models.backbones import build_model
from trainables.recipe import Recipe
from trainables.stage_data import data_of_stage
from trainables.stages import Opening


def trained_parameters(model: nn.Module) -> int:
    """Numbers of a model that training moves as it stands."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


@dataclass(frozen=True)
class Sizes:
    """Numbers that training moves in the parts of a network, all of them open."""

    blocks: tuple[int, ...]
    """From input to head."""
    head: int


def sizes_of(recipe: Recipe, *, outputs: int) -> Sizes:
    """The sizes of a recipe's network.

    Args:
        outputs: of its last layer.
    Raises:
        ConfigError: if the weights cannot be had.
    """
    model = build_model(recipe.model, classes=outputs, cosine_scale=None, generator=torch.Generator()).model
    apply_opening(model, Opening(0, head=True), bn_affine=recipe.train.bn_affine)
    return Sizes(tuple(map(trained_parameters, model.blocks)), trained_parameters(model.head))


def planned_compute(recipe: Recipe, dataset: Dataset, sizes: Sizes) -> float:
    """What a run spends whose stages use all their epochs; `EpochReport.compute` of its last epoch, but for the few biases by which a
    linear last layer is larger than one of cosines.

    Args:
        dataset: the recipe's.
        sizes: of its network.
    """
    spent = 0.0
    for i, stage in enumerate(recipe.train.stages):
        images = len(data_of_stage(recipe, dataset, i).train)
        rest = min(recipe.head_frozen_epochs(i), stage.epochs)
        spent += images * (sum(sizes.blocks[recipe.cut(i) :]) * stage.epochs + sizes.head * (stage.epochs - rest))
    return spent
