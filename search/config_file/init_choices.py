"""Choices of `thaw init`: pure functions of a few facts about the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from trainables.data.detection.detect_source import DetectedSource
from trainables.data.detection.sample import Sample
from trainables.recipe.backbone_catalog import BACKBONES, BackboneInfo
from trainables.recipe.data_settings.image_settings import Fit
from trainables.recipe.rules.stage_plans import Plan

IMAGE_BACKBONE = "efficientnet_lite0"
VOLUME_BACKBONE = "medicalnet_resnet10"
_IMBALANCED_FROM = 3.0
"""Ratio of the largest to the smallest class, in training images, from which losses for imbalanced data are searched."""
_FEW_IMAGES = 100
"""Training images below which batches are small even for few images."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Facts about the data on which the choices depend."""

    counts: Mapping[str, int]
    """Images of each class that can train: all of them, or the training rows if the split is given. Empty in regression."""
    trained: int
    """Number of training images."""
    sides: tuple[int, int, int]
    """Smallest, median and largest of the images' shorter sides, in pixels."""
    fit: Fit = "crop"
    """Way to make the images square."""
    depths: tuple[int, int, int] | None = None
    """Smallest, median and largest number of slices of volumes; None for images."""
    targets: tuple[float, float] | None = None
    """Smallest and largest number in regression; None in classification."""
    plan: Plan | None = None
    """Plan of stages that the user names."""
    total: int = 0
    """Number of images that train or validate."""

    @property
    def imbalance(self) -> float:
        return max(self.counts.values()) / min(self.counts.values()) if self.counts else 1.0

    @property
    def imbalanced(self) -> bool:
        """True if losses for imbalanced data are searched."""
        return self.imbalance >= _IMBALANCED_FROM

    @property
    def images(self) -> str:
        """Word for what is classified."""
        return "images" if self.depths is None else "volumes"


def facts_of(found: DetectedSource) -> Facts:
    """Facts about detected data, and its split."""
    source = found.source
    labels = source.labels if "validation" in found.data else source.labels[found.train]
    counts = np.bincount(labels, minlength=len(source.classes)).tolist() if source.targets is None else []
    numbers = source.targets
    return Facts(
        counts=dict(zip(source.classes, counts, strict=True)),
        trained=len(found.train),
        sides=found.sample.sides,
        fit=found.sample.fit,
        depths=found.sample.depths,
        targets=None if numbers is None else (float(numbers.min()), float(numbers.max())),
        total=len(labels),
    )


def image_size(median_side: int, multiple: int = BACKBONES[IMAGE_BACKBONE].size_multiple) -> int:
    """Image size: the images' own, rounded up to what the backbone takes, from 64 to 224 px."""
    return min(224, max(64, -(-median_side // multiple) * multiple))


def volume_side(median_side: int) -> int:
    """Height and width of slices: their own in steps of 8, from 16 to 96 voxels, for the time that volumes take."""
    return min(96, max(16, -(-median_side // 8) * 8))


def volume_depth(median_depth: int) -> int:
    """Number of slices: their own in steps of 8, from 8 to 64."""
    return min(64, max(8, -(-median_depth // 8) * 8))


def batch_size(trained: int, *, volumes: bool = False) -> int:
    """Batch size: small for few images, for enough steps per epoch; larger for many. No last batch has a single image, of which a
    BatchNorm learns nothing."""
    usual = 4 if volumes else 8 if trained < _FEW_IMAGES else 16 if trained < 500 else 32 if trained < 5000 else 64
    return next((size for size in range(min(usual, trained), 2, -1) if trained % size != 1), 2)


def size_settings(sample: Sample, backbone: BackboneInfo) -> dict[str, int | str]:
    """Size of the images as a network sees them, and the way to make them square, as keys of `data`.

    Args:
        sample: some images.
        backbone: the network.
    """
    _, middle, _ = sample.sides
    if sample.depths is not None:
        return {"image_size": volume_side(middle), "depth": volume_depth(sample.depths[1])}
    return {"image_size": backbone.only_size or image_size(middle, backbone.size_multiple), "fit": sample.fit}
