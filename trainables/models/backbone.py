"""`Backbone`: a network in parts, as this project takes it and as functions of the user's return it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A network without its last layer: blocks, pool, hidden; each takes what the one before gives."""

    blocks: Mapping[str, nn.Module]
    """Name -> module, from input to head. A stage opens blocks from one on."""
    features: int
    """How many features come out at the end, [b, features]."""
    pool: nn.Module | None = None
    """The last block's output -> what `hidden` takes; without parameters. None: the average over all positions, [b, c]."""
    hidden: nn.Module | None = None
    """What comes before the last layer and trains with it; None: nothing."""
    mean: tuple[float, ...] = IMAGENET_MEAN
    """What its input is normalised with, one value a channel, for values in 0 … 1."""
    std: tuple[float, ...] = IMAGENET_STD
    dims: int = 2
    """2 for images [b, channels, h, w], 3 for volumes [b, channels, d, h, w]."""

    def modules(self) -> list[nn.Module]:
        """All parts that it has."""
        return [*self.blocks.values(), *(part for part in (self.hidden, self.pool) if part is not None)]
