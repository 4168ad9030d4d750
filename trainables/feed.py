"""`Feed`: what the tail is given. Images in an epoch's order, varied and normalised, as they leave the frozen prefix."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from trainables.data.augment import augment, version_numbers
from trainables.data.batches import epoch_order, gather, normalise, split_batches
from trainables.data.dataset import Dataset
from trainables.data.feature_file import gather_features
from trainables.models.backbones import BuiltModel
from trainables.precision import autocast
from trainables.prefix_cache import (
    PREFIX_BATCH,
    Images,
    PrefixCache,
    Progress,
    UncachedError,
    epochs_by_cut,
    why_uncached,
)
from trainables.recipe import Recipe

Batch = tuple[Tensor, Tensor]
"""What the prefix makes of b images, a feature map [b, c, h, w] or pooled [b, f]; and their labels [b]."""

Lookup = Callable[[np.ndarray, np.ndarray | None], Tensor]
"""Positions [b] and versions [b] of images -> their features [b, …]."""


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
        sharing_runs: int = 1,
        progress: Progress | None = None,
    ):
        """
        Args:
            built: its model is on the device.
            balanced: draw each class equally often.
            sharing_runs: runs that are expected to need the same features of frozen blocks, this one included.
            progress: told how far the computing of features to keep is.
        """
        self._recipe, self._dataset, self._built, self._device = recipe, dataset, built, device
        self._balanced = balanced
        views = recipe.train.augment.views or 1 if recipe.train.augment else 1
        epochs = {cut: n * sharing_runs / views for cut, n in epochs_by_cut(recipe).items()}
        rounded = recipe.train.prefix_dtype == "bf16" and recipe.train.precision == "fp32"
        self._rounded_to = torch.bfloat16 if rounded else None
        self._cache = PrefixCache(
            self._through,
            lambda cut: epochs.get(cut, 0.0),
            blocks=recipe.blocks,
            rounded_to=self._rounded_to,
            progress=progress,
        )
        self.uncached: str | None = None
        """Why training images go through the frozen blocks in this epoch; None: their features have been kept."""

    def steps(self, epoch: int, *, stage: int) -> Iterator[list[Batch]]:
        """A training epoch's optimizer steps, each of `accumulate` batches.

        Args:
            epoch: counted from 1, over all stages.
            stage: index of the stage it belongs to.
        """
        train = self._recipe.train
        order = epoch_order(self._dataset, balanced=self._balanced, seed=train.seed, epoch=epoch)
        versions = version_numbers(order, epoch=epoch, views=train.augment.views) if train.augment else None
        lookup, self.uncached = self._lookup(self._dataset.train, versions, stage)
        batches = self._batches(order, versions, lookup, cut=self._recipe.cut(stage))
        while step := list(islice(batches, train.accumulate)):
            yield step

    def validation(self, *, stage: int) -> Iterator[Batch]:
        """All validation images, as they are."""
        order = self._dataset.validation
        lookup, _ = self._lookup(order, None, stage)
        return self._batches(order, None, lookup, cut=self._recipe.cut(stage))

    @property
    def cache_s(self) -> float:
        """Time in which features of frozen blocks were computed to be kept, so far."""
        return self._cache.spent_s

    def images(self, positions: np.ndarray, versions: np.ndarray | None) -> Tensor:
        """[b, 3, h, w] as the network sees them; augmented to some versions of theirs where these are given."""
        images, _ = gather(self._dataset, positions, self._device)
        train = self._recipe.train
        if train.augment and versions is not None:
            images = augment(images, train.augment, seed=train.seed, positions=positions, versions=versions)
        return normalise(images, self._built.mean, self._built.std)

    # --- batches ----------------------------------------------------------------------------------------------------

    def _batches(
        self, order: np.ndarray, versions: np.ndarray | None, lookup: Lookup | None, *, cut: int
    ) -> Iterator[Batch]:
        """The order in batches.

        Args:
            lookup: where features are kept; None: they are computed.
        """
        sizes = [len(batch) for batch in split_batches(order, self._recipe.train.batch_size)]
        labels = torch.split(torch.from_numpy(self._dataset.labels[order]).to(self._device), sizes)
        at_once = None if lookup or cut == 0 else PREFIX_BATCH
        load = lookup or partial(self._computed, cut=cut)
        ready, done = torch.empty(0), 0
        for of_batch in labels:
            size = len(of_batch)
            while len(ready) < size:
                part = slice(done, done + (at_once or size))
                more = load(order[part], None if versions is None else versions[part])
                ready = torch.cat([ready, more]) if len(ready) else more
                done += len(more)
            batch = ready[:size]
            yield batch.float() if cut and self._rounded_to else batch, of_batch
            ready = ready[size:]

    def _computed(self, positions: np.ndarray, versions: np.ndarray | None, *, cut: int) -> Tensor:
        images = self.images(positions, versions)
        if cut == 0:
            return images
        features = self._through(images, 0, cut)
        return features if self._rounded_to is None else features.to(self._rounded_to)

    @torch.no_grad()
    def _through(self, x: Tensor, start: int, cut: int) -> Tensor:
        """What leaves the prefix, of at most `PREFIX_BATCH` images."""
        count = len(x)
        if count < PREFIX_BATCH:
            x = torch.cat([x, x[:1].expand(PREFIX_BATCH - count, *x.shape[1:])])
        with autocast(self._device, self._recipe.train):
            return self._built.model.prefix(x, cut, start=start)[:count]

    # --- kept features ----------------------------------------------------------------------------------------------

    def _lookup(
        self, positions: np.ndarray, versions: np.ndarray | None, stage: int
    ) -> tuple[Lookup | None, str | None]:
        """Where an epoch finds features, which are computed now if nobody has; or why there is no such place."""
        reason, cut = why_uncached(self._recipe, stage), self._recipe.cut(stage)
        views: list[int | None] = [None] if versions is None else sorted(set(versions.tolist()))
        try:
            if reason:
                raise UncachedError(reason)
            kept = [self._cache.features(self._shared(positions, view), cut) for view in views]
        except UncachedError as error:
            return None, str(error)

        def lookup(wanted: np.ndarray, of_versions: np.ndarray | None) -> Tensor:
            rows = torch.from_numpy(np.searchsorted(positions, wanted))
            if of_versions is None or len(views) == 1:
                return gather_features(kept[0], rows).to(self._device, non_blocking=True)
            which = torch.from_numpy(np.searchsorted(np.array(views), of_versions))
            by_view = torch.argsort(which, stable=True)
            parts = [gather_features(kept[i], rows[which == i]) for i in range(len(views))]
            together = torch.cat([part for part in parts if len(part)])
            return gather_features(together, torch.argsort(by_view)).to(self._device, non_blocking=True)

        return lookup, None

    def _shared(self, positions: np.ndarray, view: int | None) -> Images:
        """The training or validation images in one view."""
        train, model = self._recipe.train, self._recipe.model
        augmented = None if view is None or train.augment is None else [train.augment.model_dump(), train.seed, view]
        depends_on = {
            "data": [self._dataset.fingerprint, self._dataset.images.shape],
            "positions": hashlib.sha256(positions.astype("<i8").tobytes()).hexdigest(),
            "view": augmented,
            "network": [model.backbone, self._built.fingerprint, self._built.mean, self._built.std],
            "numbers": [train.precision, train.prefix_dtype, PREFIX_BATCH, torch.__version__],
            # What else can move the last bit.
            "device": [self._device.type, torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()],
        }
        side = "validation images" if positions is self._dataset.validation else "training images"
        versions = np.full(PREFIX_BATCH, view) if augmented else None

        def load(wanted: np.ndarray) -> Tensor:
            return self.images(wanted, None if versions is None else versions[: len(wanted)])

        return Images(
            name=side if augmented is None else f"{side}, view {view}",
            key=json.dumps(depends_on, sort_keys=True),
            source=f"{self._recipe.data.source} {self._recipe.data.path or ''}".strip(),
            positions=positions,
            load=load,
        )
