"""Pretrained weights: what is known of them, and those of a file."""

from __future__ import annotations

import hashlib
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor

from trainables.core.config_errors import ConfigError, Problem

Statistics = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation of the images that a network was trained on, one value a channel, for values in 0 … 1."""


class Pretrained(NamedTuple):
    """Weights of a whole published network, its own last layer included."""

    state: dict[str, Tensor] | None
    """By the network's own names; None: it starts at random."""
    mean: tuple[float, ...]
    """Of the images it was trained on, one value a channel, for values in 0 … 1."""
    std: tuple[float, ...]
    fingerprint: str
    """SHA-256 of the weights; `random` without any."""


def described(state: dict[str, Tensor], statistics: Statistics) -> Pretrained:
    """Weights with the statistics of the images they were trained on."""
    return Pretrained(state, *statistics, fingerprint(state))


def weights_error(message: str) -> ConfigError:
    """What is wrong with `model.weights`."""
    return ConfigError([Problem(("model", "weights"), message)])


def fingerprint(state: dict[str, Tensor]) -> str:
    """SHA-256 over names, shapes and bytes."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def state_of_file(path: Path) -> dict[str, Tensor]:
    """The state dict in a weight file, without the prefix of data parallel training.

    Raises:
        ConfigError: if there is none in it, or it cannot be loaded safely.
    """
    loaded = _loaded(path)
    if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, dict) or not all(isinstance(tensor, Tensor) for tensor in loaded.values()):
        raise weights_error(f"{path} holds no state dict")
    return {name.removeprefix("module."): tensor for name, tensor in loaded.items()}


def _loaded(path: Path) -> Any:
    """What a file holds, loaded without running code of its own."""
    if not path.is_file():
        raise weights_error(f"{path} does not exist")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, weights_only=True, map_location="cpu")
    except UnpicklingError:  # torch's own words for it invite to load the file without protection
        raise weights_error(f"{path} is no file of tensors that torch can load safely") from None
    except Exception as error:  # foreign bytes make the unpickler raise nearly anything, also without a message
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise weights_error(f"{path} is no file of tensors that torch can load safely: {reason}") from None
