"""`FrozenPrefix`: features after a stage's frozen blocks, read from the cache or computed when they are needed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import starmap
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainables.data.batches.gpu_resident import resident_features
from trainables.data.batches.image_loader import ImageLoader, Part
from trainables.data.dataset import Dataset
from trainables.frozen_prefix.feature_cache import CachedImages, PrefixCache, Progress, UncachedError
from trainables.frozen_prefix.feature_file import gather_features
from trainables.models.build_model import BuiltModel
from trainables.models.precision import autocast
from trainables.models.staged_model import StagedModel
from trainables.recipe.recipe import Recipe
from trainables.recipe.rules.prefix_rules import epochs_by_cut, prefix_batch, why_uncached

Load = Callable[[Sequence[Part]], Iterator[Tensor]]
"""Yields the features [b, …] of the images of each part."""


class StageImages(NamedTuple):
    """Training or validation images of a stage."""

    data: Dataset
    """Data set as the stage sees it."""
    positions: np.ndarray
    """[n] positions in the data set, ascending."""
    stage: int
    trains: bool
    """True for training images, False for validation images."""


def apply_prefix(model: StagedModel, x: Tensor, cut: int, *, start: int = 0, batch: int) -> Tensor:
    """Passes at most `batch` images through the blocks from `start` to `cut`.

    They are padded to `batch`, because on CPU the last bits of an image's features depend on the number of images.

    Args:
        model: model with the blocks.
        x: [b, …] input of block `start`.
        cut: position of the first block that is not applied.
        start: position of the first block that is applied.
        batch: number of images to pad to.
    Returns:
        [b, …] input of block `cut`.
    """
    count = len(x)
    if count < batch:
        x = torch.cat([x, x[:1].expand(batch - count, *x.shape[1:])])
    return model.prefix(x, cut, start=start)[:count]


class FrozenPrefix:
    """Frozen blocks of a run's stages, with the cache of their features."""

    def __init__(
        self,
        recipe: Recipe,
        built: BuiltModel,
        images: ImageLoader,
        *,
        device: torch.device,
        sharing_runs: int,
        progress: Progress | None,
    ):
        """Prepares the frozen blocks of a run.

        Args:
            recipe: recipe of the run.
            built: model of the run, already on the device.
            images: loads the images.
            device: device the features go to.
            sharing_runs: runs that are expected to need the same features, this one included.
            progress: callback for the progress of computing features to cache.
        """
        self._recipe, self._built, self._images, self._device = recipe, built, images, device
        self._sharing_runs, self._batch = sharing_runs, prefix_batch(recipe)
        rounded = recipe.train.prefix_dtype == "bf16" and recipe.train.precision == "fp32"
        self._rounded_to = torch.bfloat16 if rounded else None
        self.cache = PrefixCache(
            self.apply,
            blocks=recipe.blocks,
            cut_keys=recipe.cut_keys,
            batch=self._batch,
            rounded_to=self._rounded_to,
            progress=progress,
        )

    @property
    def cache_s(self) -> float:
        """Seconds spent so far on computing features for the cache."""
        return self.cache.spent_s

    @torch.no_grad()
    def apply(self, x: Tensor, start: int, cut: int) -> Tensor:
        """Passes at most a prefix batch of images through the blocks from `start` to `cut`, in the precision of the recipe.

        Args:
            x: [b, …] input of block `start`.
            start: position of the first block that is applied.
            cut: position of the first block that is not applied.
        Returns:
            [b, …] input of block `cut`.
        """
        with autocast(self._device, self._recipe.train):
            return apply_prefix(self._built.model, x, cut, start=start, batch=self._batch)

    def compute(self, stage_images: StageImages, parts: Sequence[Part]) -> Iterator[Tensor]:
        """Computes the features of the images of each part now.

        Args:
            stage_images: training or validation images of a stage.
            parts: positions and versions of the images.
        Yields:
            [b, …] output of the stage's frozen blocks; the images themselves if no block is frozen.
        """
        for images in self._images.load_each(parts, stage=stage_images.stage):
            yield self.features(images, self._recipe.cut(stage_images.stage))

    def features(self, images: Tensor, cut: int) -> Tensor:
        """Passes at most a prefix batch of images through all frozen blocks, and rounds the result as the recipe says.

        Args:
            images: [b, channels, h, w] or [b, channels, d, h, w] normalised images.
            cut: position of the first open block.
        Returns:
            [b, …] input of block `cut`; the images themselves if no block is frozen.
        """
        if cut == 0:
            return images
        features = self.apply(images, 0, cut)
        return features if self._rounded_to is None else features.to(self._rounded_to).float()

    def cached(self, stage_images: StageImages, versions: np.ndarray | None) -> tuple[Load | None, str | None]:
        """Opens the cached features of an epoch, computing them first if necessary.

        Args:
            stage_images: training or validation images of a stage.
            versions: [n] numbers of the augmented views that the epoch shows; None: images are not augmented.
        Returns:
            Function that looks up features, and None; or None and the reason why the features are not cached.
        """
        if reason := why_uncached(self._recipe, stage_images.stage, trains=stage_images.trains):
            return None, reason
        cut = self._recipe.cut(stage_images.stage)
        views: list[int | None] = [None] if versions is None else sorted(set(versions.tolist()))
        try:
            features = [self.cache.features(self._in_view(stage_images, view), cut) for view in views]
        except UncachedError as error:
            return None, str(error)
        return self._lookup(stage_images, views, features), None

    def _lookup(self, stage_images: StageImages, views: list[int | None], features: list[Tensor]) -> Load:
        """Returns the function that looks up images in the features of some views.

        Args:
            stage_images: training or validation images of a stage.
            views: numbers of the augmented views; None: images are not augmented.
            features: [n, …] of each view, in the order of their positions.
        """
        on_device = [resident_features(of_view, self._device) for of_view in features]
        has_room = len({of_view.device for of_view in on_device}) == 1
        held = on_device if has_room else features  # all views in one place

        def lookup(positions: np.ndarray, versions: np.ndarray | None) -> Tensor:
            rows = torch.from_numpy(np.searchsorted(stage_images.positions, positions)).to(held[0].device)
            if versions is None or len(views) == 1:
                found = gather_features(held[0], rows)
            else:
                which = torch.from_numpy(np.searchsorted(np.array(views), versions)).to(held[0].device)
                parts = [gather_features(of_view, rows[which == i]) for i, of_view in enumerate(held)]
                place = torch.argsort(torch.argsort(which, stable=True))
                found = gather_features(torch.cat([part for part in parts if len(part)]), place)
            found = found.to(self._device, non_blocking=True)
            return found if self._rounded_to is None else found.float()

        return partial(starmap, lookup)

    def _in_view(self, stage_images: StageImages, view: int | None) -> CachedImages:
        recipe, train, model = self._recipe, self._recipe.train, self._recipe.model
        augmented = None if view is None or train.augment is None else [train.augment.model_dump(), train.seed, view]
        depends_on = {
            "data": [stage_images.data.fingerprint, stage_images.data.images.shape[1:]],
            "positions": hashlib.sha256(stage_images.positions.astype("<i8").tobytes()).hexdigest(),
            "view": augmented,
            "network": [model.backbone, self._built.fingerprint, self._built.mean, self._built.std],
            **({} if recipe.data.background == "black" else {"background": recipe.data.background}),
            "numbers": [train.precision, train.prefix_dtype, self._batch, torch.__version__],
            # These can change the last bits, too.
            "device": [self._device.type, torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()],
        }
        name = "training images" if stage_images.trains else "validation images"
        versions = np.full(self._batch, view) if augmented else None
        views = (train.augment.views or 1) if augmented and train.augment else 1
        epochs = epochs_by_cut(recipe, stage_images.stage, trains=stage_images.trains)

        def load(chunks: Sequence[np.ndarray]) -> Iterator[Tensor]:
            parts = [(positions, None if versions is None else versions[: len(positions)]) for positions in chunks]
            return self._images.load_each(parts, stage=stage_images.stage)

        return CachedImages(
            name=name if augmented is None else f"{name}, view {view}",
            key=json.dumps(depends_on, sort_keys=True),
            source=f"{recipe.data.source} {recipe.data.path or ''}".strip(),
            positions=stage_images.positions,
            load=load,
            epochs={cut: count * self._sharing_runs / views for cut, count in epochs.items()},
        )
