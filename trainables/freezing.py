"""Makes a model obey a stage: what trains, and which BatchNorm stands still."""

from __future__ import annotations

from typing import Literal

from torch import nn

from trainables.models.staged import StagedModel
from trainables.stages import Opening

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def apply_opening(model: StagedModel, opening: Opening, *, bn_affine: Literal["frozen", "train"]) -> None:
    """Freezes everything, then opens the blocks from the cut on and the head; BatchNorm's scale and shift as `bn_affine` says."""
    model.requires_grad_(False)
    for block in model.blocks[opening.cut :]:
        block.requires_grad_(True)
        if bn_affine == "frozen":
            for module in block.modules():
                if isinstance(module, _BATCH_NORMS):
                    module.requires_grad_(False)
    model.head.requires_grad_(opening.head)


def set_training_mode(model: StagedModel, cut: int) -> None:
    """Open blocks and the head in training mode, frozen blocks still."""
    model.train()
    for block in model.blocks[:cut]:
        block.eval()  # not only requires_grad=False: running statistics would drift, and stochastic depth would act
