"""Network as blocks from input to head, so that a stage can cut it into a frozen prefix and a tail that trains."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from trainables.models.backbones.block_parts import from_part


class CosineLinear(nn.Module):
    """Last layer whose logits are scaled cosines between features and class directions, for which LDAM's margins are defined.

    Args:
        features: number of inputs.
        classes: number of outputs.
        scale: factor of the cosines.
    """

    def __init__(self, features: int, classes: int, scale: float):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, features))
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """Maps features [b, f] to logits [b, c] in −scale … scale."""
        return self.scale * F.linear(F.normalize(x), F.normalize(self.weight))


class Head(nn.Module):
    """Pooled features -> logits: the published network's layers before its last one, dropout, and a new last layer."""

    def __init__(self, hidden: nn.Module, last: nn.Module):
        super().__init__()
        self.hidden = hidden
        self.dropout = nn.Dropout()
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        """Maps pooled features [b, f] to logits [b, c]."""
        logits: Tensor = self.last(self.dropout(self.hidden(x)))
        return logits

    def set_scale(self, cosine_scale: float | None) -> None:
        """Sets the scale of a cosine head; None: the head is linear and has no scale."""
        if cosine_scale is not None:
            assert isinstance(self.last, CosineLinear)
            self.last.scale = cosine_scale


class GlobalAverage(nn.Module):
    """Average over all positions."""

    def forward(self, x: Tensor) -> Tensor:
        """Averages [b, c, h, w] or [b, c, d, h, w] -> [b, c]."""
        average = F.adaptive_avg_pool3d if x.ndim == 5 else F.adaptive_avg_pool2d
        return average(x, 1).flatten(1)


class Tail(nn.Module):
    """Part of a model after the cut. Shares its parameters with the model.

    Args:
        blocks: blocks after the cut, from input to head.
        pool: last block's output -> input of the head; not used if there are no blocks.
        head: pooled features -> logits.
    """

    recomputes = False
    """Keep only the output of each block for the backward pass, and compute what is inside once more (Chen et al. 2016)."""

    def __init__(self, blocks: Sequence[nn.Module], pool: nn.Module, head: Head):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.pool = pool
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        """Maps the prefix's output to logits [b, c]."""
        logits: Tensor = self.head(self._pooled(x))
        return logits

    def features(self, x: Tensor) -> Tensor:
        """Maps the prefix's output to the input of the last layer, without dropout, [b, f]."""
        features: Tensor = self.head.hidden(self._pooled(x))
        return features

    def _pooled(self, x: Tensor) -> Tensor:
        recomputes = self.recomputes and torch.is_grad_enabled()
        for block in self.blocks:
            x = _recomputed(block, x) if recomputes else block(x)
        return self.pool(x) if self.blocks else x


def _recomputed(block: nn.Module, x: Tensor) -> Tensor:
    """Output of a block that is computed again in the backward pass, with the same dropout."""
    output: Tensor = checkpoint(
        block, x, use_reentrant=False, context_fn=lambda: (nullcontext(), _statistics_as_they_are(block))
    )
    return output


@contextmanager
def _statistics_as_they_are(block: nn.Module) -> Iterator[None]:
    """Keeps BatchNorms from counting the same batch twice."""
    norms = [m for m in block.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked -= 1


class StagedModel(nn.Module):
    """Blocks in order, pool and head. A cut is the position of the first part that trains; `len(parts)`: the head alone.

    The parts are the blocks, or layers of a block between which a stage cuts. The names of parameters do not depend on them. The
    pool has no parameters. If the head alone trains, it is part of the prefix.

    Args:
        blocks: blocks from input to head.
        pool: last block's output -> input of the head.
        head: pooled features -> logits.
        paths: paths in `blocks` of the modules of each part, see `block_parts.paths_of`; None: the parts are the blocks.
    """

    def __init__(
        self, blocks: Sequence[nn.Module], pool: nn.Module, head: Head, paths: Sequence[tuple[str, ...]] | None = None
    ):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.pool = pool
        self.head = head
        self._paths = [(str(i),) for i in range(len(blocks))] if paths is None else list(paths)

    @property
    def parts(self) -> list[list[nn.Module]]:
        """Modules of each part, from input to head."""
        return [[self.blocks.get_submodule(path) for path in paths] for paths in self._paths]

    def block_of(self, cut: int) -> int:
        """Position of the block that a part belongs to; the number of blocks for the head alone."""
        return len(self.blocks) if cut == len(self._paths) else int(self._paths[cut][0].partition(".")[0])

    def prefix(self, x: Tensor, cut: int, *, start: int = 0) -> Tensor:
        """Input of the tail at a cut: the output of the last frozen block or, if the head alone trains, of the pool, [b, f] (except
        for networks that pool in the head).

        Args:
            x: [b, channels, h, w] (volumes: [b, channels, d, h, w]), or the output of the prefix of an earlier cut.
            cut: position of the first part that trains.
            start: the earlier cut, if `x` is its output.
        """
        for module in chain.from_iterable(self.parts[start:cut]):
            x = module(x)
        pooled: Tensor = self.pool(x) if cut == len(self._paths) else x
        return pooled

    def tail(self, cut: int) -> Tail:
        """Rest of the model after a cut."""
        first = self.block_of(cut)
        blocks = list(self.blocks[first:])
        if cut > 0 and self.block_of(cut - 1) == first:
            blocks[0] = from_part(blocks[0], self._paths[cut][0].partition(".")[2])
        return Tail(blocks, self.pool, self.head)

    def weights_from(self, cut: int) -> dict[str, Tensor]:
        """Weights of the part after a cut, by their names in the model."""
        open_paths = [path for paths in self._paths[cut:] for path in paths]
        opened = {f"blocks.{path}": self.blocks.get_submodule(path) for path in open_paths} | {"head": self.head}
        return {
            f"{part}.{name}": tensor for part, module in opened.items() for name, tensor in module.state_dict().items()
        }

    def forward(self, images: Tensor) -> Tensor:
        """Maps images [b, channels, h, w], or volumes [b, channels, d, h, w], to logits [b, c]."""
        logits: Tensor = self.tail(0)(images)
        return logits


def new_last_layer(features: int, classes: int, *, cosine_scale: float | None, generator: torch.Generator) -> nn.Module:
    """Creates the layer that computes the class scores.

    Args:
        features: number of inputs.
        classes: number of outputs.
        cosine_scale: scale of a cosine layer; None: the layer is linear.
        generator: source of all random numbers.
    """
    bound = 1 / math.sqrt(features)
    last: nn.Module
    if cosine_scale is not None:
        last = CosineLinear(features, classes, cosine_scale)
        with torch.no_grad():
            # Drawn as by the authors of LDAM.
            last.weight.uniform_(-1, 1, generator=generator).renorm_(2, 0, 1e-5).mul_(1e5)
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
