"""Device of a run, and mixed precision by autocast."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, Protocol, TypeVar

import numpy.typing as npt
import torch
from torch import Tensor, nn

from trainables.core.config_errors import ConfigError, Problem
from trainables.recipe.recipe import Recipe

M = TypeVar("M", bound=nn.Module)

APPLE = "mps"
"""Type of the device of Apple GPUs."""


class HasPrecision(Protocol):
    """Object that names the precision a network runs in, such as a `TrainConfig`."""

    @property
    def precision(self) -> Literal["fp32", "bf16", "fp16"]:
        """Precision of convolutions and matrix products."""


def autocast(device: torch.device, train: HasPrecision) -> AbstractContextManager[object]:
    """Context in which convolutions and matrix products run in the precision of the recipe."""
    if train.precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, torch.float16 if train.precision == "fp16" else torch.bfloat16)


def chosen_device(wanted: str, *, cuda: bool, mps: bool) -> str | None:
    """Device for `auto`, `cpu`, `cuda` or `mps` on a machine; None if the machine lacks it.

    `auto` does not choose mps: there is no run of Thaw's tests on Apple GPUs, and some of torch's kernels for them have been wrong
    without an error.

    Args:
        wanted: the wanted device.
        cuda: whether torch can use an NVIDIA (or ROCm) GPU.
        mps: whether torch can use an Apple GPU.
    """
    if wanted == "auto":
        return "cuda" if cuda else "cpu"
    return wanted if {"cpu": True, "cuda": cuda, "mps": mps}[wanted] else None


def device_here(wanted: str) -> torch.device | None:
    """Device for `auto`, `cpu`, `cuda` or `mps` on this machine; None if it lacks that."""
    name = chosen_device(wanted, cuda=torch.cuda.is_available(), mps=torch.backends.mps.is_available())
    return None if name is None else torch.device(name)


def device_of(recipe: Recipe) -> torch.device:
    """Returns the device on which a recipe trains on this machine.

    Raises:
        ConfigError: if it needs a GPU and there is none.
    """
    train = recipe.train
    device = device_here(train.device)
    if device is None:
        kind = "an Apple GPU" if train.device == "mps" else "a GPU"
        raise ConfigError([Problem(("train", "device"), f"{train.device} needs {kind}, but there is none here")])
    if train.precision == "fp16" and device.type == "cpu":
        raise ConfigError([Problem(("train", "precision"), "fp16 needs a GPU, but there is none here")])
    return device


def for_device(array: npt.NDArray[Any] | Tensor, device: torch.device) -> Tensor:
    """Copies an array to a device; on mps, which lacks these types, float64 as float32 and uint16 as float32 in 0..255."""
    values = torch.as_tensor(array)
    if device.type == APPLE and values.dtype == torch.uint16:
        values = values.float() / 257
    if device.type == APPLE and values.dtype == torch.float64:
        values = values.float()
    return values.to(device, non_blocking=True)


def exact_float(device: torch.device) -> torch.dtype:
    """Widest floating-point type of a device."""
    return torch.float32 if device.type == APPLE else torch.float64


def laid_out(features: Tensor) -> Tensor:
    """The same values in the memory layout that suits their device: as they are, but channels first on mps.

    There, convolutions go backwards 30 times slower in channels-last (pytorch#193349), and BatchNorm may be wrong (pytorch#174345).
    """
    return features.contiguous() if features.device.type == APPLE else features


def place(model: M, device: torch.device) -> M:
    """Moves a model to a device, its weights laid out as `laid_out` does."""
    model = model.to(device)
    for parameter in model.parameters():
        parameter.data = laid_out(parameter.data)
    return model
