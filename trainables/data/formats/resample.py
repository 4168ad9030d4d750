"""Volumes on other grids: of another size, of a given spacing, of a box that is cut out or filled up. Trilinear; where an axis
shrinks, the filter widens accordingly, so that every slice contributes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from trainables.data.formats.size_limits import check_voxels
from trainables.recipe.data_settings.image_settings import Fit, Spacing

Extent = tuple[float, float]
"""Part of an axis, from and to, in voxels."""


def resize_volume(volume: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Resizes the whole volume, each axis independently: [d, h, w, c] -> [*shape, c]."""
    return _resampled(volume, shape, [(0, length) for length in volume.shape])


def to_spacing(volume: np.ndarray, own: Spacing, wanted: Spacing) -> np.ndarray:
    """Resamples a volume to a spacing; at both ends of an axis less than half a voxel is cut off, so that it is exact.

    Args:
        volume: [d, h, w, c].
        own: distance between its slices, rows and columns, in mm.
        wanted: that of the result.
    Raises:
        ValueError: if the result is too large for the memory.
    """
    steps = [new / old for new, old in zip(wanted, own, strict=True)]
    # The tolerance: 0.1 mm is no binary number, and 47.999… voxels are 48.
    shape = [max(1, math.floor(n / step + 1e-4)) for n, step in zip(volume.shape, steps, strict=False)]
    check_voxels((*(max(2, length) for length in shape),), " at data.spacing_mm")
    return _resampled(
        volume, shape, [_middle(n, k * step) for n, k, step in zip(volume.shape, shape, steps, strict=False)]
    )


def to_box(volume: np.ndarray, shape: tuple[int, int, int], fit: Fit) -> np.ndarray:
    """Brings the middle of a volume to a box without changing its proportions: [d, h, w, c] -> [*shape, c].

    Args:
        volume: the volume.
        shape: sides of the box.
        fit: `crop` to cut off what exceeds the box; `pad` to shrink the whole volume until it fits. What is missing is black.
    """
    if fit == "pad" and (share := min(side / n for side, n in zip(shape, volume.shape, strict=False))) < 1:
        volume = resize_volume(volume, [max(1, round(n * share)) for n in volume.shape[:3]])
    box = np.zeros((*shape, volume.shape[3]), volume.dtype)
    kept = [min(side, n) for side, n in zip(shape, volume.shape, strict=False)]
    starts = [((side - k) // 2, (n - k) // 2) for side, k, n in zip(shape, kept, volume.shape, strict=False)]
    there, here = (tuple(slice(at[i], at[i] + k) for at, k in zip(starts, kept, strict=True)) for i in (0, 1))
    box[there] = volume[here]
    return box


def rounded(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Values as whole numbers of a type, clipped to its range."""
    whole: np.ndarray = np.ascontiguousarray(np.rint(values).clip(0, np.iinfo(dtype).max)).astype(dtype)
    return whole


def _middle(length: int, part: float) -> Extent:
    part = min(part, length)
    return (length - part) / 2, (length + part) / 2


def _resampled(volume: np.ndarray, shape: Sequence[int], parts: Sequence[Extent]) -> np.ndarray:
    """Resamples the part of each axis that is given."""
    values = volume.astype(np.float32)
    # The axis that shrinks most comes first, which leaves the least work for the others.
    for axis in sorted(range(3), key=lambda axis: shape[axis] / volume.shape[axis]):
        values = _along(values, axis, shape[axis], parts[axis])
    return rounded(values, volume.dtype)


def _along(values: np.ndarray, axis: int, length: int, part: Extent) -> np.ndarray:
    if values.shape[axis] == length and np.allclose(part, (0, length), rtol=0, atol=1e-3):
        return values
    rows = np.moveaxis(values, axis, 0)
    flat = Image.fromarray(np.ascontiguousarray(rows.reshape(len(rows), -1)))
    box = (0, part[0], flat.width, part[1])
    resized = np.asarray(flat.resize((flat.width, length), Image.Resampling.BILINEAR, box))
    return np.moveaxis(resized.reshape(length, *rows.shape[1:]), 0, axis)
