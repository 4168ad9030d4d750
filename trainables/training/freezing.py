"""Freezes and opens the blocks of a model for a stage, and sets the mode of their BatchNorm."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from torch import nn

from trainables.models.staged_model import StagedModel
from trainables.training.stage_plan import Opening

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def apply_opening(model: StagedModel, opening: Opening, *, bn_affine: bool) -> None:
    """Freezes a model, then opens the blocks and the head that train.

    Args:
        model: model to change.
        opening: blocks to open, and whether the head trains.
        bn_affine: whether scale and shift of BatchNorm train in open blocks.
    """
    model.requires_grad_(False)
    for position, modules in enumerate(model.parts):
        if opening.trains(position):
            for parameter in trainable_parameters(modules, bn_affine=bn_affine):
                parameter.requires_grad_(True)
    model.head.requires_grad_(opening.head)


def trainable_parameters(block: Iterable[nn.Module], *, bn_affine: bool) -> Iterator[nn.Parameter]:
    """Yields the parameters that train in an open block, given its modules."""
    for module in chain.from_iterable(each.modules() for each in block):
        if bn_affine or not isinstance(module, _BATCH_NORMS):
            yield from module.parameters(recurse=False)


def set_training_mode(model: StagedModel, opening: Opening) -> None:
    """Sets open blocks and the head to training mode, frozen blocks to evaluation mode."""
    model.train()
    for position, modules in enumerate(model.parts):
        if not opening.trains(position):
            for module in modules:
                module.eval()  # not only requires_grad=False: running statistics would drift, and stochastic depth would act


def opened_parts(model: StagedModel, names: Sequence[str]) -> dict[str, Any]:
    """Counts what trains in a model that was opened and set to training mode; see `EpochReport.opened`.

    The head counts even while it rests.

    Args:
        model: the model.
        names: names of its blocks, or of their parts.
    """
    head = set(model.head.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad or p in head)
    norms = [module for module in model.modules() if isinstance(module, _BATCH_NORMS)]
    trains = [any(p.requires_grad for module in part for p in module.parameters()) for part in model.parts]
    return {
        "blocks": [name for name, part_trains in zip(names, trains, strict=True) if part_trains],
        "parameters": trained,
        "share": trained / sum(p.numel() for p in model.parameters()),
        "batch_norms_open": sum(norm.training for norm in norms),
        "batch_norms_frozen": sum(not norm.training for norm in norms),
    }
