"""Mixed precision, by autocast."""

from __future__ import annotations

import torch

from trainables.train_config import TrainConfig


def autocast(device: torch.device, train: TrainConfig) -> torch.autocast:
    """Convolutions and matrix products within are of the recipe's precision."""
    dtype = torch.float16 if train.precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype, enabled=train.precision != "fp32")
