"""Builds the model of a config: a network as ordered blocks with a new head."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import nn

from trainables.models.backbone import Backbone
from trainables.models.backbones import custom_backbones
from trainables.models.backbones.known_networks import can_be_outlined, in_parts, new_network
from trainables.models.fast_copy import copy_of
from trainables.models.pretrained_weights import fingerprint, pretrained
from trainables.models.staged_model import GlobalAverage, Head, StagedModel, new_last_layer
from trainables.recipe.backbone_catalog import is_custom
from trainables.recipe.recipe import ModelConfig


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


def check_model(config: ModelConfig, *, image_size: int, depth: int | None = None) -> None:
    """Checks that a model can be built: loads the weights, or tries the user's function.

    Args:
        config: the recipe's section `model`.
        image_size: side of the images it will see, in pixels.
        depth: slices of the volumes it will see; None: it will see images.
    Raises:
        ConfigError: if the model cannot be built.
    """
    if is_custom(config.backbone):
        custom_backbones.try_on(config.backbone, image_size, depth)
    else:
        pretrained(config)


def build_model(
    config: ModelConfig, *, classes: int, cosine_scale: float | None, generator: torch.Generator
) -> BuiltModel:
    """Builds the pretrained network with a new last layer.

    Args:
        config: the recipe's section `model`.
        classes: outputs of the last layer.
        cosine_scale: scale of a cosine layer; None: the last layer is linear.
        generator: random numbers for the new last layer, and for the whole network if it has no pretrained weights.
    Raises:
        ConfigError: if the weights cannot be loaded or the user's function fails.
    """
    if is_custom(config.backbone):
        with _drawing_as(generator):
            parts = custom_backbones.made(config.backbone)
        mean, std, source = parts.mean, parts.std, fingerprint(nn.ModuleList(_modules(parts)).state_dict())
    else:
        weights = pretrained(config)
        parts = _drawn(config.backbone, generator) if weights.state is None else copy_of(_published(config))
        mean, std, source = weights.mean, weights.std, weights.fingerprint
    last = new_last_layer(parts.features, classes, cosine_scale=cosine_scale, generator=generator)
    pool = GlobalAverage() if parts.pool is None else parts.pool
    head = Head(nn.Identity() if parts.hidden is None else parts.hidden, last)
    model = StagedModel(list(parts.blocks.values()), pool, head)
    _to_channels_last(model)
    return BuiltModel(model, mean, std, source)


def _drawn(backbone: str, generator: torch.Generator) -> Backbone:
    with _drawing_as(generator):
        return in_parts(new_network(backbone), backbone)


@lru_cache(maxsize=2)
def _published(config: ModelConfig) -> Backbone:
    """Network from which the models of a process are copied, which is several times faster than building each of them."""
    state = pretrained(config).state
    assert state is not None
    with torch.device("meta") if can_be_outlined(config.backbone) else _drawing_as(torch.Generator()):
        network = new_network(config.backbone)
    network.load_state_dict(
        state, strict=False, assign=True
    )  # a file may lack the last layer, which is replaced anyway
    parts = in_parts(network, config.backbone)
    for module in _modules(parts):
        _to_channels_last(module)
    return parts


@contextmanager
def _drawing_as(generator: torch.Generator) -> Iterator[None]:
    """Draws torch's random numbers on the CPU from the generator's seed, without changing the process's own state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator.initial_seed())
        yield


def _modules(parts: Backbone) -> list[nn.Module]:
    return [*parts.blocks.values(), *(module for module in (parts.hidden, parts.pool) if module is not None)]


def _to_channels_last(model: nn.Module) -> None:
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for parameter in model.parameters():
        if parameter.ndim in formats:
            parameter.data = parameter.data.to(memory_format=formats[parameter.ndim])
