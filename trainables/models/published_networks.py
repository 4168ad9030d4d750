"""`PublishedNetworks`: families of networks that were published as a whole, with their own weights or those of a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import nn

from trainables.models.backbone import Backbone
from trainables.models.fast_copy import copy_backbone
from trainables.models.networks import Start, drawing_as, networks_of
from trainables.models.pretrained_weights import Pretrained, Statistics, described
from trainables.models.staged_model import to_channels_last
from trainables.models.weight_files import fitting_weights
from trainables.recipe.backbone_catalog import BACKBONES, STEM
from trainables.recipe.model_config import ModelConfig


def last_linear(network: nn.Module) -> str | None:
    """Name of the last linear layer, which computes the class scores; None if the network was published without one."""
    names: list[str] = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    return names[-1] if names else None


def parts_by_name(network: nn.Module, backbone: str) -> Backbone:
    """Divides a network into the catalog's blocks and the layers of its head before the last one, which share its parameters."""
    blocks = dict(zip(BACKBONES[backbone].blocks, blocks_of(network, backbone), strict=True))
    hidden, features = _before_last_layer(network)
    return Backbone(blocks=blocks, hidden=hidden, features=features, dims=BACKBONES[backbone].dims)


def blocks_of(network: nn.Module, backbone: str) -> list[nn.Module]:
    """Modules of the catalog's block names, from input to head."""
    names = BACKBONES[backbone].blocks
    if names[0] != STEM or hasattr(network, STEM):
        return [network.get_submodule(name) for name in names]
    stem = nn.Sequential(*(network.get_submodule(name) for name in ("conv1", "bn1", "relu", "maxpool")))
    return [stem, *(network.get_submodule(name) for name in names[1:])]


def _before_last_layer(network: nn.Module) -> tuple[nn.Module, int]:
    """Layers of the head before the last one, without dropout, and the number of features that the last one takes."""
    name = last_linear(network)
    assert name is not None
    last = network.get_submodule(name)
    assert isinstance(last, nn.Linear)
    parent = network.get_submodule(name.rpartition(".")[0])
    before = list(parent)[:-1] if isinstance(parent, nn.Sequential) else []
    return nn.Sequential(*(layer for layer in before if not isinstance(layer, nn.Dropout))), last.in_features


@dataclass(frozen=True, kw_only=True)
class PublishedNetworks:
    """Networks of a family: how they are created, divided into blocks and get their weights; a `Networks`."""

    new_network: Callable[[str], nn.Module]
    """Name -> the published architecture, with random weights as its constructor draws them."""
    published: Callable[[ModelConfig], Pretrained]
    """Model config whose weights are neither `none` nor a file -> the published weights; raises ConfigError."""
    statistics: Callable[[str], Statistics]
    """Name -> mean and standard deviation of the images that it is usually trained on, for weights that do not give them."""
    in_parts: Callable[[nn.Module, str], Backbone] = parts_by_name
    """A network that `new_network` created, and its name -> its parts, which share its parameters."""
    last_layer: Callable[[nn.Module], str | None] = last_linear
    """A network -> name of the layer that computes the class scores; None if it was published without one."""
    can_be_outlined: bool = True
    """True where a network can be created without values, on torch's `meta` device, and then loaded from a state dict."""

    def check(self, config: ModelConfig, *, image_size: int, depth: int | None) -> Pretrained:  # noqa: ARG002
        return pretrained(config)

    def start(self, config: ModelConfig, generator: torch.Generator) -> Start:
        weights = pretrained(config)
        parts = self._drawn(config.backbone, generator) if weights.state is None else copy_backbone(_published(config))
        return Start(parts, weights.mean, weights.std, weights.fingerprint)

    def _drawn(self, backbone: str, generator: torch.Generator) -> Backbone:
        with drawing_as(generator):
            return self.in_parts(self.new_network(backbone), backbone)


def published_networks_of(backbone: str) -> PublishedNetworks:
    """Networks of the family of a backbone that is not a user's own."""
    networks = networks_of(backbone)
    assert isinstance(networks, PublishedNetworks)
    return networks


@lru_cache(maxsize=4)
def pretrained(config: ModelConfig) -> Pretrained:
    """Loads the weights that a model config names, once per process.

    Raises:
        ConfigError: if they cannot be loaded or belong to another network.
    """
    networks = published_networks_of(config.backbone)
    if config.weights == "none":
        return Pretrained(None, *networks.statistics(config.backbone), "random")
    if config.names_a_file:
        return _of_file(networks, config)
    return networks.published(config)


@lru_cache(maxsize=2)
def _published(config: ModelConfig) -> Backbone:
    """Network from which the models of a process are copied, which is several times faster than building each of them."""
    networks, state = published_networks_of(config.backbone), pretrained(config).state
    assert state is not None
    with torch.device("meta") if networks.can_be_outlined else drawing_as(torch.Generator()):
        network = networks.new_network(config.backbone)
    # Not strict: a file may lack the last layer, which is replaced anyway.
    network.load_state_dict(state, strict=False, assign=True)
    parts = networks.in_parts(network, config.backbone)
    for module in parts.modules():
        to_channels_last(module)
    return parts


def _of_file(networks: PublishedNetworks, config: ModelConfig) -> Pretrained:
    with torch.device("meta" if networks.can_be_outlined else "cpu"):
        network = networks.new_network(config.backbone)
    last = networks.last_layer(network)
    state, statistics, source = fitting_weights(
        Path(config.weights), config.backbone, network.state_dict(), last, lambda: _own_names(networks, network, config)
    )
    return described(state, statistics or networks.statistics(config.backbone), source)


def _own_names(networks: PublishedNetworks, network: nn.Module, config: ModelConfig) -> dict[str, str]:
    """Names that a `StagedModel` gives to the network's weights -> the network's own."""
    named = {id(tensor): name for name, tensor in network.state_dict(keep_vars=True).items()}
    parts = networks.in_parts(network, config.backbone)
    modules = {f"blocks.{i}": block for i, block in enumerate(parts.blocks.values())} | {"head.hidden": parts.hidden}
    return {
        f"{part}.{name}": named[id(tensor)]
        for part, module in modules.items()
        if module is not None
        for name, tensor in module.state_dict(keep_vars=True).items()
        if id(tensor) in named
    }
