"""`ImageLoader`: images of a run as its network sees them, gathered, augmented and normalised."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from trainables.data.batches.augment import augment
from trainables.data.batches.batches import gather, normalise, own_statistics, standardise
from trainables.data.dataset import Dataset
from trainables.data.stage_view import data_of_stage
from trainables.recipe.backbone_catalog import backbone_info
from trainables.recipe.recipe import Recipe


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
        """
        Args:
            recipe: of the run.
            dataset: all its images, at all sizes of its stages.
            mean, std: [channels] that the network's weights were trained with, of images scaled to 0..1.
            device: where the images are to be.
        """
        self._recipe, self._device = recipe, device
        self.mean, self.std = mean, std
        self._standardises = backbone_info(recipe.model.backbone).standardises
        self.of_stage = functools.cache(functools.partial(data_of_stage, recipe, dataset))
        """`of_stage(stage)`: the data set as a stage sees it."""

    def load(self, positions: np.ndarray, versions: np.ndarray | None = None, *, stage: int = 0) -> Tensor:
        """[b, c, h, w], or volumes [b, c, d, h, w], float32: images as the network sees them in a stage.

        Args:
            positions: [b] positions in the data set.
            versions: [b] version of each to augment it to; None: as they are.
            stage: index of the stage, for its image size.
        """
        images, _ = gather(self.of_stage(stage), positions, self._device)
        # Before augmentation: a network that standardises must still see varied brightness and contrast.
        statistics = own_statistics(images) if self._standardises else None
        train = self._recipe.train
        if train.augment and versions is not None:
            images = augment(images, train.augment, seed=train.seed, positions=positions, versions=versions)
        return standardise(images, *statistics) if statistics else normalise(images, self.mean, self.std)
