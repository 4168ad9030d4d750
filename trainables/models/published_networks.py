"""`PublishedNetworks`: the families of networks that were published as a whole, with weights of their own or of a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from trainables.models.backbone import Backbone
from trainables.models.fast_copy import copy_of
from trainables.models.networks import Start, drawing_as, networks_of
from trainables.models.pretrained_weights import Pretrained, Statistics, described, state_of_file, weights_error
from trainables.models.staged_model import to_channels_last
from trainables.recipe.backbone_catalog import BACKBONES, STEM
from trainables.recipe.recipe import ModelConfig


def last_linear(network: nn.Module) -> str | None:
    """Name of the last linear layer, which gives the class scores; None if the network was published without."""
    names: list[str] = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    return names[-1] if names else None


def parts_by_name(network: nn.Module, backbone: str) -> Backbone:
    """A network in the blocks that the catalog names and what its head has before the last layer; they share its parameters."""
    blocks = dict(zip(BACKBONES[backbone].blocks, blocks_of(network, backbone), strict=True))
    hidden, features = _before_last_layer(network)
    return Backbone(blocks=blocks, hidden=hidden, features=features, dims=BACKBONES[backbone].dims)


def blocks_of(network: nn.Module, backbone: str) -> list[nn.Module]:
    """The modules behind the catalog's block names, from input to head."""
    names = BACKBONES[backbone].blocks
    if names[0] != STEM or hasattr(network, STEM):
        return [network.get_submodule(name) for name in names]
    stem = nn.Sequential(*(network.get_submodule(name) for name in ("conv1", "bn1", "relu", "maxpool")))
    return [stem, *(network.get_submodule(name) for name in names[1:])]


def _before_last_layer(network: nn.Module) -> tuple[nn.Module, int]:
    """The head's layers before the last one (dropout aside), and how many features the last one takes."""
    name = last_linear(network)
    assert name is not None
    last = network.get_submodule(name)
    assert isinstance(last, nn.Linear)
    parent = network.get_submodule(name.rpartition(".")[0])
    before = list(parent)[:-1] if isinstance(parent, nn.Sequential) else []
    return nn.Sequential(*(layer for layer in before if not isinstance(layer, nn.Dropout))), last.in_features


@dataclass(frozen=True, kw_only=True)
class PublishedNetworks:
    """How the networks of a family are made, cut into blocks and given weights; a `Networks`."""

    new_network: Callable[[str], nn.Module]
    """Name -> the published architecture, with the weights its constructor draws."""
    published: Callable[[ModelConfig], Pretrained]
    """Model config that names neither `none` nor a file -> the published weights; raises ConfigError if there are none."""
    statistics: Callable[[str], Statistics]
    """Name -> the statistics of the images it was trained on, where its weights do not say."""
    in_parts: Callable[[nn.Module, str], Backbone] = parts_by_name
    """A network that `new_network` made, and its name -> its parts, which share its parameters."""
    last_layer: Callable[[nn.Module], str | None] = last_linear
    """A network -> name of the layer that gives the class scores; None if it was published without."""
    can_be_outlined: bool = True
    """Whether a network can be made without numbers, on torch's `meta` device, and a state dict then completes it."""

    def check(self, config: ModelConfig, *, image_size: int, depth: int | None) -> None:  # noqa: ARG002
        pretrained(config)

    def start(self, config: ModelConfig, generator: torch.Generator) -> Start:
        weights = pretrained(config)
        parts = self._drawn(config.backbone, generator) if weights.state is None else copy_of(_published(config))
        return Start(parts, weights.mean, weights.std, weights.fingerprint)

    def _drawn(self, backbone: str, generator: torch.Generator) -> Backbone:
        with drawing_as(generator):
            return self.in_parts(self.new_network(backbone), backbone)


def published_networks_of(backbone: str) -> PublishedNetworks:
    """The networks of the family of a backbone that is not the user's own."""
    networks = networks_of(backbone)
    assert isinstance(networks, PublishedNetworks)
    return networks


@lru_cache(maxsize=4)
def pretrained(config: ModelConfig) -> Pretrained:
    """The weights that a model config names. Loaded once per process.

    Raises:
        ConfigError: if they cannot be had or belong to another network.
    """
    networks = published_networks_of(config.backbone)
    if config.weights == "none":
        return Pretrained(None, *networks.statistics(config.backbone), "random")
    if config.names_a_file:
        return described(_fitting_state(networks, config), networks.statistics(config.backbone))
    return networks.published(config)


@lru_cache(maxsize=2)
def _published(config: ModelConfig) -> Backbone:
    """What the models of a process are copied from, which is several times faster than to build each anew."""
    networks, state = published_networks_of(config.backbone), pretrained(config).state
    assert state is not None
    with torch.device("meta") if networks.can_be_outlined else drawing_as(torch.Generator()):
        network = networks.new_network(config.backbone)
    network.load_state_dict(state, strict=False, assign=True)  # a file may lack the last layer, which goes anyway
    parts = networks.in_parts(network, config.backbone)
    for module in parts.modules():
        to_channels_last(module)
    return parts


def _fitting_state(networks: PublishedNetworks, config: ModelConfig) -> dict[str, Tensor]:
    """The weights of a file, without the last layer's, if they are the network's."""
    path = Path(config.weights)
    state = state_of_file(path)
    with torch.device("meta" if networks.can_be_outlined else "cpu"):
        network = networks.new_network(config.backbone)
    last = networks.last_layer(network)
    wanted = network.state_dict()
    # The published last layer is replaced anyway: a file may hold another number of classes, or none.
    # Files of old torch versions lack BatchNorm's batch counters, which loading sets to 0.
    body = {n: t for n, t in wanted.items() if not n.startswith(f"{last}.") and not n.endswith("num_batches_tracked")}
    wrong = [name for name, tensor in body.items() if name not in state or state[name].shape != tensor.shape]
    wrong += [name for name in state if name not in wanted]
    if wrong:
        raise weights_error(
            f"{path} belongs to another network than {config.backbone}: {', '.join(wrong[:3])} do not fit"
        )
    return {name: tensor for name, tensor in state.items() if not name.startswith(f"{last}.")}
