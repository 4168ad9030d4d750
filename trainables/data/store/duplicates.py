"""Finds the same picture among decoded images: exact copies, and pictures that differ by compression or resizing only."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import numpy as np

from trainables.data.store.images import Images

_MOST_OF_SCENE = 1024
"""Pictures, about, of which the mean of a scene is computed."""
_MOST_VALUES = 2**24
"""Pixels and channels that are compared at a time."""
_SAMPLED = 32
"""Rows and columns, at least, on which a picture's hash is computed."""
_ROTATIONS, _NEIGHBOURS = 4, 4
"""Orders in which hashes are sorted, and following hashes that each is compared with: similar hashes are close to each other in one
of the orders, and the work grows with the number of images, not of their pairs."""
_MOST_BITS = 6
"""Differing bits, of 64, up to which two pictures are compared."""
_MOST_DIFFERENCE = 0.03
"""Mean squared difference of two pictures, as a share of their variance, up to which they are the same."""
_FEW = 5
"""Pictures up to which those that are nearly the same are copies; more of them may be one scene."""
_MOST_IN_SCENE = 0.25
"""Mean squared difference of two pictures of a scene, as a share of their variance around the scene's mean, up to which they are
the same; it is about 2 for unrelated ones, and small for neighbouring frames of a video."""
_FEWEST_PIXELS = 16
"""Side below which an image has too few pixels to be told from others that look like it: of 1,797 digits of 8 × 8 pixels four pairs
are below the difference."""


def copies(images: Images, checksums: np.ndarray) -> np.ndarray:
    """Position of the first image that has the same pixels, [n] int64; its own if there is none before it.

    Args:
        images: [n, …, c].
        checksums: [n] their checksums.
    """
    first_of: dict[bytes, int] = {}
    found = np.arange(len(images))
    _, group, count = np.unique(checksums, return_inverse=True, return_counts=True)
    for i in np.flatnonzero(count[group] > 1).tolist():
        found[i] = first_of.setdefault(hashlib.sha256(images[i]).digest(), i)
    return found


def alike(
    images: Images, copy_of: np.ndarray, sides: np.ndarray, *, hashes: np.ndarray, has_detail: np.ndarray
) -> np.ndarray:
    """Position of the first image that shows the same picture, [n] int64; like `copies`, but also with pictures that are nearly
    the same.

    Args:
        images: [n, …, c].
        copy_of: result of `copies`.
        sides: [n] shorter side of each image before it was resized.
        hashes, has_detail: [n] see `difference_hashes`.
    """
    own = np.flatnonzero((copy_of == np.arange(len(images))) & has_detail & (sides >= _FEWEST_PIXELS))
    pairs = own[_close(hashes[own])]
    pairs = pairs[_differences(images, pairs) <= _MOST_DIFFERENCE]
    pairs = _without_scenes(images, pairs)
    found: np.ndarray = _joined(len(images), pairs)[copy_of]
    return found


def _without_scenes(images: Images, pairs: np.ndarray) -> np.ndarray:
    """Pairs [m, 2] without those of different pictures of one scene: many pictures from one fixed camera hardly differ, but each
    differs from their mean in its own way."""
    first = _joined(len(images), pairs)
    roots, counts = np.unique(first, return_counts=True)
    same = np.ones(len(pairs), bool)
    members_of, pairs_of = _positions(first), _positions(first[pairs[:, 0]])
    for root in roots[counts > _FEW].tolist():
        members, of_scene = members_of[root], pairs_of[root]
        mean = images[members[:: 1 + len(members) // _MOST_OF_SCENE]].mean(0, dtype=np.float32)
        same[of_scene] = _differences(images, pairs[of_scene], mean) <= _MOST_IN_SCENE
    return pairs[same]


def _positions(values: np.ndarray) -> dict[int, np.ndarray]:
    """Value -> ascending positions at which it stands in `values`, [n]."""
    found, starts = np.unique(np.sort(values), return_index=True)
    parts = np.split(np.argsort(values, kind="stable"), starts)[1:]  # nothing is before the first
    return dict(zip(found.tolist(), parts, strict=True))


def _joined(count: int, pairs: np.ndarray) -> np.ndarray:
    """First position, [count], of those that pairs connect with each position."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    _, first, part = np.unique(connected_components(edges, directed=False)[1], return_index=True, return_inverse=True)
    joined: np.ndarray = first[part].astype(np.int64)
    return joined


def difference_hashes(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Difference hash of each image [n, h, w, c], or of the middle slice of each volume, [n] uint64: the signs of brightness
    between 9 neighbouring cells in 8 rows; and a mask of those that are not the same everywhere."""
    pictures = images if images.ndim == 4 else images[:, images.shape[1] // 2]
    _, h, w, c = pictures.shape
    some = pictures[:, :: max(1, h // _SAMPLED), :: max(1, w // _SAMPLED), c // 2].astype(np.float32)
    cells = np.matmul(_pooling(some.shape[1], 8).T, some @ _pooling(some.shape[2], 9))
    signs = (cells[:, :, 1:] > cells[:, :, :-1]).reshape(len(some), 64)
    return np.packbits(signs, axis=1).view(np.uint64)[:, 0], some.max((1, 2)) > some.min((1, 2))


def _pooling(length: int, cells: int) -> np.ndarray:
    """Matrix [length, cells] that averages values into cells."""
    matrix = np.zeros((length, cells), np.float32)
    edges = np.arange(cells + 1) * length // cells
    for cell, (start, end) in enumerate(pairwise(edges.tolist())):
        matrix[start : max(end, start + 1), cell] = 1 / max(end - start, 1)
    return matrix


def _close(hashes: np.ndarray) -> np.ndarray:
    """Pairs of positions, [m, 2], whose hashes differ in few bits."""
    pairs = [np.zeros((0, 2), np.int64)]
    for turn in range(_ROTATIONS):
        bits = np.uint64(64 * turn // _ROTATIONS)
        order = np.argsort((hashes << bits) | (hashes >> ((np.uint64(64) - bits) % np.uint64(64))), kind="stable")
        for step in range(1, _NEIGHBOURS + 1):
            pair = np.stack([order[:-step], order[step:]], axis=1)
            differing = hashes[pair[:, 0]] ^ hashes[pair[:, 1]]
            bits_of_pair = np.unpackbits(differing.view(np.uint8).reshape(-1, 8), axis=1).sum(1)
            pairs.append(pair[bits_of_pair <= _MOST_BITS])
    return np.unique(np.sort(np.concatenate(pairs), axis=1), axis=0)


def _differences(images: Images, pairs: np.ndarray, mean: np.ndarray | float = 0.0) -> np.ndarray:
    """Mean squared difference of each pair [m, 2], as a share of the variance of its images, of which a mean is subtracted."""
    found = np.zeros(len(pairs))
    chunk = max(1, _MOST_VALUES // max(1, images[:1].size))
    for start in range(0, len(pairs), chunk):
        some = pairs[start : start + chunk]
        one, other = ((images[side] - np.float32(mean)).reshape(len(side), -1) for side in some.T)
        found[start : start + chunk] = 2 * np.square(one - other).mean(1) / np.maximum(one.var(1) + other.var(1), 1e-9)
    return found
