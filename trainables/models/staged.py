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


def pool(x: Tensor) -> Tensor:
    """[b, c, h, w] -> [b, c]"""
    return F.adaptive_avg_pool2d(x, 1).flatten(1)


class Tail(nn.Module):
    """What follows the cut. Shares its parameters with the model it was cut from."""

    def __init__(self, blocks: Sequence[nn.Module], head: Head):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        """The prefix's output -> logits [b, c]."""
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(pool(x) if self.blocks else x)
        return logits


class StagedModel(nn.Module):
    """Blocks in order, then the head. A cut is the position of the first block that trains: `len(blocks)` is the head alone."""

    def __init__(self, blocks: Sequence[nn.Module], head: Head):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.head = head

    def prefix(self, x: Tensor, cut: int, *, start: int = 0) -> Tensor:
        """Images [b, 3, h, w], or what leaves the prefix of another cut, `start` -> what the tail at this cut takes: a feature
        map [b, c, h, w], or pooled features [b, f] for the head alone."""
        for block in self.blocks[start:cut]:
            x = block(x)
        return pool(x) if cut == len(self.blocks) else x

    def tail(self, cut: int) -> Tail:
        return Tail(list(self.blocks[cut:]), self.head)

    def forward(self, images: Tensor) -> Tensor:
        """[b, 3, h, w] -> logits [b, c]"""
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
