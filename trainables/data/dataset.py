"""`Dataset`: the images of a data config, opened and split. Trials in one process share it."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from trainables.data.groups import grouped_sides
from trainables.data.left_out import LeftOut, without
from trainables.data.number_splits import split_by_number
from trainables.data.sources import Source, absolute, open_source
from trainables.data.splits import given_split, long_tailed, stratified_folds, stratified_split
from trainables.data.store import Progress, open_stores
from trainables.data_config import DEFAULT_VALIDATION, DataConfig


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels, and which of them train and which judge. Every class has at least one image on either side.

    Where regression is the task there are no classes, all labels are 0, and `targets` has the numbers.
    """

    images: np.ndarray
    """[n, h, w, c], or [n, d, h, w, c] of volumes: uint8 or uint16, memory-mapped and read-only; c is 1 where all images are grey,
    else 3."""
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
    weights: np.ndarray | None = None
    """[n] float64, from 0: how much each image counts in the training loss; None: all alike."""
    images_at: Mapping[int, np.ndarray] = field(default_factory=dict)
    """Side in pixels -> [n, (d,) side, side, c], the same images at each size that `open_dataset` was asked for."""
    left_out: LeftOut | None = None
    """Images of the source that are not among these, because they cannot be read."""

    @property
    def truth(self) -> np.ndarray:
        """[n] what is to be predicted: labels, or targets where there are any."""
        return self.labels if self.targets is None else self.targets

    @property
    def size(self) -> str:
        """Of an image: `96 px`, or `32 × 96 × 96 voxels`."""
        *_, side, _ = self.images.shape
        return f"{side} px" if self.images.ndim == 4 else f"{' × '.join(map(str, self.images.shape[1:-1]))} voxels"

    @property
    def train_counts(self) -> np.ndarray:
        """[c] int64, training images of each class."""
        return np.bincount(self.labels[self.train], minlength=len(self.classes))


def open_dataset(config: DataConfig, *, image_sizes: Collection[int] = (), progress: Progress | None = None) -> Dataset:
    """The data set of a config: decoded on first use, after that a matter of milliseconds.

    Within a process the same config and sizes give the same object until a file of the source changes.

    Args:
        image_sizes: sides in pixels that are wanted in `images_at` beside `config.image_size`.
        progress: called as `progress(done, total)` while images are decoded, once for all sizes.
    Raises:
        ConfigError: if the source cannot be used or split as the config says.
    """
    return _open(_Request(config, frozenset({config.image_size, *image_sizes}), open_source(config), progress))


@dataclass(frozen=True)
class _Request:
    """What tells one open data set from another: config, sizes and content, not how progress is shown."""

    config: DataConfig
    image_sizes: frozenset[int]
    source: Source
    progress: Progress | None = field(compare=False)


@functools.lru_cache(maxsize=4)
def _open(request: _Request) -> Dataset:
    config, source = request.config, request.source
    # Split first: it may find a mistake, and decoding may take minutes.
    train, validation = _split(config, source)
    stores = open_stores(
        source,
        request.image_sizes,
        depth=config.depth,
        about=_described(config),
        on_bad=config.on_bad,
        progress=request.progress,
    )
    store, left_out = stores[config.image_size], None
    if len(store.left_out):
        left_out = LeftOut(len(store.left_out), len(source.labels), store.listing)
        source = without(source, store.left_out, store.listing)
        train, validation = _split(config, source)  # shares and counts are those of the images that are left
    images_at = {size: stores[size].images for size in sorted(stores)}
    fingerprint = store.fingerprint
    if source.targets is not None:  # no part of the store: the same images need not be decoded again for other numbers
        fingerprint = hashlib.sha256(fingerprint.encode() + source.targets.astype("<f8").tobytes()).hexdigest()
    return Dataset(
        store.images,
        source.labels,
        source.classes,
        train,
        validation,
        fingerprint,
        targets=source.targets,
        images_at=images_at,
        left_out=left_out,
        weights=source.weights,
    )


def _described(config: DataConfig) -> str:
    """`folder /data/photos`"""
    return config.source if config.path is None else f"{config.source} {absolute(config.path)}"


def _split(config: DataConfig, source: Source) -> tuple[np.ndarray, np.ndarray]:
    """Positions that train and that judge, the former long-tailed where that is asked for."""
    train, validation = sides_of(config, source)
    if config.long_tail:
        train = long_tailed(train, source.labels, config.long_tail, config.seed, classes=source.classes)
    return train, validation


def sides_of(config: DataConfig, source: Source) -> tuple[np.ndarray, np.ndarray]:
    """Positions that train and that judge: as the source says, by fold or by share, groups whole.

    Raises:
        ConfigError: if a class would miss on a side.
    """
    labels, classes = source.labels, source.classes
    if source.targets is not None:
        return split_by_number(config, source.targets, groups=source.groups, judges=source.judges)
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
