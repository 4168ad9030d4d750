"""Device of a run, and mixed precision by autocast."""

from __future__ import annotations

from typing import Literal, Protocol

import torch

from trainables.core.config_errors import ConfigError, Problem
from trainables.recipe.recipe import Recipe


class HasPrecision(Protocol):
    """Object that names the precision a network runs in, such as a `TrainConfig`."""

    @property
    def precision(self) -> Literal["fp32", "bf16", "fp16"]:
        """Precision of convolutions and matrix products."""


def autocast(device: torch.device, train: HasPrecision) -> torch.autocast:
    """Context in which convolutions and matrix products run in the precision of the recipe."""
    dtype = torch.float16 if train.precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype, enabled=train.precision != "fp32")


def device_of(recipe: Recipe) -> torch.device:
    """Returns the device on which a recipe trains on this machine.

    Raises:
        ConfigError: if it needs a GPU and there is none.
    """
    train = recipe.train
    gpu = torch.cuda.is_available()
    if not gpu and (train.device == "cuda" or train.precision == "fp16"):
        key = "device" if train.device == "cuda" else "precision"
        raise ConfigError([Problem(("train", key), f"{getattr(train, key)} needs a GPU, but there is none here")])
    return torch.device("cuda" if gpu and train.device != "cpu" else "cpu")
