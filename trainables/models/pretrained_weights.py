"""Pretrained weights: torchvision's or timm's by name, from a file, or the packaged ones. Loaded once per process."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from http.client import HTTPException
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor

from trainables.core.config_errors import ConfigError, Problem
from trainables.models.backbone import IMAGENET_MEAN, IMAGENET_STD
from trainables.models.backbones import timm_backbones
from trainables.models.backbones.efficientnet_lite0 import packaged_state_dict
from trainables.models.backbones.known_networks import can_be_outlined, last_layer, new_network
from trainables.models.backbones.medicalnet import MEDICALNET
from trainables.models.backbones.torchvision_import import models
from trainables.recipe.backbone_catalog import TIMM, backbone_info
from trainables.recipe.recipe import ModelConfig

KINETICS_MEAN, KINETICS_STD = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)


class Pretrained(NamedTuple):
    """Weights of a published network; its own last layer may be included."""

    state: dict[str, Tensor] | None
    """State dict with the network's own names; None: the weights are random."""
    mean: tuple[float, ...]
    """Mean of the images it was trained on, one value per channel, for values in 0 … 1."""
    std: tuple[float, ...]
    """Standard deviation of these images, like `mean`."""
    fingerprint: str
    """SHA-256 of the weights; `random` if there are none."""


@lru_cache(maxsize=4)
def pretrained(config: ModelConfig) -> Pretrained:
    """Loads the weights that a model config names.

    Raises:
        ConfigError: if they cannot be loaded or belong to another network.
    """
    backbone = config.backbone
    mean, std = _usual_statistics(backbone)
    if config.weights == "none":
        return Pretrained(None, mean, std, "random")
    if config.names_a_file:
        return _described(_from_file(config), mean, std)
    if backbone in MEDICALNET:
        raise _problem(
            f"{config.weights!r}: {backbone} was published as a file (github.com/Tencent/MedicalNet); give its path, or none"
        )
    if backbone != "efficientnet_lite0" and not backbone.startswith(TIMM):
        return _from_torchvision(config)
    if config.weights != "default":
        tags = "; a tag of timm's is part of the backbone's name" if backbone.startswith(TIMM) else ""
        raise _problem(f"{config.weights!r}: {backbone} takes `default`, `none` or a weight file{tags}")
    if backbone.startswith(TIMM):
        return _described(timm_backbones.published_state(backbone), mean, std)
    return _described(packaged_state_dict(), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def _usual_statistics(backbone: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the images that a network is usually trained on, for weights that do not give them."""
    if backbone.startswith(TIMM):
        return timm_backbones.statistics(backbone)
    if backbone in MEDICALNET:
        return (0.0,), (1.0,)  # not used: each volume is standardised by its own, see `BackboneInfo.standardises`
    return (KINETICS_MEAN, KINETICS_STD) if backbone_info(backbone).dims == 3 else (IMAGENET_MEAN, IMAGENET_STD)


def _described(state: dict[str, Tensor], mean: tuple[float, ...], std: tuple[float, ...]) -> Pretrained:
    return Pretrained(state, mean, std, fingerprint(state))


def _from_torchvision(config: ModelConfig) -> Pretrained:
    choices = models.get_model_weights(config.backbone)
    names = [name for name in choices.__members__ if name != "DEFAULT"]
    name = "DEFAULT" if config.weights == "default" else config.weights
    if name not in choices.__members__:
        raise _problem(
            f"{name!r} is not among the weights of {config.backbone} ({', '.join(['default', 'none', *names])}, or a file)"
        )
    weights = choices[name]
    try:
        state = weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, HTTPException, RuntimeError) as error:  # RuntimeError: the checksum of the download is wrong
        message = f"{weights} cannot be downloaded ({error}); give a weight file, or efficientnet_lite0, which needs no download"
        raise _problem(message) from None
    transforms = weights.transforms()
    return _described(dict(state), tuple(transforms.mean), tuple(transforms.std))


def _from_file(config: ModelConfig) -> dict[str, Tensor]:
    path = Path(config.weights)
    loaded = _loaded(path)
    if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, dict) or not all(isinstance(tensor, Tensor) for tensor in loaded.values()):
        raise _problem(f"{path} does not hold a state dict")
    state = {name.removeprefix("module."): tensor for name, tensor in loaded.items()}
    with torch.device("meta" if can_be_outlined(config.backbone) else "cpu"):
        network = new_network(config.backbone)
    last = last_layer(network)
    wanted = network.state_dict()
    # The last layer is replaced anyway, so a file may have another number of classes, or no last layer.
    # Files from old versions of torch lack BatchNorm's batch counters, which loading sets to 0.
    body = {n: t for n, t in wanted.items() if not n.startswith(f"{last}.") and not n.endswith("num_batches_tracked")}
    wrong = [name for name, tensor in body.items() if name not in state or state[name].shape != tensor.shape]
    wrong += [name for name in state if name not in wanted]
    if wrong:
        raise _problem(f"{path} belongs to another network than {config.backbone}: {', '.join(wrong[:3])} do not fit")
    return {name: tensor for name, tensor in state.items() if not name.startswith(f"{last}.")}


def _loaded(path: Path) -> Any:
    """Loads a file's content without running code from it."""
    if not path.is_file():
        raise _problem(f"{path} does not exist")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, weights_only=True, map_location="cpu")
    except UnpicklingError:  # torch's own message suggests loading the file without protection
        raise _problem(f"{path} is not a file of tensors that torch can load safely") from None
    except (
        Exception
    ) as error:  # on bytes of other formats, the unpickler can raise nearly anything, even without a message
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise _problem(f"{path} is not a file of tensors that torch can load safely: {reason}") from None


def fingerprint(state: dict[str, Tensor]) -> str:
    """SHA-256 of names, shapes, types and values."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def _problem(message: str) -> ConfigError:
    return ConfigError([Problem(("model", "weights"), message)])
