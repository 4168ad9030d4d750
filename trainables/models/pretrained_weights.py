"""`Pretrained`: weights of a published network, and their fingerprint."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import torch
from torch import Tensor

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
    source: str | None = None
    """A line that says what was taken of a weight file; None if they are not from a file."""


def described(state: dict[str, Tensor], statistics: Statistics, source: str | None = None) -> Pretrained:
    """Weights with the statistics of the images they were trained on.

    Args:
        state: the weights.
        statistics: mean and standard deviation.
        source: see `Pretrained`.
    """
    return Pretrained(state, *statistics, fingerprint(state), source)


def fingerprint(state: dict[str, Tensor]) -> str:
    """SHA-256 of names, shapes, types and values."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())  # NumPy has no bfloat16
    return digest.hexdigest()
