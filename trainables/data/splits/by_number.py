"""Splits of images that have a number instead of a class, for regression. Pure functions of numbers and seeds.

Images are sorted by their number and cut into tenths. Unless the source gives the split, each side gets its share of every tenth,
so that both cover the same range (as caret's createDataPartition does with percentiles, Kuhn 2008).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from trainables.core.config_errors import ConfigError, Problem
from trainables.core.seeding import random_state
from trainables.data.splits.by_group import grouped_sides
from trainables.recipe.data_config import DEFAULT_VALIDATION, DataConfig

BINS = 10


def quantile_bins(targets: np.ndarray, bins: int) -> np.ndarray:
    """Bin of each image by the rank of its number, [n] int64; bin 0 has the smallest. Sizes differ by one at most."""
    bin_of = np.empty(len(targets), np.int64)
    bin_of[np.argsort(targets, kind="stable")] = np.arange(len(targets)) * bins // len(targets)
    return bin_of


def split_by_number(
    config: DataConfig, targets: np.ndarray, *, groups: np.ndarray | None, judges: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Splits images as the config says.

    Args:
        config: the recipe's section `data`.
        targets: [n] number of each image.
        groups: [n] group numbers; groups are not split. None: no groups.
        judges: [n] bool, True for validation images, if the source gives the split; None: the split is chosen here.
    Returns:
        [k] training and [m] validation positions, each ascending. On neither side are all numbers the same.
    Raises:
        ConfigError: at the field of `data` that configures the split, if it is not possible.
    """
    place: tuple[str, ...] = ("folds",) if config.folds else ("validation",)
    if judges is not None:
        validates, place = judges, ("columns", "split")
    elif groups is not None:
        share = config.validation or DEFAULT_VALIDATION
        shares = [1 / config.folds] * config.folds if config.folds else [1 - share, share]
        sides = _grouped(targets, groups, shares, config.seed, place=place[0])
        validates = sides == (config.fold or 0 if config.folds else 1)
    elif config.folds:
        validates = folds_by_number(targets, config.folds, config.seed) == (config.fold or 0)
    else:
        validates = set_aside_by_number(targets, config.validation or DEFAULT_VALIDATION, config.seed)
    train, validation = np.flatnonzero(~validates), np.flatnonzero(validates)
    sides_of = (("train with", targets[train]), ("validate with", targets[validation]))
    if problems := [Problem(("data", *place), why) for what, side in sides_of if (why := _why_unusable(side, what))]:
        raise ConfigError(problems)
    return train, validation


def set_aside_by_number(targets: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Chooses a share of each tenth at random, [n] bool. Rounding carries over from tenth to tenth, so that the total is exact.

    Args:
        targets: [n] number of each image.
        share: share to choose, between 0 and 1.
        seed: seed of the split.
    """
    chosen = np.zeros(len(targets), bool)
    seen = chosen_so_far = 0
    for order in _shuffled_bins(targets, seed, "split"):
        seen += len(order)
        wanted = int(seen * share + 0.5) - chosen_so_far
        chosen[order[:wanted]] = True
        chosen_so_far += wanted
    return chosen


def folds_by_number(targets: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Deals the images of each tenth to folds at random, each tenth starting with the fold after the last one used.

    Args:
        targets: [n] number of each image.
        folds: number of folds.
        seed: seed of the split.
    Returns:
        [n] fold of each image, counted from 0.
    """
    fold = np.empty(len(targets), np.int64)
    fold[np.concatenate(_shuffled_bins(targets, seed, "folds"))] = np.arange(len(targets)) % folds
    return fold


def _grouped(targets: np.ndarray, groups: np.ndarray, shares: Sequence[float], seed: int, *, place: str) -> np.ndarray:
    """Assigns whole groups to sides, [n] side of each image, so that each side gets its share of each tenth; or of fewer, larger
    parts, if tenths do not fit or a side would miss its share by more than half the largest group."""
    group, sizes = np.unique(groups, return_counts=True)
    if len(group) < len(shares):
        many = "is 1 group" if len(group) == 1 else f"are {len(group)} groups"
        raise ConfigError([Problem(("data", place), f"groups are not split, and there {many} for {len(shares)} sides")])
    for bins in range(min(BINS, len(targets)), 1, -1):
        names = [f"part {j + 1} of {bins}" for j in range(bins)]
        try:
            sides = grouped_sides(quantile_bins(targets, bins), groups, shares, seed, classes=names, place=place)
        except ConfigError:
            continue
        missed = np.bincount(sides, minlength=len(shares)) - np.array(shares) * len(targets)
        if np.abs(missed).max() <= sizes.max() / 2:
            return sides
    return grouped_sides(np.zeros(len(targets), np.int64), groups, shares, seed, classes=["all images"], place=place)


def _shuffled_bins(targets: np.ndarray, seed: int, purpose: str) -> list[np.ndarray]:
    """Positions of the images of each tenth, in random order."""
    bin_of = quantile_bins(targets, BINS)
    return [random_state(seed, f"{purpose}/{j}").permutation(np.flatnonzero(bin_of == j)) for j in range(BINS)]


def _why_unusable(targets: np.ndarray, what: str) -> str | None:
    """Reason why one side of a split cannot be used; None if it can."""
    if not len(targets):
        return f"leaves no image to {what}"
    if targets.min() < targets.max():
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            spread = float(targets.std())
        deviation = f"the numbers to {what} have a standard deviation of {spread:g}"
        return None if 0 < spread < math.inf else f"{deviation}; rescale them"
    count = f"the {len(targets)} images to {what} all have" if len(targets) > 1 else f"the one image to {what} has"
    return f"{count} the number {targets[0]:g}; at least 2 different numbers are needed"
