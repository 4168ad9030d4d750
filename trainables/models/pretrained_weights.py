"""Pretrained weights: `Pretrained`, and how they are loaded from a file."""

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
"""Mean and standard deviation of the images that a network was trained on, one value per channel, for values in 0 … 1."""


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


def described(state: dict[str, Tensor], statistics: Statistics) -> Pretrained:
    """Weights with the statistics of the images they were trained on."""
    return Pretrained(state, *statistics, fingerprint(state))


def weights_error(message: str) -> ConfigError:
    """Error about the weights, at `model.weights`."""
    return ConfigError([Problem(("model", "weights"), message)])


def fingerprint(state: dict[str, Tensor]) -> str:
    """SHA-256 of names, shapes, types and values."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def state_of_file(path: Path) -> dict[str, Tensor]:
    """Loads the state dict in a weight file, without the prefix of data parallel training.

    Raises:
        ConfigError: if it has none, or cannot be loaded safely.
    """
    loaded = _loaded(path)
    if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, dict) or not all(isinstance(tensor, Tensor) for tensor in loaded.values()):
        raise weights_error(f"{path} does not hold a state dict")
    return {name.removeprefix("module."): tensor for name, tensor in loaded.items()}


def _loaded(path: Path) -> Any:
    """Loads a file's content without running code from it."""
    if not path.is_file():
        raise weights_error(f"{path} does not exist")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, weights_only=True, map_location="cpu")
    except UnpicklingError:  # torch's own message suggests loading the file without protection
        raise weights_error(f"{path} is not a file of tensors that torch can load safely") from None
    # On bytes of other formats, the unpickler can raise nearly anything, even without a message.
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise weights_error(f"{path} is not a file of tensors that torch can load safely: {reason}") from None
