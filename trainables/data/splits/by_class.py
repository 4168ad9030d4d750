"""Stratified splits into training and validation, long-tailed training sets and fractions. Pure functions of labels and seeds."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence

import numpy as np

from trainables.core.config_errors import ConfigError, Path, Problem, listed
from trainables.core.seeding import random_state
from trainables.recipe.data_config import LongTail


def stratified_split(
    labels: np.ndarray, validation: float, seed: int, *, classes: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Sets aside a share of each class for validation, rounded to whole images (a half is rounded up).

    scikit-learn's StratifiedShuffleSplit rounds over all classes together and may leave a rare class without a validation
    image. Here each class has its own share, and a class that would be missing on one side is an error.

    Args:
        labels: [n] positions in `classes`.
        validation: share between 0 and 1.
        seed: seed of the split.
        classes: class names, for messages.
    Returns:
        [k] training and [m] validation positions, each ascending.
    Raises:
        ConfigError: at `data.validation`, if a class would have no image on one of the sides.
    """
    counts = np.bincount(labels, minlength=len(classes))
    held_out = np.floor(counts * validation + 0.5).astype(np.int64)
    if problems := _one_sided(counts, held_out, validation, classes):
        raise ConfigError(problems)
    orders = _shuffled_by_class(labels, len(classes), seed, "split")
    train = np.concatenate([order[k:] for order, k in zip(orders, held_out, strict=True)])
    aside = np.concatenate([order[:k] for order, k in zip(orders, held_out, strict=True)])
    return np.sort(train), np.sort(aside)


def stratified_folds(labels: np.ndarray, folds: int, seed: int, *, classes: Sequence[str]) -> np.ndarray:
    """Deals the images of each class to folds as evenly as possible.

    Args:
        labels: [n] positions in `classes`.
        folds: number of folds.
        seed: seed of the split.
        classes: class names, for messages.
    Returns:
        [n] fold of each image, counted from 0.
    Raises:
        ConfigError: at `data.folds`, if a class has fewer images than there are folds.
    """
    counts = np.bincount(labels, minlength=len(classes)).tolist()
    if few := [f"{name!r} ({n} image{'s' * (n > 1)})" for name, n in zip(classes, counts, strict=True) if n < folds]:
        remedy = f"at most {min(counts)} folds are possible" if min(counts) > 1 else "a class needs at least 2 images"
        message = f"{folds}: some folds would have no image of {listed(few)}; {remedy}"
        raise ConfigError([Problem(("data", "folds"), message)])
    fold, first = np.empty(len(labels), np.int64), 0
    for order in _shuffled_by_class(labels, len(classes), seed, "folds"):
        # Each class starts with the fold after the last one used, or the first folds would get all remainders.
        fold[order] = (first + np.arange(len(order))) % folds
        first = (first + len(order)) % folds
    return fold


def given_split(
    judges: np.ndarray, labels: np.ndarray, *, classes: Sequence[str], place: Path = ("data", "columns", "split")
) -> tuple[np.ndarray, np.ndarray]:
    """Split that the source gives.

    Args:
        judges: [n] bool, True for validation images.
        labels: [n] positions in `classes`.
        classes: class names, for messages.
        place: field of the recipe that the split comes from, for messages.
    Returns:
        [k] training and [m] validation positions, each ascending.
    Raises:
        ConfigError: at `place`, if a class has no image on one of the sides.
    """
    problems = []
    for name, side in (("train", ~judges), ("val", judges)):
        counts = np.bincount(labels[side], minlength=len(classes))
        if missing := [repr(classes[j]) for j in np.flatnonzero(counts == 0).tolist()]:
            what = "row" if "columns" in place else "image"
            problems.append(Problem(place, f"{name!r} has no {what} of {listed(missing)}"))
    if problems:
        raise ConfigError(problems)
    return np.flatnonzero(~judges), np.flatnonzero(judges)


def long_tail_counts(largest: int, classes: int, imbalance: float) -> list[int]:
    """Training images of each class: n_j = int(n_max · imbalance^(−j / (C − 1))) (Cao et al. 2019, LDAM-DRW's code).

    Args:
        largest: n_max, images of the first class.
        classes: C, number of classes.
        imbalance: ratio of the first class to the last.
    """
    last = max(1, classes - 1)
    # The small addend corrects rounding: 49 · (1/49) is 0.999… in floating point instead of 1.
    return [int(largest * imbalance ** (-j / last) + 1e-9) for j in range(classes)]


