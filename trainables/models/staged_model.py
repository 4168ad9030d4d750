"""A network as blocks from input to head, so that a stage can cut it in two: a frozen prefix and a tail that trains."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class CosineLinear(nn.Module):
    """Logits that are scaled cosines between features and class directions; what LDAM's margins are measured in."""

    def __init__(self, features: int, classes: int, scale: float):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, features))
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """[b, f] -> [b, c], each in −scale … scale."""
        return self.scale * F.linear(F.normalize(x), F.normalize(self.weight))


class Head(nn.Module):
    """Pooled features -> logits: what the published network has before its last layer, dropout, a new last layer."""

    def __init__(self, hidden: nn.Module, last: nn.Module):
        super().__init__()
        self.hidden = hidden
        self.dropout = nn.Dropout()
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        """[b, f] -> [b, c]"""
        logits: Tensor = self.last(self.dropout(self.hidden(x)))
        return logits

    def set_scale(self, cosine_scale: float | None) -> None:
        """Of a cosine head; None: it is linear, and has none."""
        if cosine_scale is not None:
            assert isinstance(self.last, CosineLinear)
            self.last.scale = cosine_scale


class GlobalAverage(nn.Module):
    """The average over all positions."""

    def forward(self, x: Tensor) -> Tensor:
        """[b, c, h, w] or [b, c, d, h, w] -> [b, c]"""
        average = F.adaptive_avg_pool3d if x.ndim == 5 else F.adaptive_avg_pool2d
        return average(x, 1).flatten(1)


class Tail(nn.Module):
    """What follows the cut. Shares its parameters with the model it was cut from."""

    def __init__(self, blocks: Sequence[nn.Module], pool: nn.Module, head: Head):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.pool = pool
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        """The prefix's output -> logits [b, c]."""
        logits: Tensor = self.head(self._pooled(x))
        return logits

    def features(self, x: Tensor) -> Tensor:
        """The prefix's output -> what the last layer takes, without dropout, [b, f]."""
        features: Tensor = self.head.hidden(self._pooled(x))
        return features

    def _pooled(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.pool(x) if self.blocks else x


class StagedModel(nn.Module):
    """Blocks in order, the pool, the head. A cut is the position of the first block that trains; `len(blocks)`: the head alone.

    The pool has no parameters and belongs to what is below the head.
    """

    def __init__(self, blocks: Sequence[nn.Module], pool: nn.Module, head: Head):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.pool = pool
        self.head = head

    def prefix(self, x: Tensor, cut: int, *, start: int = 0) -> Tensor:
        """What the tail at a cut takes: a block's output, or for the head alone what the pool makes of it, [b, f] (but for networks
        that pool in the head).

        Args:
            x: [b, channels, h, w] (volumes: [b, channels, d, h, w]), or what leaves the prefix of another cut.
            start: that cut.
        """
        for block in self.blocks[start:cut]:
            x = block(x)
        pooled: Tensor = self.pool(x) if cut == len(self.blocks) else x
        return pooled

    def tail(self, cut: int) -> Tail:
        return Tail(list(self.blocks[cut:]), self.pool, self.head)

    def forward(self, images: Tensor) -> Tensor:
        """[b, channels, h, w] or [b, channels, d, h, w] -> logits [b, c]"""
        logits: Tensor = self.tail(0)(images)
        return logits


def new_last_layer(features: int, classes: int, *, cosine_scale: float | None, generator: torch.Generator) -> nn.Module:
    """The layer that gives the class scores, drawn from `generator` alone."""
    bound = 1 / math.sqrt(features)
    last: nn.Module
    if cosine_scale is not None:
        last = CosineLinear(features, classes, cosine_scale)
        with torch.no_grad():
            last.weight.uniform_(-1, 1, generator=generator).renorm_(2, 0, 1e-5).mul_(
                1e5
            )  # as the authors of LDAM draw it
        return last
    last = nn.Linear(features, classes)
    with torch.no_grad():
        last.weight.uniform_(-bound, bound, generator=generator)
        last.bias.zero_()
    return last


def to_channels_last(model: nn.Module) -> None:
    """Lays out the weights of convolutions as the data is: channels last."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for parameter in model.parameters():
        if parameter.ndim in formats:
            parameter.data = parameter.data.to(memory_format=formats[parameter.ndim])
