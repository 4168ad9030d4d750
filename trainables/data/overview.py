"""A data set in numbers: images of each class and groups on each side of the split."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from trainables.data.dataset import Dataset
from trainables.data.splits.by_number import BINS, quantile_bins


@dataclass(frozen=True)
class GroupSides:
    """How many groups, patients say, are where."""

    train: int
    validation: int
    shared: int
    """On both sides, which should be none."""


@dataclass(frozen=True)
class Overview:
    """Images and groups on each side."""

    classes: tuple[str, ...]
    train: tuple[int, ...]
    """[c] training images of each class."""
    validation: tuple[int, ...]
    """[c] validation images of each class."""
    groups: GroupSides | None
    """None where each image stands for itself."""

    @property
    def imbalance(self) -> float:
        """Training images of the largest class over those of the smallest."""
        return max(self.train) / min(self.train)


def in_tenths(dataset: Dataset) -> Dataset:
    """A data set of numbers with each tenth of its images, by their number, as a class; any other as it is."""
    targets = dataset.targets
    if targets is None:
        return dataset
    labels = quantile_bins(targets, min(BINS, len(targets)))
    ranges = [targets[labels == j] for j in range(labels.max() + 1)]
    names = tuple(f"{of_bin.min():g} … {of_bin.max():g}" for of_bin in ranges)
    return replace(dataset, labels=labels, classes=names, targets=None)


def overview(dataset: Dataset, groups: np.ndarray | None) -> Overview:
    """Counts a data set.

    Args:
        groups: [n] one number for each group, as the source gives them.
    """
    counts = [np.bincount(dataset.labels[side], minlength=len(dataset.classes)) for side in _sides(dataset)]
    train, validation = (tuple(count.tolist()) for count in counts)
    return Overview(dataset.classes, train, validation, None if groups is None else _group_sides(dataset, groups))


def _sides(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    return dataset.train, dataset.validation


def _group_sides(dataset: Dataset, groups: np.ndarray) -> GroupSides:
    train, validation = (np.unique(groups[side]) for side in _sides(dataset))
    return GroupSides(len(train), len(validation), len(np.intersect1d(train, validation)))
