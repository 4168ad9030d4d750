"""Several processes that train one run: each passes its part of every batch through the network, and all take the same step.

The outputs of the parts are gathered before the loss is computed, so that the loss is that of the whole batch, also if images of
different parts are mixed; the gradients of the parts add up to its gradient. This module uses torch.distributed and does not depend
on how the processes were started.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class Replicas:
    """Processes of a run; here a single one."""

    rank = 0
    """Rank of this process, counted from 0."""
    count = 1
    """Number of processes."""

    def part(self, images: int) -> slice:
        """Part of a batch that this process gets. Parts differ by one image at most."""
        return slice(images * self.rank // self.count, images * (self.rank + 1) // self.count)

    def gathered(self, outputs: Tensor, *, images: int) -> Tensor:
        """Gathers the outputs of a whole batch, the same in each process; gradients flow only into this process's part.

        Args:
            outputs: [b, c] outputs of this process's part.
            images: number of images in the whole batch.
        Returns:
            [images, c].
        """
        assert len(outputs) == images
        return outputs

    def sum(self, tensors: Iterable[Tensor]) -> None:
        """Replaces each tensor by its sum over the processes."""

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replaces each tensor by its mean over the processes."""

    def from_first(self, value: Any) -> Any:
        """Returns the first process's value in every process."""
        return value


ALONE = Replicas()


class Processes(Replicas):
    """Processes of torch.distributed's default group, which must be initialised already."""

    def __init__(self) -> None:
        self.rank, self.count = dist.get_rank(), dist.get_world_size()

    def gathered(self, outputs: Tensor, *, images: int) -> Tensor:
        """See `Replicas.gathered`."""
        own = self.part(images)
        outputs = outputs.float()
        # A sum of zero-padded parts, because not every backend can gather parts of different lengths.
        whole = outputs.new_zeros(images, *outputs.shape[1:])
        whole[own] = outputs.detach()
        dist.all_reduce(whole)
        return torch.cat([whole[: own.start], outputs, whole[own.stop :]])

    def sum(self, tensors: Iterable[Tensor]) -> None:
        """See `Replicas.sum`."""
        if not (held := list(tensors)):
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in held])
        dist.all_reduce(flat)
        totals = torch.split(flat, [tensor.numel() for tensor in held])
        for tensor, total in zip(held, totals, strict=True):
            tensor.copy_(total.view(tensor.shape))

    def average(self, tensors: Iterable[Tensor]) -> None:
        """See `Replicas.average`."""
        held = list(tensors)
        self.sum(held)
        for tensor in held:
            tensor.div_(self.count)

    def from_first(self, value: Any) -> Any:
        """See `Replicas.from_first`."""
        values = [value]
        dist.broadcast_object_list(values)
        return values[0]
