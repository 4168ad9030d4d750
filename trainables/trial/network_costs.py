"""Costs of using a trial's network: multiply-adds and parameters."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from trainables.core.vocabulary import Objective
from trainables.data.stage_view import data_of_stage
from trainables.recipe.backbone_catalog import backbone_info
from trainables.training.trainer import Trainer

_OF_THE_NETWORK = {Objective.MACS, Objective.PARAMETERS}


def network_costs(trainer: Trainer, names: Collection[str]) -> dict[str, float]:
    """Returns the objectives among `names` that are properties of the network: multiply-adds of one image of the last stage's size,
    and number of parameters."""
    if not _OF_THE_NETWORK & set(names):
        return {}
    recipe = trainer.recipe
    data = data_of_stage(recipe, trainer.dataset, len(recipe.train.stages) - 1)
    channels = backbone_info(recipe.model.backbone).channels
    image = torch.zeros(1, channels, *data.images.shape[1:-1], device=trainer.device)
    return {
        Objective.MACS.value: multiply_adds(trainer.model, image),
        Objective.PARAMETERS.value: float(sum(p.numel() for p in trainer.model.parameters())),
    }


@torch.no_grad()
def multiply_adds(network: nn.Module, image: Tensor) -> float:
    """Counts the multiply-adds of a network's convolutions, matrix products and attention for one batch.

    Leaves the network in evaluation mode.
    """
    network.eval()
    with FlopCounterMode(display=False) as counter:
        network(image)
    return float(counter.get_total_flops()) / 2
