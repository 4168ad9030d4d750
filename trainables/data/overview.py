"""Counts of a data set: images of each class and groups on each side of the split."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from trainables.data.dataset import Dataset
from trainables.data.formats.nifti import is_nifti_name, read_grid
from trainables.data.splits.by_number import BINS, quantile_bins
from trainables.recipe.data_settings.image_settings import Spacing
from trainables.storage.urls import is_url

_MOST_HEADERS = 1000
"""Most volumes whose headers are read."""


@dataclass(frozen=True)
class GroupSides:
    """Number of groups, such as patients, on each side of the split."""

    train: int
    validation: int
    shared: int
    """Number of groups on both sides, which should be 0."""


@dataclass(frozen=True)
class VoxelSpacing:
    """Distance between the voxels of the volumes' files: slices, rows and columns, in mm."""

    smallest: Spacing
    median: Spacing
    largest: Spacing
    extent: Spacing
    """Extent of the largest volume along each axis, in mm."""


@dataclass(frozen=True)
class Overview:
    """Number of images and groups on each side of the split."""

    classes: tuple[str, ...]
    train: tuple[int, ...]
    """[c] training images of each class."""
    validation: tuple[int, ...]
    """[c] validation images of each class."""
    groups: GroupSides | None
    """None if the source has no groups."""
    copies: int
    """Number of images with the same pixels as an earlier one."""
    near_copies: int
    """Number of images that show nearly the same picture as an earlier one, and are no copies."""
    spacing: VoxelSpacing | None = None
    """None if the images are not volumes of known spacing."""
    of_numbers: bool = False
    """True for a regression, whose classes are tenths of the images by their numbers."""

    @property
    def imbalance(self) -> float:
        """Ratio of training images of the largest class to those of the smallest."""
        return max(self.train) / min(self.train)


def tenths_as_classes(dataset: Dataset) -> Dataset:
    """Regression data set with each tenth of its images, by their number, as a class; other data sets are returned unchanged."""
    targets = dataset.targets
    if targets is None:
        return dataset
    labels = quantile_bins(targets, min(BINS, len(targets)))
    ranges = [targets[labels == j] for j in range(labels.max() + 1)]
    names = tuple(f"{numbers.min():g} … {numbers.max():g}" for numbers in ranges)
    return replace(dataset, labels=labels, classes=names, targets=None)


def overview(dataset: Dataset) -> Overview:
    """Counts the images and groups of a data set; those of a regression by tenths of the images."""
    of_numbers = dataset.targets is not None
    dataset = tenths_as_classes(dataset)
    counts = [np.bincount(dataset.labels[side], minlength=len(dataset.classes)) for side in _sides(dataset)]
    train, validation = (tuple(count.tolist()) for count in counts)
    groups = None if dataset.groups is None else _group_sides(dataset, dataset.groups)
    return Overview(
        dataset.classes, train, validation, groups, *_repeats(dataset), _spacing(dataset), of_numbers=of_numbers
    )


def _spacing(dataset: Dataset) -> VoxelSpacing | None:
    """Spacing of the volumes, or of some of many, evenly spaced; None if they are not files on this machine."""
    if dataset.images.ndim != 5 or dataset.details is None:
        return None
    names = dataset.details.names
    some = [names[i] for i in np.unique(np.linspace(0, len(names) - 1, _MOST_HEADERS).astype(int)).tolist()]
    grids = [grid for name in some if is_nifti_name(name) and not is_url(name) and (grid := read_grid(Path(name)))]
    if not grids:
        return None
    shapes, spacings = (np.array(column) for column in zip(*grids, strict=True))
    found = spacings.min(0), np.median(spacings, 0), spacings.max(0), (shapes * spacings).max(0)
    return VoxelSpacing(*((float(z), float(y), float(x)) for z, y, x in found))


def _sides(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    return dataset.train, dataset.validation


def _group_sides(dataset: Dataset, groups: np.ndarray) -> GroupSides:
    train, validation = (np.unique(groups[side]) for side in _sides(dataset))
    return GroupSides(len(train), len(validation), len(np.intersect1d(train, validation)))


def _repeats(dataset: Dataset) -> tuple[int, int]:
    if dataset.details is None:
        return 0, 0
    own, facts = np.arange(len(dataset.images)), dataset.details.facts
    copies = facts["copy_of"] != own
    return int(copies.sum()), int(((facts["like"] != own) & ~copies).sum())
