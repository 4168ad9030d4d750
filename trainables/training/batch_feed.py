"""`Feed`: what the tail is given. Images in an epoch's order, varied, mixed and normalised, as they leave the frozen prefix."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainables.core.seeding import random_state
from trainables.data.batches.augment import version_numbers
from trainables.data.batches.batches import epoch_order, own_parts, split_batches
from trainables.data.batches.image_loader import ImageLoader
from trainables.data.batches.mixing import Mixing, draw_mixing, mixed
from trainables.data.dataset import Dataset
from trainables.frozen_prefix.feature_cache import Progress
from trainables.frozen_prefix.frozen_prefix import FrozenPrefix, Lookup, Side
from trainables.models.build_model import BuiltModel
from trainables.recipe.augment_config import Mix
from trainables.recipe.prefix_rules import prefix_batch
from trainables.recipe.recipe import Recipe
from trainables.training.replicas import ALONE, Replicas


class Batch(NamedTuple):
    """b images as the tail gets them."""

    features: Tensor
    """What the prefix makes of them, or of this process's part of them: a feature map [b, c, h, w] or [b, c, d, h, w], or pooled
    [b, f]."""
    labels: Tensor
    """[b], or the targets of regression."""
    weights: Tensor | None = None
    """[b] how much each image counts; None: all alike."""
    mixing: Mixing | None = None
    """How they were mixed with each other; None: they were not."""


class Feed:
    """The batches of a run."""

    def __init__(
        self,
        recipe: Recipe,
        dataset: Dataset,
        built: BuiltModel,
        *,
        balanced: bool,
        device: torch.device,
        replicas: Replicas,
        sharing_runs: int = 1,
        progress: Progress | None = None,
    ):
        """
        Args:
            built: its model is on the device.
            balanced: draw each class equally often.
            replicas: the processes that share each batch.
            sharing_runs: runs that are expected to need the same features of frozen blocks, this one included.
            progress: told how far the computing of features to keep is.
        """
        self._recipe, self._device, self._balanced, self._replicas = recipe, device, balanced, replicas
        self._chunk = prefix_batch(recipe)
        self.images = ImageLoader(recipe, dataset, mean=built.mean, std=built.std, device=device)
        self._prefix = FrozenPrefix(
            recipe, built, self.images, device=device, sharing_runs=sharing_runs, progress=progress
        )
        self.uncached: str | None = None
        """Why training images go through the frozen blocks in this epoch; None: their features have been kept."""

    @property
    def cache_s(self) -> float:
        """Time in which features of frozen blocks were computed to be kept, so far."""
        return self._prefix.cache_s

    def steps(self, epoch: int, *, stage: int) -> Iterator[list[Batch]]:
        """A training epoch's optimizer steps, each of `accumulate` batches.

        Args:
            epoch: counted from 1, over all stages.
            stage: index of the stage it belongs to.
        """
        train, data = self._recipe.train, self.images.of_stage(stage)
        order = epoch_order(data, balanced=self._balanced, seed=train.seed, epoch=epoch)
        versions = version_numbers(order, epoch=epoch, views=train.augment.views) if train.augment else None
        side = Side(data, data.train, stage=stage, trains=True)
        lookup, self.uncached = self._prefix.cached(side, versions)
        batches_of = partial(self._batches, order, versions, stage=stage, whole=train.mix is not None)
        if lookup:
            batches = batches_of(lookup)
        elif train.mixes_images or self._recipe.cut(stage) == 0:
            batches = batches_of(partial(self.images.load, stage=stage))
        else:
            batches = batches_of(partial(self._prefix.computed, side), chunk=self._chunk)
        if train.mix:
            batches = self._mixed(batches, train.mix, epoch, stage=stage)
        while step := list(islice(batches, train.accumulate)):
            yield step

    def validation(self, *, stage: int) -> Iterator[Batch]:
        """All validation images, as they are."""
        data = self.images.of_stage(stage)
        side = Side(data, data.validation, stage=stage, trains=False)
        lookup, _ = self._prefix.cached(side, None)
        if lookup:
            return self._batches(side.positions, None, lookup, stage=stage)
        return self._batches(side.positions, None, partial(self._prefix.computed, side), stage=stage, chunk=self._chunk)

    def _batches(
        self,
        order: np.ndarray,
        versions: np.ndarray | None,
        load: Lookup,
        *,
        stage: int,
        chunk: int | None = None,
        whole: bool = False,
    ) -> Iterator[Batch]:
        """The order in batches.

        Args:
            load: gives what the batches are made of.
            chunk: how many images it is asked for at a time; None: a batch of them.
            whole: features of all images and not only of this process's part: they are to be mixed, also with those of others.
        """
        data = self.images.of_stage(stage)
        sizes = [len(batch) for batch in split_batches(order, self._recipe.batch_size(stage))]
        labels = torch.split(torch.from_numpy(data.truth[order]).to(self._device), sizes)
        weights: Sequence[Tensor | None] = [None] * len(sizes)
        if data.weights is not None:
            weights = torch.split(torch.from_numpy(data.weights[order]).float().to(self._device), sizes)
        own, own_sizes = own_parts(sizes, (ALONE if whole else self._replicas).part)
        features = _in_chunks(load, order[own], None if versions is None else versions[own], own_sizes, chunk)
        for batch in zip(features, labels, weights, strict=True):
            yield Batch(*batch)

    def _mixed(self, plain: Iterator[Batch], config: Mix, epoch: int, *, stage: int) -> Iterator[Batch]:
        """Batches whose images, or what leaves the prefix for them, are mixed with each other."""
        random = random_state(self._recipe.train.seed, "mix", epoch)
        size, cut = self._recipe.image_size(stage), self._recipe.cut(stage)
        for batch in plain:
            mixing = draw_mixing(config, random, len(batch.labels), size=size, device=self._device)
            features = mixed(batch.features, mixing)[self._replicas.part(len(batch.labels))]
            if self._recipe.train.mixes_images and cut:
                features = torch.cat(
                    [self._prefix.through(part, 0, cut) for part in torch.split(features, self._chunk)]
                )
            yield batch._replace(features=features, mixing=mixing)


def _in_chunks(
    load: Lookup, positions: np.ndarray, versions: np.ndarray | None, sizes: Sequence[int], chunk: int | None
) -> Iterator[Tensor]:
    """Batches of what `load` gives, asked for in chunks that may cross their borders.

    Args:
        load: of a chunk's positions and versions.
        positions, versions: [n] of all images.
        sizes: of the batches.
        chunk: images that are asked for at a time; None: a batch.
    """
    ready, done = torch.empty(0), 0
    for size in sizes:
        while len(ready) < size:
            part = slice(done, done + (chunk or size))
            more = load(positions[part], None if versions is None else versions[part])
            ready = torch.cat([ready, more]) if len(ready) else more
            done += len(more)
        yield ready[:size]
        ready = ready[size:]
