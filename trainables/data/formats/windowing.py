"""Windows: the stored grey values that are shown as black and as white. All formats use them in the same way."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from trainables.recipe.data_settings.image_settings import Window

_LITTLE = 0.26
"""Share of the range of values below which it is little: images of 14 bits in files of 16 use a quarter."""
_MOST_IMAGES = 0.95
"""Share of the images that decide how much of the range is used; a few may have bright marks."""


def little_range(ends: np.ndarray, most: int) -> tuple[float, float] | None:
    """Lowest and highest value of most images, if they use little of the range of values; else None.

    Args:
        ends: [n, 2] smallest and largest value of each image.
        most: largest value that they could have.
    """
    low, high = float(np.quantile(ends[:, 0], 1 - _MOST_IMAGES)), float(np.quantile(ends[:, 1], _MOST_IMAGES))
    return (low, high) if low < high <= low + _LITTLE * most else None


def suitable_window(low: float, high: float) -> Window:
    """Window for values of 16 bits that use little of their range: all values of as many bits as they need, from 0 unless they are
    far from it."""
    start = low if low > 0.5 * high else 0.0
    # Resizing makes edges brighter than they are, by a few per cent.
    width = 2 ** math.ceil(math.log2(max(high - start, 1) / 1.05))
    return Window(center=round((low + high) / 2) if start else width // 2, width=width)


def windowed(values: np.ndarray, window: Window) -> np.ndarray:
    """Scales values to 0 for black … 1 for white; those outside of the window are not clipped."""
    shown: np.ndarray = (values.astype(np.float64) - (window.center - window.width / 2)) / window.width
    return shown


def as_levels(shown: np.ndarray, *, deep: bool) -> np.ndarray:
    """Rounds values of 0 … 1 to uint8, or to uint16 if `deep`; values outside are clipped."""
    highest = 65535 if deep else 255
    levels: np.ndarray = np.floor(np.clip(shown, 0, 1) * highest + 0.5).astype(np.uint16 if deep else np.uint8)
    return levels


def array_levels(values: np.ndarray, *, deep: bool, window: Window | None) -> np.ndarray:
    """Converts an array of 8 or 16 bits to uint8, or to uint16 if `deep`.

    Args:
        values: uint8 or uint16.
        deep: convert to 16 bits.
        window: values shown as black and white; None: the full range of the type.
    """
    if window is not None:
        return as_levels(windowed(values, window), deep=deep)
    return scaled(values, np.iinfo(values.dtype).max, deep=deep)


def scaled(values: np.ndarray, highest: int, *, deep: bool) -> np.ndarray:
    """Scales whole numbers from 0 … `highest` to uint8, rounded.

    Args:
        values: whole numbers, not negative.
        highest: number that is white.
        deep: scale to uint16 instead.
    """
    wanted = 65535 if deep else 255
    if highest == wanted:
        return values.astype(f"u{1 + deep}")
    levels: np.ndarray = ((values.astype(np.uint64) * wanted + highest // 2) // highest).astype(f"u{1 + deep}")
    return levels


def grey(image: np.ndarray) -> np.ndarray:
    """Converts colours [h, w, 3] uint8 to grey [h, w, 1] by their luminance, as Pillow does."""
    return np.asarray(Image.fromarray(image).convert("L"))[:, :, None]


def coloured(image: np.ndarray) -> np.ndarray:
    """Converts grey […, 1] to three equal channels […, 3]."""
    return np.repeat(image, 3, axis=-1)
