"""`ImageLoader`: images of a run as its network sees them, gathered, augmented and normalised."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from trainables.data.batches.augment import augment
from trainables.data.batches.batches import gather_each, normalise, own_statistics, standardise
from trainables.data.dataset import Dataset
from trainables.data.stage_view import data_of_stage
from trainables.models.precision import laid_out
from trainables.recipe.backbone_catalog import backbone_info
from trainables.recipe.recipe import Recipe

Part = tuple[np.ndarray, np.ndarray | None]
"""Positions [b] of some images in the data set, and [b] numbers of the augmented views to make; None: images are not augmented."""


class ImageLoader:
    """Images of a run, by their positions in its data set."""

    def __init__(
        self,
        recipe: Recipe,
        dataset: Dataset,
        *,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        device: torch.device,
    ):
        """Prepares the images of a run.

        Args:
            recipe: recipe of the run.
            dataset: data set of the run, with images at all sizes of its stages.
            mean, std: [channels] statistics of the network's pretraining, of images scaled to 0..1.
            device: device the images go to.
        """
        self._recipe, self._device = recipe, device
        self.mean, self.std = mean, std
        self._standardises = backbone_info(recipe.model.backbone).standardises
        self.of_stage = functools.cache(functools.partial(data_of_stage, recipe, dataset))
        """Data set as a stage sees it, by the stage's position."""

    def load(self, positions: np.ndarray, versions: np.ndarray | None = None, *, stage: int = 0) -> Tensor:
        """Loads images as the network sees them in a stage.

        Args:
            positions: [b] positions of the images in the data set.
            versions: [b] numbers of the augmented views to make; None: images are not augmented.
            stage: position of the stage.
        Returns:
            [b, c, h, w], or [b, c, d, h, w] for volumes, float32.
        """
        (images,) = self.load_each([(positions, versions)], stage=stage)
        return images

    def load_each(self, parts: Sequence[Part], *, stage: int = 0) -> Iterator[Tensor]:
        """Yields the images of each part as the network sees them in a stage, see `load`; streamed images are decoded ahead.

        Args:
            parts: positions and versions of each part.
            stage: position of the stage.
        """
        gathered = gather_each(self.of_stage(stage).images, [positions for positions, _ in parts], self._device)
        for (positions, versions), images in zip(parts, gathered, strict=True):
            yield self._as_input(images, positions, versions)

    def _as_input(self, images: Tensor, positions: np.ndarray, versions: np.ndarray | None) -> Tensor:
        # Taken before augmentation: standardising afterwards would undo changes of brightness and contrast.
        statistics = own_statistics(images) if self._standardises else None
        train = self._recipe.train
        if train.augment and versions is not None:
            images = augment(images, train.augment, seed=train.seed, positions=positions, versions=versions)
        if statistics:
            return laid_out(standardise(images, *statistics, noise=self._recipe.data.background == "noise"))
        return laid_out(normalise(images, self.mean, self.std))
