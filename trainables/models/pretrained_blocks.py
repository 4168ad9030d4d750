"""Pretrained weights that the blocks of a run started from."""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.models.build_model import build_model
from trainables.recipe.recipe import Recipe


def pretrained_blocks(recipe: Recipe) -> dict[str, Tensor]:
    """Loads the pretrained weights of a recipe's blocks, without the head, by their names in the model."""
    built = build_model(recipe.model, classes=2, cosine_scale=None, generator=torch.Generator())
    return {name: tensor for name, tensor in built.model.state_dict().items() if name.startswith("blocks.")}
