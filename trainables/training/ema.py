"""Exponential moving average of the weights that train."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from trainables.models.staged_model import Tail
from trainables.recipe.train_config import Ema

_Tensors = tuple[Tensor, ...] | list[Tensor]


def weight_average(tail: nn.Module, config: Ema) -> AveragedModel:
    """Copies `tail` into an average that `update_parameters(tail)` moves towards it, running statistics included.

    With a warm-up the decay ramps up as (1 + n) / (10 + n), with n the number of updates, so that the average of a short stage does
    not hang on to the stage's first weights.
    """
    return AveragedModel(tail, multi_avg_fn=_update(config), use_buffers=True)


def set_decay(average: AveragedModel, config: Ema) -> None:
    """Changes the decay of an average for the following updates."""
    average.multi_avg_fn = _update(config)


def carry_average(old: AveragedModel, new: AveragedModel) -> None:
    """Carries over the averages of the blocks and the head that two tails share; blocks that open start from their weights."""
    before, after = old.module, new.module
    assert isinstance(before, Tail)
    assert isinstance(after, Tail)
    for source, target in zip(
        reversed([*before.blocks, before.head]), reversed([*after.blocks, after.head]), strict=False
    ):
        target.load_state_dict(source.state_dict(), strict=False)  # the first block of a tail may be part of one
    new.n_averaged.copy_(old.n_averaged)


def _update(config: Ema) -> Callable[[_Tensors, _Tensors, Tensor | int], None]:
    @torch.no_grad()
    def update(average: _Tensors, current: _Tensors, updates: Tensor | int) -> None:
        n = int(updates)
        decay = min(config.decay, (1 + n) / (10 + n)) if config.warmup else config.decay
        if average[0].is_floating_point():
            torch._foreach_lerp_(average, current, 1 - decay)
        else:  # BatchNorm's batch counters
            torch._foreach_copy_(average, current)

    return update
