"""A model config -> the network as ordered blocks with a new head."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

# Most families need it; here it is imported with everything else that a process keeps (`gc_tuning`).
import trainables.models.backbones.torchvision_import  # noqa: F401
from trainables.models.networks import networks_of
from trainables.models.staged_model import GlobalAverage, Head, StagedModel, new_last_layer, to_channels_last
from trainables.recipe.recipe import ModelConfig


class BuiltModel(NamedTuple):
    model: StagedModel
    """Channels-last, on the CPU."""
    mean: tuple[float, ...]
    """What images are normalised with, one value a channel, for values in 0 … 1."""
    std: tuple[float, ...]
    fingerprint: str
    """Of the weights it started from."""


def check_model(config: ModelConfig, *, image_size: int, depth: int | None = None) -> None:
    """Looks at what a model is made from: the weights, or what the user's function returns.

    Args:
        depth: slices of the volumes it will see.
    Raises:
        ConfigError: if no model can be made from it.
    """
    networks_of(config.backbone).check(config, image_size=image_size, depth=depth)


def build_model(
    config: ModelConfig, *, classes: int, cosine_scale: float | None, generator: torch.Generator
) -> BuiltModel:
    """The pretrained network with a new last layer for `classes` classes.

    Args:
        cosine_scale: makes the last layer a cosine layer with this scale; None: a linear one.
        generator: where the new last layer, and everything else in a network without weights, is drawn from.
    Raises:
        ConfigError: if the weights cannot be had.
    """
    parts, mean, std, fingerprint = networks_of(config.backbone).start(config, generator)
    last = new_last_layer(parts.features, classes, cosine_scale=cosine_scale, generator=generator)
    pool = GlobalAverage() if parts.pool is None else parts.pool
    head = Head(nn.Identity() if parts.hidden is None else parts.hidden, last)
    model = StagedModel(list(parts.blocks.values()), pool, head)
    to_channels_last(model)
    return BuiltModel(model, mean, std, fingerprint)
