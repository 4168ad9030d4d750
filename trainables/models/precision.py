"""Mixed precision, by autocast."""

from __future__ import annotations

from typing import Literal, Protocol

import torch


class HasPrecision(Protocol):
    """A `TrainConfig`, or what else says in what precision a network runs."""

    @property
    def precision(self) -> Literal["fp32", "bf16", "fp16"]: ...


def autocast(device: torch.device, train: HasPrecision) -> torch.autocast:
    """Convolutions and matrix products within are of the recipe's precision."""
    dtype = torch.float16 if train.precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype, enabled=train.precision != "fp32")
