"""`Dataset`: the images of a data config, opened and split. Trials in the same process share it."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from trainables.core.config_errors import ConfigError, Problem, listed
from trainables.core.seeding import derived_seed
from trainables.data.sources.class_mapping import check_class_names
from trainables.data.sources.open_source import open_source, open_test_source
from trainables.data.sources.source import Source
from trainables.data.sources.tables.time_levels import TimeLevels, fitted_levels
from trainables.data.sources.unreadable_images import LeftOut, without
from trainables.data.splits.by_class import given_split, long_tailed, stratified_folds, stratified_split
from trainables.data.splits.by_group import grouped_sides, joined_groups
from trainables.data.splits.by_number import split_by_number
from trainables.data.store.build_stores import Progress
from trainables.data.store.config_stores import stores_of
from trainables.data.store.decoded_images import why_streamed
from trainables.data.store.image_details import ImageDetails
from trainables.data.store.images import Images
from trainables.recipe.data_config import DEFAULT_VALIDATION, DataConfig
from trainables.recipe.source_catalog import source_spec


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images, labels and split. Every class has at least one training and one validation image.

    For regression there are no classes, all labels are 0, and `targets` has the numbers.
    """

    images: Images
    """[n, h, w, c], or volumes [n, d, h, w, c]: uint8 or uint16, memory-mapped and read-only, or streamed; c is 1 if all images are
    grey, else 3."""
    labels: np.ndarray
    """[n] int64, positions in `classes`."""
    classes: tuple[str, ...]
    train: np.ndarray
    """[k] int64, positions of the training images, ascending."""
    validation: np.ndarray
    """[m] int64, positions of the validation images, ascending."""
    fingerprint: str
    """SHA-256 (hex) of images, labels, class names and targets; independent of the split."""
    targets: np.ndarray | None = None
    """[n] float64, numbers to predict in regression; None in classification."""
    time_levels: TimeLevels | None = None
    """Levels by which `targets` are adjusted for their times; None: they are not."""
    unadjusted: np.ndarray | None = None
    """[n] float64, `targets` before they were adjusted; None: they are not."""
    weights: np.ndarray | None = None
    """[n] float64, at least 0: weight of each image in the training loss; None: all equal."""
    images_at: Mapping[int, Images] = field(default_factory=dict)
    """Side in pixels -> [n, (d,) side, side, c]: the same images at each size requested from `open_dataset`."""
    test: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    """[t] int64, positions of the images that `data.test` sets aside, ascending; used neither for training nor for validation."""
    details: ImageDetails | None = None
    """Names, sizes and copies of the images; None if they were not opened from a source."""
    groups: np.ndarray | None = None
    """[n] int64, number of the group of each image, which stays on one side of the split; None: no groups."""
    left_out: LeftOut | None = None
    """Images of the source that are not included because they cannot be read."""
    streamed: str | None = None
    """Reason why some images are decoded again in each epoch, for people; None: all are in the cache."""
    notes: tuple[str, ...] = ()
    """Files, rows and images that the source leaves out, counted, and doubts about its labels: a line each, for people."""

    @property
    def split_fingerprint(self) -> str:
        """SHA-256 (hex) of the split into training and validation images, and of the weights of training images."""
        digest = hashlib.sha256(self.train.astype("<i8").tobytes() + b"|" + self.validation.astype("<i8").tobytes())
        if self.weights is not None:
            digest.update(self.weights.astype("<f8").tobytes())
        return digest.hexdigest()

    @property
    def truth(self) -> np.ndarray:
        """Values to predict, [n]: labels, or targets in regression."""
        return self.labels if self.targets is None else self.targets

    @property
    def size(self) -> str:
        """Size of an image, for people: `96 px`, or `32 × 96 × 96 voxels`."""
        *_, side, _ = self.images.shape
        return f"{side} px" if self.images.ndim == 4 else f"{' × '.join(map(str, self.images.shape[1:-1]))} voxels"

    @property
    def train_counts(self) -> np.ndarray:
        """Number of training images of each class, [c] int64."""
        return np.bincount(self.labels[self.train], minlength=len(self.classes))