def long_tailed(
    train: np.ndarray, labels: np.ndarray, long_tail: LongTail, seed: int, *, classes: Sequence[str]
) -> np.ndarray:
    """Long-tailed subset of a training split. For the same seed and largest class, a more imbalanced subset is part of a less
    imbalanced one.

    Args:
        train: [k] positions of training images.
        labels: [n] labels of all images, positions in `classes`.
        long_tail: imbalance and size of the largest class.
        seed: seed of the split.
        classes: class names, for messages.
    Returns:
        [l] positions, ascending.
    Raises:
        ConfigError: at `data.long_tail`, if a class has fewer images than needed, or would have none.
    """
    available = np.bincount(labels[train], minlength=len(classes))
    largest = long_tail.largest or _largest_possible(available, long_tail.imbalance)
    wanted = long_tail_counts(largest, len(classes), long_tail.imbalance)
    if short := [f"{n!r} has {a} of {w}" for n, a, w in zip(classes, available, wanted, strict=True) if a < w]:
        most = _largest_possible(available, long_tail.imbalance)
        raise _long_tail_error(f"largest {largest}: too few training images, {listed(short)}; use at most {most}")
    if empty := [repr(name) for name, n in zip(classes, wanted, strict=True) if n == 0]:
        least = math.ceil(long_tail.imbalance)
        raise _long_tail_error(
            f"imbalance {long_tail.imbalance:g} with {largest} images in the largest class leaves none for "
            f"{listed(empty)}; use at least {least} images there, or an imbalance of at most {largest}"
        )
    orders = _shuffled_by_class(labels[train], len(classes), seed, "long_tail")
    return np.sort(train[np.concatenate([order[:n] for order, n in zip(orders, wanted, strict=True)])])


def fraction_of(train: np.ndarray, labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Share of the training images of each class, rounded up, so that none is left out. A smaller share is part of a larger one.

    Args:
        train: [k] positions of training images, ascending.
        labels: [n] labels of all images.
        fraction: share in (0, 1]; 1 returns `train`.
        seed: seed of the split.
    Returns:
        [l] positions, ascending.
    """
    orders = _shuffled_by_class(labels[train], int(labels[train].max()) + 1, seed, "fraction")
    # The small subtrahend corrects rounding: 0.07 · 100 is 7.000000000000001 in floating point instead of 7.
    wanted = [math.ceil(fraction * len(order) - 1e-9) for order in orders]
    return np.sort(train[np.concatenate([order[:n] for order, n in zip(orders, wanted, strict=True)])])


def _largest_possible(available: np.ndarray, imbalance: float) -> int:
    """Largest n_max for which every class has enough images."""

    def too_many(largest: int) -> bool:
        return bool(np.any(long_tail_counts(largest, len(available), imbalance) > available))

    return bisect.bisect_left(range(int(available[0]) + 1), True, key=too_many) - 1


def _shuffled_by_class(labels: np.ndarray, classes: int, seed: int, purpose: str) -> list[np.ndarray]:
    """Positions of the images of each class, in random order."""
    # Each class has its own stream, so that one more image in a class does not change the split of the others.
    return [random_state(seed, f"{purpose}/{j}").permutation(np.flatnonzero(labels == j)) for j in range(classes)]


def _one_sided(counts: np.ndarray, held_out: np.ndarray, validation: float, classes: Sequence[str]) -> list[Problem]:
    """Problem that lists the classes that would be missing on one side; empty if there are none."""
    missing = np.flatnonzero((held_out == 0) | (held_out == counts))
    if not len(missing):
        return []
    few = [(classes[j], int(counts[j])) for j in missing.tolist()]
    names = listed([f"{name!r} ({n} image{'s' * (n > 1)})" for name, n in few])
    fewest = int(counts.min())
    if fewest < 2:
        remedy = "a class needs at least 2 images"
    else:
        low, high = math.ceil(50 / fewest) / 100, (math.ceil(100 - 50 / fewest) - 1) / 100
        # The small addends correct rounding: 0.5 / (1 - 0.98) is 24.999… in floating point instead of 25.
        enough = max(math.ceil(0.5 / validation - 1e-9), math.floor(0.5 / (1 - validation) + 1e-9) + 1)
        remedy = f"use a share between {low:g} and {high:g}, or at least {enough} images for each class"
    message = f"{validation:g} of each class leaves no training or no validation image for {names}; {remedy}"
    return [Problem(("data", "validation"), message)]


def _long_tail_error(message: str) -> ConfigError:
    return ConfigError([Problem(("data", "long_tail"), message)])
