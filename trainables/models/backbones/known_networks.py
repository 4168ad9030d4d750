"""Published networks by name, and their division into parts."""

from __future__ import annotations

from torch import nn

from trainables.models.backbone import Backbone
from trainables.models.backbones import timm_backbones
from trainables.models.backbones.efficientnet_lite0 import EfficientNetLite0
from trainables.models.backbones.medicalnet import MEDICALNET, MedicalNet
from trainables.models.backbones.torchvision_import import models
from trainables.recipe.backbone_catalog import BACKBONES, STEM, TIMM


def new_network(backbone: str) -> nn.Module:
    """Creates the published architecture, with random weights as its constructor draws them.

    Raises:
        ConfigError: if it is a model of timm, and timm is not installed or does not have it.
    """
    if backbone.startswith(TIMM):
        return timm_backbones.new_network(backbone)
    if backbone in MEDICALNET:
        return MedicalNet(MEDICALNET[backbone])
    network: nn.Module = EfficientNetLite0() if backbone == "efficientnet_lite0" else models.get_model(backbone)
    return network


def can_be_outlined(backbone: str) -> bool:
    """Returns True if the network can be created without values, on torch's `meta` device, and then loaded from a state dict."""
    return not backbone.startswith(
        TIMM
    )  # timm's networks have buffers that are not in the state dict and would stay empty


def last_layer(network: nn.Module) -> str | None:
    """Name of the layer that computes the class scores; None if the network was published without one."""
    if hasattr(network, "pretrained_cfg"):
        return timm_backbones.classifier_of(network)
    names: list[str] = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    return names[-1] if names else None


def in_parts(network: nn.Module, backbone: str) -> Backbone:
    """Divides a network created by `new_network` into parts that share its parameters."""
    if backbone.startswith(TIMM):
        return timm_backbones.in_parts(network, backbone)
    blocks = dict(zip(BACKBONES[backbone].blocks, blocks_of(network, backbone), strict=True))
    if isinstance(network, MedicalNet):
        return Backbone(blocks=blocks, features=network.out_features)
    hidden, features = _before_last_layer(network)
    return Backbone(blocks=blocks, hidden=hidden, features=features)


def blocks_of(network: nn.Module, backbone: str) -> list[nn.Module]:
    """Modules of the catalog's block names, from input to head."""
    names = BACKBONES[backbone].blocks
    if names[0] != STEM or hasattr(network, STEM):
        return [network.get_submodule(name) for name in names]
    stem = nn.Sequential(*(network.get_submodule(name) for name in ("conv1", "bn1", "relu", "maxpool")))
    return [stem, *(network.get_submodule(name) for name in names[1:])]


def _before_last_layer(network: nn.Module) -> tuple[nn.Module, int]:
    """Layers of the head before the last one, without dropout, and the number of features that the last one takes."""
    name = last_layer(network)
    assert name is not None
    last = network.get_submodule(name)
    assert isinstance(last, nn.Linear)
    parent = network.get_submodule(name.rpartition(".")[0])
    before = list(parent)[:-1] if isinstance(parent, nn.Sequential) else []
    return nn.Sequential(*(layer for layer in before if not isinstance(layer, nn.Dropout))), last.in_features
