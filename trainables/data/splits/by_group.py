"""Splits that keep groups together: all images of a patient are on the same side. Pure functions of labels and seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from trainables.core.config_errors import ConfigError, Problem, listed
from trainables.core.seeding import random_state

_ATTEMPTS = 50
"""Orders of groups to try. If dealing by shares leaves a side without a class, random orders prefer sides that lack one."""


def grouped_sides(
    labels: np.ndarray, groups: np.ndarray, shares: Sequence[float], seed: int, *, classes: Sequence[str], place: str
) -> np.ndarray:
    """Assigns whole groups to sides so that each side gets about its share of each class, and at least one image of it.

    Large groups come first, each assigned to the side that lacks its classes most, as in iterative stratification (Sechidis et
    al. 2011). scikit-learn's StratifiedGroupKFold makes equal folds only, may leave a side without a class that it could have,
    and does not guarantee the same split in its next version.

    Args:
        labels: [n] positions in `classes`.
        groups: [n] group numbers.
        shares: share of each side; they sum to 1.
        seed: seed of the split.
        classes: class names, for messages.
        place: field of `data` that configures this split, for messages.
    Returns:
        [n] side of each image.
    Raises:
        ConfigError: at `place`, if a class would be missing on one side.
    """
    members = _members(labels, groups, len(classes))
    for attempt in range(_ATTEMPTS):
        side, held = _assigned(members, np.bincount(labels, minlength=len(classes)).tolist(), shares, seed, attempt)
        if (held > 0).all():
            return side[np.unique(groups, return_inverse=True)[1]]
        if (held.sum(axis=0) < len(shares)).any():
            break
    lacking = np.flatnonzero((held == 0).any(axis=0)).tolist()
    raise ConfigError([Problem(("data", place), _why_not(lacking, held, classes))])


def _assigned(
    members: list[list[tuple[int, int]]], total: list[int], shares: Sequence[float], seed: int, attempt: int
) -> tuple[np.ndarray, np.ndarray]:
    """Side of each group, and the number of groups with each class on each side, [sides, classes]."""
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
        _move_one(members, side, held, at, c)
    return side, held


def _members(labels: np.ndarray, groups: np.ndarray, classes: int) -> list[list[tuple[int, int]]]:
    """Classes of each group with its number of images of each, in the order of group numbers."""
    group = np.unique(groups, return_inverse=True)[1]
    pairs, counts = np.unique(group * classes + labels, return_counts=True)
    members: list[list[tuple[int, int]]] = [[] for _ in range(int(group.max()) + 1)]
    for pair, n in zip(pairs.tolist(), counts.tolist(), strict=True):
        members[pair // classes].append((pair % classes, n))
    return members


def _largest_first(members: list[list[tuple[int, int]]], total: list[int], seed: int, attempt: int) -> list[int]:
    """Groups by their largest share of a class, largest first; random within a factor of two, or the seed would matter little."""
    size = [math.frexp(max(n / total[c] for c, n in group))[1] for group in members]
    order = random_state(seed, "split/groups", attempt).permutation(len(members)).tolist()
    return sorted(order, key=lambda g: -size[g]) if attempt == 0 else order


def _move_one(members: list[list[tuple[int, int]]], side: np.ndarray, held: np.ndarray, to: int, wanted: int) -> None:
    """Moves the smallest group with a class to a side that has none, unless another class would then miss on its old side."""
    if held[to, wanted]:
        return  # a group that was moved for another class has this one, too

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
        where = "training and validation need" if sides == 2 else f"{sides} folds need"
        return f"every side needs each class, and groups are not split: {few}; {where} at least {sides}"
    return f"every side needs each class, and groups are not split: {few}, shared with other classes"


def joined_groups(groups: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Smallest groups, [n] int64, that keep together what is together in either of two groupings, [n] each."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    (_, one), (_, other) = (np.unique(each, return_inverse=True) for each in (groups, others))
    # A graph of the groups of both kinds, joined by the images: what is connected becomes one group.
    edges = coo_array((np.ones(len(one)), (one, len(one) + other)), shape=(2 * len(one),) * 2)
    joined: np.ndarray = connected_components(edges, directed=False)[1][one].astype(np.int64)
    return joined
