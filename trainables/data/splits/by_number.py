"""Splits of images that have a number and no class. Pure functions of numbers and seeds.

Where a split is ours to choose, both sides get their share of each tenth of the images by their number, so that they cover the
same range alike (as caret's createDataPartition does with percentiles, Kuhn 2008).
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
    """[n] int64, the bin of each image by the rank of its number: 0 has the smallest. Sizes differ by one at most."""
    bin_of = np.empty(len(targets), np.int64)
    bin_of[np.argsort(targets, kind="stable")] = np.arange(len(targets)) * bins // len(targets)
    return bin_of


def split_by_number(
    config: DataConfig, targets: np.ndarray, *, groups: np.ndarray | None, judges: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """The split that a config asks for.

    Args:
        targets: [n].
        groups: [n] one number for each group that stays whole; None: each image for itself.
        judges: [n] bool, the validation images where the source says which; None: to be chosen.
    Returns:
        [k] training and [m] validation positions, each ascending. Neither side's numbers are all the same.
    Raises:
        ConfigError: at the field of `data` that asks for a split which cannot be.
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
    if problems := [Problem(("data", *place), why) for what, side in sides_of if (why := _useless(side, what))]:
        raise ConfigError(problems)
    return train, validation


def set_aside_by_number(targets: np.ndarray, share: float, seed: int) -> np.ndarray:
    """[n] bool: a share of each tenth, at random. Rounding is carried on from tenth to tenth, so that all together are exact."""
    chosen = np.zeros(len(targets), bool)
    seen = taken = 0
    for order in _shuffled_bins(targets, seed, "split"):
        seen += len(order)
        wanted = int(seen * share + 0.5) - taken
        chosen[order[:wanted]] = True
        taken += wanted
    return chosen


def folds_by_number(targets: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """[n] the fold of each image: those of each tenth are dealt at random, each tenth going on where the last one ended."""
    fold = np.empty(len(targets), np.int64)
    fold[np.concatenate(_shuffled_bins(targets, seed, "folds"))] = np.arange(len(targets)) % folds
    return fold


def _grouped(targets: np.ndarray, groups: np.ndarray, shares: Sequence[float], seed: int, *, place: str) -> np.ndarray:
    """[n] the side of each image, groups whole: by tenths; by fewer parts where tenths cannot be on all sides, or only if a side
    misses its share by more than half the largest group."""
    group, sizes = np.unique(groups, return_counts=True)
    if len(group) < len(shares):
        many = "is 1 group" if len(group) == 1 else f"are {len(group)} groups"
        raise ConfigError([Problem(("data", place), f"groups stay whole, and there {many} for {len(shares)} sides")])
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
    """For each tenth the positions of its images, in random order."""
    bin_of = quantile_bins(targets, BINS)
    return [random_state(seed, f"{purpose}/{j}").permutation(np.flatnonzero(bin_of == j)) for j in range(BINS)]


def _useless(targets: np.ndarray, what: str) -> str | None:
    """Why one side of a split cannot be used, if so."""
    if not len(targets):
        return f"leaves no image to {what}"
    if targets.min() < targets.max():
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            spread = float(targets.std())
        return None if 0 < spread < math.inf else f"the numbers to {what} spread by {spread:g}; scale them"
    count = f"the {len(targets)} images" if len(targets) > 1 else "the one image"
    return f"{count} to {what} have one and the same number ({targets[0]:g}): nothing to learn or to compare"
