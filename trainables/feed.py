"""`Feed`: what the tail is given. Images in an epoch's order, varied and normalised, as they leave the frozen prefix."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from trainables.data.augment import augment, version_numbers
from trainables.data.batches import epoch_order, gather, normalise, split_batches
from trainables.data.dataset import Dataset
from trainables.models.backbones import BuiltModel
from trainables.precision import autocast
from trainables.recipe import Recipe

Batch = tuple[Tensor, Tensor]
"""What the prefix makes of b images, a feature map [b, c, h, w] or pooled [b, f]; and their labels or targets [b]."""

PREFIX_BATCH = 32
"""Images that go through a frozen prefix together, whatever the batch size: on CPU, what comes out for an image then has the same
bits in whatever company it goes through."""


class Feed:
    """The batches of a run."""

    def __init__(self, recipe: Recipe, dataset: Dataset, built: BuiltModel, *, balanced: bool, device: torch.device):
        """
        Args:
            built: its model is on the device.
            balanced: draw each class equally often.
        """
        self._recipe, self._dataset, self._built, self._device = recipe, dataset, built, device
        self._balanced = balanced

    def steps(self, epoch: int, *, cut: int) -> Iterator[list[Batch]]:
        """A training epoch's optimizer steps, each of `accumulate` batches.

        Args:
            epoch: counted from 1.
        """
        train = self._recipe.train
        order = epoch_order(self._dataset, balanced=self._balanced, seed=train.seed, epoch=epoch)
        versions = version_numbers(order, epoch=epoch, views=train.augment.views if train.augment else None)
        batches = self._batches(order, versions, cut=cut)
        while step := list(islice(batches, train.accumulate)):
            yield step

    def validation(self, *, cut: int) -> Iterator[Batch]:
        """All validation images, as they are."""
        return self._batches(self._dataset.validation, None, cut=cut)

    def images(self, positions: np.ndarray, versions: np.ndarray | None) -> Tensor:
        """[b, 3, h, w] as the network sees them; augmented to some versions of theirs where these are given."""
        images, _ = gather(self._dataset, positions, self._device)
        train = self._recipe.train
        if train.augment and versions is not None:
            images = augment(images, train.augment, seed=train.seed, positions=positions, versions=versions)
        return normalise(images, self._built.mean, self._built.std)

    def _batches(self, order: np.ndarray, versions: np.ndarray | None, *, cut: int) -> Iterator[Batch]:
        sizes = [len(batch) for batch in split_batches(order, self._recipe.train.batch_size)]
        labels = torch.split(torch.from_numpy(self._dataset.truth[order]).to(self._device), sizes)
        ready = torch.empty(0)
        ends = np.cumsum(sizes)
        done = 0
        for size, end, of_batch in zip(sizes, ends, labels, strict=True):
            while done < end:
                part = slice(done, done + (PREFIX_BATCH if cut else size))
                more = self._features(order[part], None if versions is None else versions[part], cut)
                ready = torch.cat([ready, more]) if len(ready) else more
                done += len(more)
            yield ready[:size], of_batch
            ready = ready[size:]

    @torch.no_grad()
    def _features(self, positions: np.ndarray, versions: np.ndarray | None, cut: int) -> Tensor:
        """What leaves the prefix for at most `PREFIX_BATCH` images."""
        images = self.images(positions, versions)
        if cut == 0:
            return images
        missing = PREFIX_BATCH - len(images)
        if missing:
            images = torch.cat([images, images[:1].expand(missing, -1, -1, -1)])
        with autocast(self._device, self._recipe.train):
            return self._built.model.prefix(images, cut)[: len(positions)]
