"""Makes a model obey a stage: what trains, and which BatchNorm stands still."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from torch import nn

from trainables.models.staged_model import StagedModel
from trainables.training.stage_plan import Opening

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def apply_opening(model: StagedModel, opening: Opening, *, bn_affine: Literal["frozen", "train"]) -> None:
    """Freezes everything, then opens the blocks from the cut on and the head; BatchNorm's scale and shift as `bn_affine` says."""
    model.requires_grad_(False)
    for block in model.blocks[opening.cut :]:
        for parameter in trainable_parameters(block, bn_affine=bn_affine):
            parameter.requires_grad_(True)
    model.head.requires_grad_(opening.head)


def trainable_parameters(block: nn.Module, *, bn_affine: Literal["frozen", "train"]) -> Iterator[nn.Parameter]:
    """Those that train in an open block."""
    for module in block.modules():
        if bn_affine == "train" or not isinstance(module, _BATCH_NORMS):
            yield from module.parameters(recurse=False)


def set_training_mode(model: StagedModel, cut: int) -> None:
    """Open blocks and the head in training mode, frozen blocks still."""
    model.train()
    for block in model.blocks[:cut]:
        block.eval()  # not only requires_grad=False: running statistics would drift, and stochastic depth would act
