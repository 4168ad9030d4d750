"""`Dataset`: the images of a data config, opened and split. Trials in one process share it."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, field

import numpy as np

from trainables.data.groups import grouped_sides
from trainables.data.number_splits import split_by_number
from trainables.data.sources import Source, open_source
from trainables.data.splits import given_split, long_tailed, stratified_folds, stratified_split
from trainables.data.store import Progress, open_store
from trainables.data_config import DataConfig


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels, and which of them train and which judge. Every class has at least one image on either side.

    Where regression is the task there are no classes, all labels are 0, and `targets` has the numbers.
    """

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
    """SHA-256 (hex) of images, labels, class names and targets, whatever the split."""
    targets: np.ndarray | None = None
    """[n] float64, what regression predicts; None in classification."""

    @property
    def truth(self) -> np.ndarray:
        """[n] what is to be predicted: labels, or targets where there are any."""
        return self.labels if self.targets is None else self.targets

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
    fingerprint, targets = store.fingerprint, source.targets
    if targets is not None:  # no part of the store: the same images need not be decoded again for other numbers
        fingerprint = hashlib.sha256(fingerprint.encode() + targets.astype("<f8").tobytes()).hexdigest()
    return Dataset(store.images, source.labels, source.classes, train, validation, fingerprint, targets)


def _split(config: DataConfig, source: Source) -> tuple[np.ndarray, np.ndarray]:
    """Positions that train and that judge: as the source says, by fold or by share, groups whole."""
    labels, classes = source.labels, source.classes
    if source.targets is not None:
        return split_by_number(config, source.targets, groups=source.groups, judges=source.judges)
    if source.judges is not None:
        return given_split(source.judges, labels, classes=classes)
    if config.folds is None:
        assert config.validation is not None, "DataConfig asks for one way to split"
        if source.groups is None:
            return stratified_split(labels, config.validation, config.seed, classes=classes)
        shares, place, judging = [1 - config.validation, config.validation], "validation", 1
    else:
        shares, place, judging = [1 / config.folds] * config.folds, "folds", config.fold or 0
    if source.groups is None:
        sides = stratified_folds(labels, len(shares), config.seed, classes=classes)
    else:
        sides = grouped_sides(labels, source.groups, shares, config.seed, classes=classes, place=place)
    return np.flatnonzero(sides != judging), np.flatnonzero(sides == judging)
