"""Exponential moving average of what trains."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def averaged(tail: nn.Module, decay: float) -> AveragedModel:
    """A copy of `tail` that `update_parameters(tail)` moves towards it, running statistics included.

    The decay ramps up as (1 + n) / (10 + n), n the number of updates, so that short stages are not judged on their start.
    """

    @torch.no_grad()
    def update(average: list[Tensor], current: list[Tensor], updates: Tensor) -> None:
        n = int(updates)
        if average[0].is_floating_point():
            torch._foreach_lerp_(average, current, 1 - min(decay, (1 + n) / (10 + n)))
        else:  # BatchNorm's batch counters
            torch._foreach_copy_(average, current)

    return AveragedModel(tail, multi_avg_fn=update, use_buffers=True)  # type: ignore[arg-type]
