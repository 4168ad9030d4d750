"""`Dataset`: the images of a data config, opened and split. Trials in one process share it."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import numpy as np

from trainables.data.groups import grouped_sides
from trainables.data.sources import Source, open_source
from trainables.data.splits import given_split, long_tailed, stratified_folds, stratified_split
from trainables.data.store import Progress, open_store
from trainables.data_config import DEFAULT_VALIDATION, DataConfig


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels, and which of them train and which judge. Every class has at least one image on either side."""

    images: np.ndarray
    """[n, h, w, c] uint8, memory-mapped and read-only; c is 1 where all images are grey, else 3."""
    labels: np.ndarray
    """[n] int64, positions in `classes`."""
    classes: tuple[str, ...]
    train: np.ndarray
    """[k] int64, positions of the training images, ascending."""
    validation: np.ndarray
    """[m] int64, positions of the validation images, ascending."""
    fingerprint: str
    """SHA-256 (hex) of images, labels and class names, whatever the split."""
    weights: np.ndarray | None = None
    """[n] float64, from 0: how much each image counts in the training loss; None: all alike."""

    @property
    def train_counts(self) -> np.ndarray:
        """[c] int64, training images of each class."""
        return np.bincount(self.labels[self.train], minlength=len(self.classes))


def open_dataset(config: DataConfig, *, progress: Progress | None = None) -> Dataset:
    """The data set of a config: decoded on first use, after that a matter of milliseconds.

    Within a process the same config gives the same object until a file of the source changes.

    Args:
        progress: called as `progress(done, total)` while images are decoded.
    Raises:
        ConfigError: if the source cannot be used or split as the config says.
    """
    return _open(_Request(config, open_source(config), progress))


@dataclass(frozen=True)
class _Request:
    """What tells one open data set from another: config and content, not how progress is shown."""

    config: DataConfig
    source: Source
    progress: Progress | None = field(compare=False)


@functools.lru_cache(maxsize=4)
def _open(request: _Request) -> Dataset:
    config, source = request.config, request.source
    # Split first: it may find a mistake, and decoding may take minutes.
    train, validation = _split(config, source)
    if config.long_tail:
        train = long_tailed(train, source.labels, config.long_tail, config.seed, classes=source.classes)
    store = open_store(source, config.image_size, progress=request.progress)
    return Dataset(
        store.images, source.labels, source.classes, train, validation, store.fingerprint, weights=source.weights
    )


def _split(config: DataConfig, source: Source) -> tuple[np.ndarray, np.ndarray]:
    """Positions that train and that judge: as the source says, by fold or by share, groups whole."""
    labels, classes = source.labels, source.classes
    if source.judges is not None:
        split_column = ("data", "columns", "split")
        said_at = split_column if config.source == "table" else ("data", "path")
        return given_split(source.judges, labels, classes=classes, place=said_at)
    if config.folds is None:
        validation = DEFAULT_VALIDATION if config.validation is None else config.validation
        if source.groups is None:
            return stratified_split(labels, validation, config.seed, classes=classes)
        shares, place, judging = [1 - validation, validation], "validation", 1
    else:
        shares, place, judging = [1 / config.folds] * config.folds, "folds", config.fold or 0
    if source.groups is None:
        sides = stratified_folds(labels, len(shares), config.seed, classes=classes)
    else:
        sides = grouped_sides(labels, source.groups, shares, config.seed, classes=classes, place=place)
    return np.flatnonzero(sides != judging), np.flatnonzero(sides == judging)
