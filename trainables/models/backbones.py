"""A model config -> the network as ordered blocks with a new head."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from trainables.models.catalog import BACKBONES
from trainables.models.staged import Head, StagedModel, new_last_layer
from trainables.models.weights import last_layer, new_network, pretrained
from trainables.recipe import ModelConfig


class BuiltModel(NamedTuple):
    model: StagedModel
    """Channels-last, on the CPU."""
    mean: tuple[float, float, float]
    """What images are normalised with, for values in 0 … 1."""
    std: tuple[float, float, float]
    fingerprint: str
    """Of the weights it started from."""


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
    weights = pretrained(config)
    if weights.state is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator.initial_seed())
            network = new_network(config.backbone)
    else:
        with torch.device("meta"):
            network = new_network(config.backbone)
        own = {name: tensor.clone() for name, tensor in weights.state.items()}
        network.load_state_dict(own, strict=False, assign=True)  # a file may lack the last layer, which goes anyway
    blocks = blocks_of(network, config.backbone)
    hidden, features = _before_last_layer(network)
    last = new_last_layer(features, classes, cosine_scale=cosine_scale, generator=generator)
    model = StagedModel(blocks, Head(hidden, last)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return BuiltModel(model, weights.mean, weights.std, weights.fingerprint)


def blocks_of(network: nn.Module, backbone: str) -> list[nn.Module]:
    """The modules behind the catalog's block names, from input to head."""
    names = BACKBONES[backbone].blocks
    if names[0] != "stem":
        return [network.get_submodule(name) for name in names]
    stem = nn.Sequential(*(network.get_submodule(name) for name in ("conv1", "bn1", "relu", "maxpool")))
    return [stem, *(network.get_submodule(name) for name in names[1:])]


def _before_last_layer(network: nn.Module) -> tuple[nn.Module, int]:
    """The head's layers before the last one (dropout aside), and how many features the last one takes."""
    name = last_layer(network)
    last = network.get_submodule(name)
    assert isinstance(last, nn.Linear)
    parent = network.get_submodule(name.rpartition(".")[0])
    before = list(parent)[:-1] if isinstance(parent, nn.Sequential) else []
    return nn.Sequential(*(layer for layer in before if not isinstance(layer, nn.Dropout))), last.in_features
