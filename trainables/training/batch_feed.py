"""`Feed`: the batches that the tail trains on. Images in the order of the epoch, augmented, mixed, normalised and passed through
the frozen prefix."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice, repeat
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainables.core.seeding import random_state
from trainables.data.batches.augment import view_numbers
from trainables.data.batches.batches import batch_count, epoch_order, own_parts, split_batches
from trainables.data.batches.image_loader import ImageLoader
from trainables.data.batches.mixing import Mixing, draw_mixing, mixed
from trainables.data.dataset import Dataset
from trainables.frozen_prefix.feature_cache import Progress
from trainables.frozen_prefix.frozen_prefix import FrozenPrefix, Load, StageImages
from trainables.models.build_model import BuiltModel
from trainables.models.precision import for_device, laid_out
from trainables.recipe.augment_config import Mix
from trainables.recipe.recipe import Recipe
from trainables.recipe.rules.prefix_rules import prefix_batch
from trainables.training.replicas import ALONE, Replicas


class Batch(NamedTuple):
    """b images as the tail gets them."""

    features: Tensor
    """Output of the prefix for the images, or for this process's part of them: a feature map [b, c, h, w] or [b, c, d, h, w], or
    pooled [b, f]."""
    labels: Tensor
    """[b] classes, or targets in regression."""
    weights: Tensor | None = None
    """[b] weight of each image in the loss; None: all equal."""
    mixing: Mixing | None = None
    """Mixing of the images with each other; None: not mixed."""


class Feed:
    """Batches of a run."""

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
        """Prepares the batches of a run.

        Args:
            recipe: recipe of the run.
            dataset: data set of the run.
            built: model of the run, already on the device.
            balanced: draw each class equally often.
            device: device the batches go to.
            replicas: processes that share each batch.
            sharing_runs: runs that are expected to need the same features of frozen blocks, this one included.
            progress: callback for the progress of computing features to cache.
        """
        self._recipe, self._device, self._balanced, self._replicas = recipe, device, balanced, replicas
        self._chunk = prefix_batch(recipe)
        self.images = ImageLoader(recipe, dataset, mean=built.mean, std=built.std, device=device)
        self._prefix = FrozenPrefix(
            recipe, built, self.images, device=device, sharing_runs=sharing_runs, progress=progress
        )
        self.uncached: str | None = None
        """Reason why training images pass through the frozen blocks in this epoch; None: their features are cached."""

    @property
    def cache_s(self) -> float:
        """Seconds spent so far on computing features of frozen blocks for the cache."""
        return self._prefix.cache_s

    def steps(self, epoch: int, *, stage: int) -> Iterator[list[Batch]]:
        """Yields the batches of each optimizer step of a training epoch, `train.accumulate` at a time.

        Args:
            epoch: number of the epoch, counted from 1 over all stages.
            stage: position of its stage.
        """
        train, data = self._recipe.train, self.images.of_stage(stage)
        order = epoch_order(data, balanced=self._balanced, seed=train.seed, epoch=epoch)
        versions = view_numbers(order, epoch=epoch, views=train.augment.views) if train.augment else None
        stage_images = StageImages(data, data.train, stage=stage, trains=True)
        load, self.uncached = self._prefix.cached(stage_images, versions)
        batches_of = partial(self._batches, order, versions, stage=stage, whole=train.mix is not None)
        if load:
            batches = batches_of(load)
        elif train.mixes_images or self._recipe.cut(stage) == 0:
            batches = batches_of(partial(self.images.load_each, stage=stage))
        else:
            batches = batches_of(partial(self._prefix.compute, stage_images), chunk=self._chunk)
        if train.mix:
            batches = self._mixed(batches, train.mix, epoch, stage=stage)
        while step := list(islice(batches, train.accumulate)):
            yield step

    def steps_in_epoch(self, stage: int) -> int:
        """Number of optimizer steps in a training epoch of a stage."""
        batches = batch_count(len(self.images.of_stage(stage).train), self._recipe.batch_size(stage))
        return math.ceil(batches / self._recipe.train.accumulate)

    def validation(self, *, stage: int) -> Iterator[Batch]:
        """Yields all validation images in batches, without augmentation."""
        data = self.images.of_stage(stage)
        stage_images = StageImages(data, data.validation, stage=stage, trains=False)
        load, _ = self._prefix.cached(stage_images, None)
        if load:
            return self._batches(stage_images.positions, None, load, stage=stage)
        return self._batches(
            stage_images.positions, None, partial(self._prefix.compute, stage_images), stage=stage, chunk=self._chunk
        )

    def _batches(
        self,
        order: np.ndarray,
        versions: np.ndarray | None,
        load: Load,
        *,
        stage: int,
        chunk: int | None = None,
        whole: bool = False,
    ) -> Iterator[Batch]:
        """Yields images in batches, in the given order.

        Args:
            order: [n] positions of the images.
            versions: [n] numbers of the augmented views; None: images are not augmented.
            load: loads the features of each part.
            stage: position of the stage.
            chunk: number of images to load at a time; None: a batch.
            whole: yield the features of all images, not only of this process's part, because images are mixed across parts.
        """
        data = self.images.of_stage(stage)
        sizes = [len(batch) for batch in split_batches(order, self._recipe.batch_size(stage))]
        labels = torch.split(for_device(data.truth[order], self._device), sizes)
        weights: Sequence[Tensor | None] = [None] * len(sizes)
        if data.weights is not None:
            weights = torch.split(for_device(data.weights[order], self._device).float(), sizes)
        own, own_sizes = own_parts(sizes, (ALONE if whole else self._replicas).part)
        features = _in_chunks(load, order[own], None if versions is None else versions[own], own_sizes, chunk)
        for batch in zip(map(laid_out, features), labels, weights, strict=True):
            yield Batch(*batch)

    def _mixed(self, plain: Iterator[Batch], config: Mix, epoch: int, *, stage: int) -> Iterator[Batch]:
        """Mixes the images of each batch, or their features, with each other."""
        random = random_state(self._recipe.train.seed, "mix", epoch)
        size, cut = self._recipe.image_size(stage), self._recipe.cut(stage)
        for batch in plain:
            mixing = draw_mixing(config, random, len(batch.labels), size=size, device=self._device)
            features = mixed(batch.features, mixing)[self._replicas.part(len(batch.labels))]
            if self._recipe.train.mixes_images and cut:
                features = torch.cat([self._prefix.features(part, cut) for part in torch.split(features, self._chunk)])
            yield batch._replace(features=features, mixing=mixing)


def _in_chunks(
    load: Load, positions: np.ndarray, versions: np.ndarray | None, sizes: Sequence[int], chunk: int | None
) -> Iterator[Tensor]:
    """Yields batches of features, loaded in chunks that may cross the batches' borders.

    Args:
        load: loads the features of each part.
        positions: [n] positions of the images.
        versions: [n] numbers of the augmented views; None: images are not augmented.
        sizes: number of images of each batch.
        chunk: number of images to load at a time; None: a batch.
    """
    borders = np.arange(chunk, len(positions), chunk) if chunk else np.cumsum(sizes)[:-1]
    of_parts = repeat(None) if versions is None else np.split(versions, borders)
    # Without the empty parts of batches that are smaller than the number of processes.
    loaded = load([part for part in zip(np.split(positions, borders), of_parts, strict=False) if len(part[0])])
    ready = torch.empty(0)
    for size in sizes:
        while len(ready) < size:
            more = next(loaded)
            ready = torch.cat([ready, more]) if len(ready) else more
        yield ready[:size]
        ready = ready[size:]
