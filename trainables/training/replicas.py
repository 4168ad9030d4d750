"""Several processes that train one run: each puts its part of every batch through the network, and all take the same step.

What comes out of the parts is gathered before the loss is taken, so that the loss is that of the whole batch, whatever it divides
by and whoever is mixed with whom; the gradients of the parts add up to its gradient. This knows torch.distributed and not who
started the processes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class Replicas:
    """The processes of a run: here one, which has nobody to agree with."""

    rank = 0
    """Of this process, from 0."""
    count = 1

    def part(self, images: int) -> slice:
        """This process's part of a batch. Parts differ by one image at most."""
        return slice(images * self.rank // self.count, images * (self.rank + 1) // self.count)

    def gathered(self, outputs: Tensor, *, images: int) -> Tensor:
        """[images, c] of a whole batch, the same in each process; gradients flow into the own part alone.

        Args:
            outputs: [b, c] of the own part.
        """
        assert len(outputs) == images
        return outputs

    def add_up(self, tensors: Iterable[Tensor]) -> None:
        """Replaces each tensor by its sum over the processes."""

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replaces each tensor by its mean over the processes."""

    def agreed(self, value: Any) -> Any:
        """What the first process has."""
        return value


ALONE = Replicas()


class Processes(Replicas):
    """Those of torch.distributed's default group, which is set up already."""

    def __init__(self) -> None:
        self.rank, self.count = dist.get_rank(), dist.get_world_size()

    def gathered(self, outputs: Tensor, *, images: int) -> Tensor:
        own = self.part(images)
        outputs = outputs.float()
        # Zeros of the others' parts plus theirs: parts may differ in length, which gathering does not allow with every backend.
        whole = outputs.new_zeros(images, *outputs.shape[1:])
        whole[own] = outputs.detach()
        dist.all_reduce(whole)
        return torch.cat([whole[: own.start], outputs, whole[own.stop :]])

    def add_up(self, tensors: Iterable[Tensor]) -> None:
        if not (held := list(tensors)):
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in held])
        dist.all_reduce(flat)
        totals = torch.split(flat, [tensor.numel() for tensor in held])
        for tensor, total in zip(held, totals, strict=True):
            tensor.copy_(total.view(tensor.shape))

    def average(self, tensors: Iterable[Tensor]) -> None:
        held = list(tensors)
        self.add_up(held)
        for tensor in held:
            tensor.div_(self.count)

    def agreed(self, value: Any) -> Any:
        values = [value]
        dist.broadcast_object_list(values)
        return values[0]
