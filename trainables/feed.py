"""`Feed`: what the tail is given. Images in an epoch's order, varied and normalised, as they leave the frozen prefix."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainables.data.augment import augment, version_numbers
from trainables.data.batches import epoch_order, gather, normalise, split_batches
from trainables.data.dataset import Dataset
from trainables.data.mixing import Mixing, draw_mixing, mixed
from trainables.data.seeding import random_state
from trainables.data_config import Mix
from trainables.models.backbones import BuiltModel
from trainables.precision import autocast
from trainables.recipe import Recipe
from trainables.stage_data import data_of_stage


class Batch(NamedTuple):
    """b images as the tail gets them."""

    features: Tensor
    """What the prefix makes of them: a feature map [b, c, h, w], or pooled [b, f]."""
    labels: Tensor
    """[b]"""
    mixing: Mixing | None = None
    """How they were mixed with each other; None: they were not."""


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
        self._recipe, self._built, self._device = recipe, built, device
        self._balanced = balanced
        self.data = functools.cache(functools.partial(data_of_stage, recipe, dataset))
        """Stage -> the data set as it sees it."""

    def steps(self, epoch: int, *, stage: int) -> Iterator[list[Batch]]:
        """A training epoch's optimizer steps, each of `accumulate` batches.

        Args:
            epoch: counted from 1, over all stages.
            stage: index of the stage it belongs to.
        """
        train = self._recipe.train
        order = epoch_order(self.data(stage), balanced=self._balanced, seed=train.seed, epoch=epoch)
        versions = version_numbers(order, epoch=epoch, views=train.augment.views if train.augment else None)
        cut = self._recipe.cut(stage)
        if train.mix is None:
            batches = self._batches(order, versions, stage=stage, cut=cut)
        else:
            plain = self._batches(order, versions, stage=stage, cut=0 if train.mixes_images else cut)
            batches = self._mixed(plain, train.mix, epoch, stage=stage)
        while step := list(islice(batches, train.accumulate)):
            yield step

    def validation(self, *, stage: int) -> Iterator[Batch]:
        """All validation images, as they are."""
        return self._batches(self.data(stage).validation, None, stage=stage, cut=self._recipe.cut(stage))

    def images(self, positions: np.ndarray, versions: np.ndarray | None, *, stage: int = 0) -> Tensor:
        """[b, 3, h, w] as the network sees them in a stage; augmented to some versions of theirs where these are given."""
        images, _ = gather(self.data(stage), positions, self._device)
        train = self._recipe.train
        if train.augment and versions is not None:
            images = augment(images, train.augment, seed=train.seed, positions=positions, versions=versions)
        return normalise(images, self._built.mean, self._built.std)

    def _mixed(self, plain: Iterator[Batch], config: Mix, epoch: int, *, stage: int) -> Iterator[Batch]:
        """Batches whose images, or what leaves the prefix for them, are mixed with each other."""
        random = random_state(self._recipe.train.seed, "mix", epoch)
        size, cut = self._recipe.image_size(stage), self._recipe.cut(stage)
        for features, labels, _ in plain:
            mixing = draw_mixing(config, random, len(labels), size=size, device=self._device)
            features = mixed(features, mixing)
            if self._recipe.train.mixes_images and cut:
                parts = torch.tensor_split(features, -(-len(features) // PREFIX_BATCH))
                features = torch.cat([self._through_prefix(part, cut) for part in parts])
            yield Batch(features, labels, mixing)

    def _batches(self, order: np.ndarray, versions: np.ndarray | None, *, stage: int, cut: int) -> Iterator[Batch]:
        sizes = [len(batch) for batch in split_batches(order, self._recipe.batch_size(stage))]
        labels = torch.split(torch.from_numpy(self.data(stage).labels[order]).to(self._device), sizes)
        ready = torch.empty(0)
        ends = np.cumsum(sizes)
        done = 0
        for size, end, of_batch in zip(sizes, ends, labels, strict=True):
            while done < end:
                part = slice(done, done + (PREFIX_BATCH if cut else size))
                images = self.images(order[part], None if versions is None else versions[part], stage=stage)
                more = self._through_prefix(_padded(images), cut)[: len(images)] if cut else images
                ready = torch.cat([ready, more]) if len(ready) else more
                done += len(more)
            yield Batch(ready[:size], of_batch)
            ready = ready[size:]

    @torch.no_grad()
    def _through_prefix(self, images: Tensor, cut: int) -> Tensor:
        with autocast(self._device, self._recipe.train):
            return self._built.model.prefix(images, cut)


def _padded(images: Tensor) -> Tensor:
    """At most `PREFIX_BATCH` images, made as many."""
    missing = PREFIX_BATCH - len(images)
    return torch.cat([images, images[:1].expand(missing, -1, -1, -1)]) if missing else images