def open_dataset(config: DataConfig, *, image_sizes: Collection[int] = (), progress: Progress | None = None) -> Dataset:
    """Opens the data set of a config. Images are decoded on first use; after that it takes milliseconds.

    Within a process, the same config and sizes give the same object until a file of the source changes.

    Args:
        config: the recipe's section `data`.
        image_sizes: sides in pixels to include in `images_at`, in addition to `config.image_size`.
        progress: called as `progress(done, total)` while images are decoded, once for all sizes.
    Raises:
        ConfigError: if the source cannot be used, or cannot be split as the config says.
    """
    return _open(_Request(config, frozenset({config.image_size, *image_sizes}), open_source(config), progress))


@dataclass(frozen=True)
class _Request:
    """Key of an open data set: config, sizes and content, but not how progress is shown."""

    config: DataConfig
    image_sizes: frozenset[int]
    source: Source
    progress: Progress | None = field(compare=False)


@functools.lru_cache(maxsize=4)
def _open(request: _Request) -> Dataset:
    config, source = request.config, request.source
    check_class_names(config, source.classes)
    # Split first, because it may find a mistake and decoding may take minutes.
    if config.duplicates == "group" and source.judges is not None:
        message = "group: the split is given, so that duplicates cannot be moved; remove it, or the given split"
        raise ConfigError([Problem(("data", "duplicates"), message)])
    train, validation, test = _split(config, source)
    stores = stores_of(config, source, request.image_sizes, progress=request.progress)
    store, left_out = stores[config.image_size], None
    if len(store.left_out):
        left_out = LeftOut(len(store.left_out), len(source.labels), store.listing)
        source = without(source, store.left_out, store.listing)
    if config.duplicates == "group":
        source = _with_duplicates_grouped(source, store.details.facts["like"])
    if left_out or config.duplicates == "group":
        train, validation, test = _split(config, source)  # again, for the images and the groups that there are
    images_at = {size: stores[size].images for size in sorted(stores)}
    fingerprint = store.fingerprint
    if source.targets is not None:  # not part of the store: the same images need not be decoded again for other numbers
        numbers = b"".join(
            column.astype("<f8").tobytes() for column in (source.targets, source.times) if column is not None
        )
        fingerprint = hashlib.sha256(fingerprint.encode() + numbers).hexdigest()
    dataset = Dataset(
        store.images,
        source.labels,
        source.classes,
        train,
        validation,
        fingerprint,
        targets=source.targets,
        images_at=images_at,
        test=test,
        details=store.details,
        groups=source.groups,
        left_out=left_out,
        weights=source.weights,
        streamed=why_streamed(stores),
        notes=source.notes,
    )
    if config.adjust_time is None or source.targets is None or source.times is None:
        return dataset
    levels = fitted_levels(source.targets[train], source.times[train], config.adjust_time)
    return _adjusted(dataset, source, levels)


def _adjusted(dataset: Dataset, source: Source, levels: TimeLevels) -> Dataset:
    """Data set with its source's targets adjusted for their times."""
    assert source.targets is not None
    assert source.times is not None
    targets = levels.adjusted(source.targets, source.times)
    return replace(dataset, targets=targets, unadjusted=source.targets, time_levels=levels)


def _with_duplicates_grouped(source: Source, like: np.ndarray) -> Source:
    """Source whose groups are joined where they hold the same picture."""
    return replace(source, groups=joined_groups(np.arange(len(like)) if source.groups is None else source.groups, like))


