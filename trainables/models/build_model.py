"""Builds the model of a config: a network as ordered blocks with a new head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

# Most families need it; here it is imported with everything else that a process keeps (`gc_tuning`).
import trainables.models.backbones.torchvision_import  # noqa: F401
from trainables.models.backbones.block_parts import paths_of
from trainables.models.networks import networks_of
from trainables.models.pretrained_weights import Pretrained
from trainables.models.staged_model import GlobalAverage, Head, StagedModel, new_last_layer, to_channels_last
from trainables.recipe.data_config import DataConfig
from trainables.recipe.data_settings.image_settings import PerChannel
from trainables.recipe.model_config import ModelConfig


class BuiltModel(NamedTuple):
    """Model that is ready to train."""

    model: StagedModel
    """Network in channels-last memory format, on the CPU."""
    mean: tuple[float, ...]
    """Mean for normalising images, one value per channel, for values in 0 … 1."""
    std: tuple[float, ...]
    """Standard deviation for normalising images, like `mean`."""
    fingerprint: str
    """SHA-256 of the initial weights; `random` if the whole network is drawn at random."""


def normalised_as(built: BuiltModel, data: DataConfig) -> BuiltModel:
    """Model whose images are normalised by `data.mean` and `data.std`, where these are given."""
    return built._replace(mean=_per_channel(data.mean, built.mean), std=_per_channel(data.std, built.std))


def _per_channel(given: PerChannel | None, default: tuple[float, ...]) -> tuple[float, ...]:
    if given is None:
        return default
    values = given if isinstance(given, tuple) else (given,)
    return values * len(default) if len(values) == 1 else values


def check_model(config: ModelConfig, *, image_size: int, depth: int | None = None) -> Pretrained | None:
    """Checks that a model can be built: loads the weights, or tries the user's function.

    Args:
        config: the recipe's section `model`.
        image_size: side of the images it will see, in pixels.
        depth: slices of the volumes it will see; None: it will see images.
    Returns:
        The pretrained weights; None for a user's function.
    Raises:
        ConfigError: if the model cannot be built.
    """
    return networks_of(config.backbone).check(config, image_size=image_size, depth=depth)


def build_model(
    config: ModelConfig,
    *,
    classes: int,
    cosine_scale: float | None,
    generator: torch.Generator,
    blocks: Sequence[str] | None = None,
) -> BuiltModel:
    """Builds the pretrained network with a new last layer.

    Args:
        config: the recipe's section `model`.
        classes: outputs of the last layer.
        cosine_scale: scale of a cosine layer; None: the last layer is linear.
        generator: random numbers for the new last layer, and for the whole network if it has no pretrained weights.
        blocks: names of the blocks, or of their parts, between which stages cut; None: the backbone's own blocks.
    Raises:
        ConfigError: if the weights cannot be loaded, the user's function fails, or the network has other blocks.
    """
    parts, mean, std, fingerprint = networks_of(config.backbone).start(config, generator)
    last = new_last_layer(parts.features, classes, cosine_scale=cosine_scale, generator=generator)
    pool = GlobalAverage() if parts.pool is None else parts.pool
    head = Head(nn.Identity() if parts.hidden is None else parts.hidden, last)
    paths = None if blocks is None else paths_of(parts.blocks, blocks)
    model = StagedModel(list(parts.blocks.values()), pool, head, paths)
    to_channels_last(model)
    return BuiltModel(model, mean, std, fingerprint)
