"""Splits that keep groups whole: all images of a patient train, or all of them judge. Pure functions of labels and seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from trainables.core.config_errors import ConfigError, Problem, listed
from trainables.core.seeding import random_state

_ATTEMPTS = 50
"""Where a few groups of several classes each do not come apart by shares, other orders are tried, by missing classes first."""


def grouped_sides(
    labels: np.ndarray, groups: np.ndarray, shares: Sequence[float], seed: int, *, classes: Sequence[str], place: str
) -> np.ndarray:
    """Deals whole groups to sides, so that of each class every side gets about its share, and at least one image.

    Large groups go first, each to the side where its classes lack most, as in iterative stratification (Sechidis et al.
    2011). scikit-learn's StratifiedGroupKFold knows equal folds only, may leave a side without a class that it could have
    had, and promises no equal split from one version to the next.

    Args:
        labels: [n] positions in `classes`.
        groups: [n] one number for each group.
        shares: of each side; they sum to 1.
        place: the field of `data` that asks for this split.
    Returns:
        [n] the side of each image.
    Raises:
        ConfigError: at `place`, if a class would miss on a side.
    """
    members = _members(labels, groups, len(classes))
    for attempt in range(_ATTEMPTS):
        side, held = _dealt(members, np.bincount(labels, minlength=len(classes)).tolist(), shares, seed, attempt)
        if (held > 0).all():
            return side[np.unique(groups, return_inverse=True)[1]]
        if (held.sum(axis=0) < len(shares)).any():
            break
    lacking = np.flatnonzero((held == 0).any(axis=0)).tolist()
    raise ConfigError([Problem(("data", place), _why_not(lacking, held, classes))])


def _dealt(
    members: list[list[tuple[int, int]]], total: list[int], shares: Sequence[float], seed: int, attempt: int
) -> tuple[np.ndarray, np.ndarray]:
    """The side of each group, and [sides, classes] how many groups with a class are on a side."""
    room = [[share * n for n in total] for share in shares]
    side = np.zeros(len(members), np.int64)
    held = np.zeros((len(shares), len(total)), np.int64)
    for g in _largest_first(members, total, seed, attempt):
        needs = [sum(n * there[c] / total[c] ** 2 for c, n in members[g]) for there in room]
        if attempt:
            missing = (held[:, [c for c, _ in members[g]]] == 0).sum(axis=1).tolist()
            chosen = max(range(len(shares)), key=lambda at: (missing[at], needs[at]))
        else:
            chosen = needs.index(max(needs))
        side[g] = chosen
        for c, n in members[g]:
            room[chosen][c] -= n
            held[chosen, c] += 1
    for at, c in np.argwhere(held == 0).tolist():
        _lend(members, side, held, at, c)
    return side, held


def _members(labels: np.ndarray, groups: np.ndarray, classes: int) -> list[list[tuple[int, int]]]:
    """For each group, in the order of their numbers, its classes with its images of them."""
    group = np.unique(groups, return_inverse=True)[1]
    pairs, counts = np.unique(group * classes + labels, return_counts=True)
    members: list[list[tuple[int, int]]] = [[] for _ in range(int(group.max()) + 1)]
    for pair, n in zip(pairs.tolist(), counts.tolist(), strict=True):
        members[pair // classes].append((pair % classes, n))
    return members


def _largest_first(members: list[list[tuple[int, int]]], total: list[int], seed: int, attempt: int) -> list[int]:
    """Groups by their largest share of a class; at random within a factor of two, or the seed would decide little."""
    size = [math.frexp(max(n / total[c] for c, n in group))[1] for group in members]
    order = random_state(seed, "split/groups", attempt).permutation(len(members)).tolist()
    return sorted(order, key=lambda g: -size[g]) if attempt == 0 else order


def _lend(members: list[list[tuple[int, int]]], side: np.ndarray, held: np.ndarray, to: int, wanted: int) -> None:
    """Moves the smallest group of a class to a side that has none, if no class misses it where it was."""
    if held[to, wanted]:
        return  # an earlier group brought it along

    def may_go(g: int) -> bool:
        return all(held[side[g], c] > 1 for c, _ in members[g])

    having = [g for g, group in enumerate(members) if any(c == wanted for c, _ in group)]
    if movable := [g for g in having if may_go(g)]:
        g = min(movable, key=lambda g: sum(n for _, n in members[g]))
        own = [c for c, _ in members[g]]
        held[side[g], own] -= 1
        held[to, own] += 1
        side[g] = to


def _why_not(lacking: list[int], held: np.ndarray, classes: Sequence[str]) -> str:
    sides, counts = len(held), held.sum(axis=0).tolist()
    few = listed([f"{classes[c]!r} has {counts[c]} group{'s' * (counts[c] > 1)}" for c in lacking])
    if any(counts[c] < sides for c in lacking):
        where = "training and validation take" if sides == 2 else f"{sides} folds take"
        return f"no class may miss on a side, and groups stay whole: {few}; {where} at least {sides}"
    return f"no class may miss on a side, and groups stay whole: {few}, but share them with other classes"
