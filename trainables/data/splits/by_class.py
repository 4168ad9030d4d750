"""Who trains and who judges: stratified splits, long-tailed training sets and parts of them. Pure functions of labels and seeds."""

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
    """Sets a share of each class aside, rounded to whole images (a half goes to validation).

    scikit-learn's StratifiedShuffleSplit rounds over all classes together, and may leave a rare one without a
    validation image; here every class has its own share, and one that would miss on a side is an error.

    Args:
        labels: [n] positions in `classes`.
        validation: share between 0 and 1.
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
    """Deals the images of each class to folds, as evenly as whole images go.

    Args:
        labels: [n] positions in `classes`.
    Returns:
        [n] the fold of each image, counted from 0.
    Raises:
        ConfigError: at `data.folds`, if a class has fewer images than there are folds.
    """
    counts = np.bincount(labels, minlength=len(classes)).tolist()
    if few := [f"{name!r} ({n} image{'s' * (n > 1)})" for name, n in zip(classes, counts, strict=True) if n < folds]:
        cure = f"{min(counts)} folds would do" if min(counts) > 1 else "a class needs at least 2 images"
        message = f"{folds}: some folds would have no image of {listed(few)}; {cure}"
        raise ConfigError([Problem(("data", "folds"), message)])
    fold, first = np.empty(len(labels), np.int64), 0
    for order in _shuffled_by_class(labels, len(classes), seed, "folds"):
        # Each class goes on where the last one ended, or the first folds would get all that is left over.
        fold[order] = (first + np.arange(len(order))) % folds
        first = (first + len(order)) % folds
    return fold


def given_split(
    judges: np.ndarray, labels: np.ndarray, *, classes: Sequence[str], place: Path = ("data", "columns", "split")
) -> tuple[np.ndarray, np.ndarray]:
    """The split that the source gives.

    Args:
        judges: [n] bool, whether an image is for validation.
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
            problems.append(Problem(place, f"no {what} of {name!r} is of {listed(missing)}"))
    if problems:
        raise ConfigError(problems)
    return np.flatnonzero(~judges), np.flatnonzero(judges)


def long_tail_counts(largest: int, classes: int, imbalance: float) -> list[int]:
    """Training images of each class: n_j = int(n_max · imbalance^(−j / (C − 1))) (Cao et al. 2019, LDAM-DRW's code)."""
    last = max(1, classes - 1)
    # The small addend: 49 · (1/49) is 0.999… in floating point, and means 1.
    return [int(largest * imbalance ** (-j / last) + 1e-9) for j in range(classes)]


def long_tailed(
    train: np.ndarray, labels: np.ndarray, long_tail: LongTail, seed: int, *, classes: Sequence[str]
) -> np.ndarray:
    """A long-tailed part of a training split; the more imbalanced one is part of the less imbalanced one.

    Args:
        train: [k] positions of training images.
        labels: [n] of all images, positions in `classes`.
    Returns:
        [l] positions, ascending.
    Raises:
        ConfigError: at `data.long_tail`, if a class has fewer images than it should give, or should give none.
    """
    available = np.bincount(labels[train], minlength=len(classes))
    largest = long_tail.largest or _largest_possible(available, long_tail.imbalance)
    wanted = long_tail_counts(largest, len(classes), long_tail.imbalance)
    if short := [f"{n!r} has {a} of {w}" for n, a, w in zip(classes, available, wanted, strict=True) if a < w]:
        most = _largest_possible(available, long_tail.imbalance)
        raise _long_tail_error(f"largest {largest}: too few training images, {listed(short)}; {most} at most would do")
    if empty := [repr(name) for name, n in zip(classes, wanted, strict=True) if n == 0]:
        least = math.ceil(long_tail.imbalance)
        raise _long_tail_error(
            f"imbalance {long_tail.imbalance:g} with {largest} images in the largest class leaves none for "
            f"{listed(empty)}; it takes at least {least} images there, or an imbalance of at most {largest}"
        )
    orders = _shuffled_by_class(labels[train], len(classes), seed, "long_tail")
    return np.sort(train[np.concatenate([order[:n] for order, n in zip(orders, wanted, strict=True)])])


def fraction_of(train: np.ndarray, labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """A share of each class, rounded up: no class is left out, and a smaller share is part of a larger one.

    Args:
        train: [k] positions of training images, ascending.
        labels: [n] of all images.
        fraction: in (0, 1]; 1 gives `train`.
    Returns:
        [l] positions, ascending.
    """
    orders = _shuffled_by_class(labels[train], int(labels[train].max()) + 1, seed, "fraction")
    # The small subtrahend: 0.07 · 100 is 7.000000000000001 in floating point, and means 7.
    wanted = [math.ceil(fraction * len(order) - 1e-9) for order in orders]
    return np.sort(train[np.concatenate([order[:n] for order, n in zip(orders, wanted, strict=True)])])


def _largest_possible(available: np.ndarray, imbalance: float) -> int:
    """The largest n_max for which every class has the images it should give."""

    def too_many(largest: int) -> bool:
        return bool(np.any(long_tail_counts(largest, len(available), imbalance) > available))

    return bisect.bisect_left(range(int(available[0]) + 1), True, key=too_many) - 1


def _shuffled_by_class(labels: np.ndarray, classes: int, seed: int, purpose: str) -> list[np.ndarray]:
    """For each class the positions of its images, in random order."""
    # A stream for each class, so that one more image in a class leaves the others' split alone.
    return [random_state(seed, f"{purpose}/{j}").permutation(np.flatnonzero(labels == j)) for j in range(classes)]


def _one_sided(counts: np.ndarray, held_out: np.ndarray, validation: float, classes: Sequence[str]) -> list[Problem]:
    """One problem that names all classes which would miss on a side, or none."""
    missing = np.flatnonzero((held_out == 0) | (held_out == counts))
    if not len(missing):
        return []
    few = [(classes[j], int(counts[j])) for j in missing.tolist()]
    names = listed([f"{name!r} ({n} image{'s' * (n > 1)})" for name, n in few])
    fewest = int(counts.min())
    if fewest < 2:
        cure = "a class needs at least 2 images"
    else:
        low, high = math.ceil(50 / fewest) / 100, (math.ceil(100 - 50 / fewest) - 1) / 100
        # The small addends: 0.5 / (1 - 0.98) is 24.999… in floating point, and means 25.
        enough = max(math.ceil(0.5 / validation - 1e-9), math.floor(0.5 / (1 - validation) + 1e-9) + 1)
        cure = f"a share between {low:g} and {high:g} would do, or at least {enough} images a class"
    message = f"{validation:g} of each class leaves no training or no validation image for {names}; {cure}"
    return [Problem(("data", "validation"), message)]


def _long_tail_error(message: str) -> ConfigError:
    return ConfigError([Problem(("data", "long_tail"), message)])
