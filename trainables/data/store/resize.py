"""Resizes images to the squares that the network sees."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps

from trainables.data.formats.resample import rounded
from trainables.recipe.data_settings.image_settings import Fit

CROPPED_MUCH = 0.4
"""Share of an image that is cut off from which it is much: 3:2 photographs lose a third, 16:9 pictures 44 %."""
_MOST = 0.9
"""Share of the images whose ends decide which fit suits them."""
_ALIKE = 1.25
"""Ratio of the largest to the smallest aspect ratio of most images up to which they have the same proportions."""


def resize_image(image: np.ndarray, size: int, fit: Fit = "crop") -> np.ndarray:
    """Resizes an image to a square, bicubic.

    Args:
        image: [h, w, c].
        size: side of the square.
        fit: way to make it square, see `data.fit`.
    """
    channels = image.shape[2]
    if image.dtype == np.uint8:
        return _square(image[:, :, 0] if channels == 1 else image, size, fit).reshape(size, size, channels)
    # Each channel as floats: Pillow has no 16-bit colours, and its 16-bit grey values wrap around where bicubic overshoots.
    planes = np.stack([_square(image[:, :, c].astype(np.float32), size, fit) for c in range(channels)], axis=2)
    return rounded(planes, image.dtype)


def suitable_fit(aspects: Sequence[float]) -> Fit:
    """Fit for images with these aspect ratios (width / height).

    `crop` while the ends that it cuts off are small; of longer images `stretch` if all have the same proportions, which are then
    distorted in the same way, else `pad`.
    """
    if np.quantile(cropped_shares(aspects), _MOST) <= CROPPED_MUCH:
        return "crop"
    low, high = np.quantile(aspects, [1 - _MOST, _MOST])
    return "stretch" if high <= _ALIKE * low else "pad"


def cropped_shares(aspects: Sequence[float] | np.ndarray) -> np.ndarray:
    """Shares of images that `crop` cuts off, from their aspect ratios (width / height)."""
    ratios = np.asarray(aspects, float)
    shares: np.ndarray = 1 - np.minimum(ratios, 1 / ratios)
    return shares


def _square(pixels: np.ndarray, size: int, fit: Fit) -> np.ndarray:
    image, sides = Image.fromarray(pixels), (size, size)
    if fit == "stretch":
        return np.ascontiguousarray(image.resize(sides, Image.Resampling.BICUBIC))
    make_square = ImageOps.fit if fit == "crop" else ImageOps.pad
    return np.ascontiguousarray(make_square(image, sides, Image.Resampling.BICUBIC))
