"""`Backbone`: a network in parts. Every family of networks is converted to it, and users' own functions return it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """Network without its last layer: blocks, pool, hidden; each takes the output of the one before."""

    blocks: Mapping[str, nn.Module]
    """Name -> module, from input to head. A stage opens the backbone from one of these blocks."""
    features: int
    """Number of features of the output, [b, features]."""
    pool: nn.Module | None = None
    """Last block's output -> input of `hidden`; has no parameters. None: the average over all positions, [b, c]."""
    hidden: nn.Module | None = None
    """Layers between pool and last layer, trained with the head; None: there are none."""
    mean: tuple[float, ...] = IMAGENET_MEAN
    """Mean for normalising the input, one value per channel, for values in 0 … 1."""
    std: tuple[float, ...] = IMAGENET_STD
    """Standard deviation for normalising the input, like `mean`."""
    dims: int = 2
    """2 for images [b, channels, h, w], 3 for volumes [b, channels, d, h, w]."""

    def modules(self) -> list[nn.Module]:
        """All parts that it has."""
        return [*self.blocks.values(), *(part for part in (self.hidden, self.pool) if part is not None)]