def _split(config: DataConfig, source: Source) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions for training (long-tailed if the config says so), validation and test."""
    test = set_aside_for_test(config, source)
    rest = np.delete(np.arange(len(source.labels)), test)
    train, validation = (rest[side] for side in sides_of(config, source.without(test)))
    if config.long_tail:
        train = long_tailed(train, source.labels, config.long_tail, config.seed, classes=source.classes)
    return train, validation, test


def set_aside_for_test(config: DataConfig, source: Source) -> np.ndarray:
    """Positions, [t], of the images that `data.test` sets aside before the split: a share of each class; groups are not split.

    Raises:
        ConfigError: at `data.test`, if a class would be missing on one side, or the source marks test images itself.
    """
    if config.test is None:
        return np.empty(0, np.int64)
    if open_test_source(config) is not None:
        message = f"{config.test:g}: the data have test images of their own, which thaw confirm uses; remove it"
        raise ConfigError([Problem(("data", "test"), message)])
    # Not the split's own seed: the test images would then be those that a split with the same share validates on.
    seed = derived_seed(config.seed, "test", 0) % 2**32
    alone = config.model_copy(update={"validation": config.test, "folds": None, "fold": None, "seed": seed})
    try:
        return sides_of(alone, replace(source, judges=None))[1]
    except ConfigError as error:
        raise ConfigError([Problem(("data", "test"), problem.message) for problem in error.problems]) from None


def open_test(config: DataConfig, dataset: Dataset, *, image_sizes: Collection[int] = ()) -> Dataset | None:
    """Data set whose validation images are the test images; None if there are none.

    The test images are those that `data.test` sets aside, or those that a table's split column or an NPZ file marks as test and
    that nothing else reads.

    Args:
        config: the recipe's section `data`.
        dataset: result of `open_dataset` for the same config and sizes.
        image_sizes: sides in pixels to include in `images_at`, in addition to `config.image_size`.
    Raises:
        ConfigError: if they cannot be used.
    """
    if len(dataset.test):
        return replace(dataset, validation=dataset.test)
    source = open_test_source(config)
    if source is None:
        return None
    if source.classes != dataset.classes:
        missing = [repr(name) for name in dataset.classes if name not in source.classes]
        unknown = [repr(name) for name in source.classes if name not in dataset.classes]
        what = f"has no image of {listed(missing)}" if missing else f"has images of {listed(unknown)}, unlike training"
        raise ConfigError([Problem(("data", "path"), f"{config.path}: the test split {what}")])
    sizes = frozenset({config.image_size, *image_sizes})
    stores = stores_of(config, source, sizes, test=True)
    source = source.without(stores[config.image_size].left_out)
    everything = np.arange(len(source.labels))
    found = replace(
        dataset,
        images=stores[config.image_size].images,
        details=stores[config.image_size].details,
        labels=source.labels,
        train=everything,
        validation=everything,
        fingerprint=stores[config.image_size].fingerprint,
        targets=source.targets,
        weights=source.weights,
        images_at={size: stores[size].images for size in sorted(stores)},
    )
    return found if dataset.time_levels is None else _adjusted(found, source, dataset.time_levels)


def sides_of(config: DataConfig, source: Source) -> tuple[np.ndarray, np.ndarray]:
    """Training and validation positions: as the source says, by fold or by share. Groups are not split.

    Raises:
        ConfigError: if a class would be missing on one side.
    """
    labels, classes = source.labels, source.classes
    if source.targets is not None:
        return split_by_number(config, source.targets, groups=source.groups, judges=source.judges)
    if source.judges is not None:
        has_columns = "columns" in source_spec(config.source).supports
        field_of_split = ("data", "columns", "split") if has_columns else ("data", "path")
        return given_split(source.judges, labels, classes=classes, place=field_of_split)
    if config.folds is None:
        validation = DEFAULT_VALIDATION if config.validation is None else config.validation
        if source.groups is None:
            return stratified_split(labels, validation, config.seed, classes=classes)
        shares, place, validates = [1 - validation, validation], "validation", 1
    else:
        shares, place, validates = [1 / config.folds] * config.folds, "folds", config.fold or 0
    if source.groups is None:
        sides = stratified_folds(labels, len(shares), config.seed, classes=classes)
    else:
        sides = grouped_sides(labels, source.groups, shares, config.seed, classes=classes, place=place)
    return np.flatnonzero(sides != validates), np.flatnonzero(sides == validates)
