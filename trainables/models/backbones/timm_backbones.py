"""Creates timm's networks by name, cuts them into blocks and loads their published weights."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor, nn

import trainables.models.backbones.torchvision_import  # noqa: F401  timm imports torchvision, which needs its declarations
from trainables.core.config_errors import ConfigError, Problem, nearest
from trainables.models.backbone import Backbone
from trainables.models.backbones.block_parts import parts_of_blocks
from trainables.models.backbones.timm_blocks import Anatomy, UnstageableError, anatomy_of, cut
from trainables.models.pretrained_weights import Pretrained, Statistics, described
from trainables.models.published_networks import PublishedNetworks
from trainables.models.weight_files import weights_error
from trainables.recipe.backbone_catalog import BackboneInfo
from trainables.recipe.model_config import ModelConfig

TIMM = "timm/"
"""Prefix of the names of timm's models."""


def new_network(backbone: str) -> nn.Module:
    """Creates a network with random weights as its constructor draws them.

    Args:
        backbone: `timm/NAME`, with or without a tag.
    Raises:
        ConfigError: if timm is not installed or does not have it.
    """
    return _created(backbone)


def info(backbone: str) -> BackboneInfo:
    """Facts about a network: its blocks and valid image size.

    Raises:
        ConfigError: if there is no such network, or it cannot be cut into blocks.
    """
    study = _studied(backbone)
    return BackboneInfo(tuple(study.anatomy.blocks), only_size=study.only_size, parts=study.parts)


def in_parts(network: nn.Module, backbone: str) -> Backbone:
    """Divides a network created by `new_network` into parts that share its parameters."""
    study = _studied(backbone)
    blocks, pool, hidden, features = cut(network, study.anatomy, study.groups, study.classifier)
    return Backbone(blocks=blocks, pool=pool, hidden=hidden, features=features)


def classifier_of(network: nn.Module) -> str:
    """Name of the layer that computes the class scores.

    Raises:
        UnstageableError: if there is no such layer, or more than one.
    """
    name = network.pretrained_cfg.get("classifier")  # type: ignore[union-attr,operator]
    if not isinstance(name, str) or not isinstance(network.get_submodule(name), nn.Linear | nn.Conv2d):
        raise UnstageableError(f"it has no single linear classifier ({name})")
    return name


def published_state(backbone: str) -> dict[str, Tensor]:
    """Published weights of a network without its classifier; downloaded if they are not in timm's cache.

    Raises:
        ConfigError: if there are none, or they cannot be downloaded.
    """
    published = _created(backbone).pretrained_cfg
    if not any(published.get(key) for key in ("hf_hub_id", "url", "file")):  # type: ignore[operator,union-attr]
        _refuse("weights", f"timm publishes none for {backbone}; give a weight file, or `none`")
    try:
        network = _created(backbone, pretrained=True)
    except Exception as error:  # timm downloads with different libraries, which raise different exceptions
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        message = f"the weights of {backbone} cannot be downloaded ({reason}); give a weight file, or `none`"
        _refuse("weights", message)
    last = f"{classifier_of(network)}."
    return {name: tensor for name, tensor in network.state_dict().items() if not name.startswith(last)}


def statistics(backbone: str) -> Statistics:
    """Mean and standard deviation of the images it was trained on."""
    study = _studied(backbone)
    return study.mean, study.std


class _Study(NamedTuple):
    """Facts about an architecture."""

    anatomy: Anatomy
    groups: Mapping[str, int]
    classifier: str
    only_size: int | None
    parts: Mapping[str, tuple[str, ...]]
    mean: tuple[float, ...]
    std: tuple[float, ...]


@lru_cache(maxsize=16)
def _studied(backbone: str) -> _Study:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = _created(backbone)
        published: Any = network.pretrained_cfg
        channels, height, width = published["input_size"]
        only = published.get("fixed_input_size") or _fixed_size(backbone.removeprefix(TIMM))
        try:
            classifier = classifier_of(network)
            groups = _groups(network)
            if only and height != width:
                raise UnstageableError(f"it only takes {height} × {width} pixels")
            anatomy = anatomy_of(network, groups, classifier, (channels, height, width))
        except UnstageableError as error:
            _refuse("backbone", f"{backbone} cannot be trained in stages: {error}; choose another model")
    parts = parts_of_blocks(cut(network, anatomy, groups, classifier).blocks)
    mean, std = tuple(published["mean"]), tuple(published["std"])
    return _Study(anatomy, groups, classifier, height if only else None, parts, mean, std)


def _groups(network: nn.Module) -> dict[str, int]:
    """Number of timm's stage of each parameter, by the parameter's name."""
    from timm.models import group_parameters

    if not hasattr(network, "group_matcher"):
        raise UnstageableError("timm does not divide it into stages")
    matcher: Any = network.group_matcher
    groups: dict[str, int] = group_parameters(network, matcher(coarse=True), reverse=True)
    return groups


def _created(backbone: str, **options: Any) -> nn.Module:
    timm = _timm()
    name = backbone.removeprefix(TIMM)
    _check_name(name)
    # Some networks are published without a classifier; the number of classes does not matter.
    network: nn.Module = timm.create_model(name, num_classes=2, **options, **_fixed_size(name))
    return network


@lru_cache(maxsize=16)
def _fixed_size(name: str) -> dict[str, bool]:
    """Option that makes a network with a position embedding for any image size take one size only, so that it can be traced."""
    network = _timm().create_model(name)
    return {"dynamic_img_size": False} if getattr(network, "dynamic_img_size", False) else {}


def _check_name(name: str) -> None:
    timm = _timm()
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        close = get_close_matches(architecture, timm.list_models(), n=3)
        near = f"nearest: {', '.join(close)}" if close else "timm.list_models() lists all"
        _refuse("backbone", f"{architecture!r} is not a model of timm {timm.__version__}; {near}")
    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        _refuse("backbone", f"{tag!r} is not a tag of {architecture} in timm {timm.__version__}; {nearest(tag, tags)}")


def _timm() -> ModuleType:
    try:
        return import_module("timm")
    except ImportError:
        _refuse("backbone", "timm's models need timm: pip install 'thaw-search[timm]'")


def _refuse(key: str, message: str) -> NoReturn:
    raise ConfigError([Problem(("model", key), message)])


def _published(config: ModelConfig) -> Pretrained:
    if config.weights != "default":
        raise weights_error(
            f"{config.weights!r}: {config.backbone} takes `default`, `none` or a weight file; a tag of timm's is part of the "
            "backbone's name"
        )
    return described(published_state(config.backbone), statistics(config.backbone))


NETWORKS = PublishedNetworks(
    new_network=new_network,
    in_parts=in_parts,
    last_layer=classifier_of,
    published=_published,
    statistics=statistics,
    can_be_outlined=False,  # they have buffers that are not in the state dict and would stay empty
)
