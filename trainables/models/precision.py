"""Mixed precision, by autocast."""

from __future__ import annotations

from typing import Literal, Protocol

import torch


class HasPrecision(Protocol):
    """Object that names the precision a network runs in, such as a `TrainConfig`."""

    @property
    def precision(self) -> Literal["fp32", "bf16", "fp16"]:
        """Precision of convolutions and matrix products."""


def autocast(device: torch.device, train: HasPrecision) -> torch.autocast:
    """Context in which convolutions and matrix products run in the precision of the recipe."""
    dtype = torch.float16 if train.precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype, enabled=train.precision != "fp32")
