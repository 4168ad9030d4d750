"""Resizes images and volumes to the size that the network sees."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps


def resize_image(image: np.ndarray, size: int) -> np.ndarray:
    """Resizes an image's shorter side (bicubic) and crops the centre: [h, w, c] -> [size, size, c]."""
    channels = image.shape[2]
    if image.dtype == np.uint8:
        return _cropped(image[:, :, 0] if channels == 1 else image, size).reshape(size, size, channels)
    # Each channel as floats: Pillow has no 16-bit colours, and its 16-bit grey values wrap around where bicubic overshoots.
    planes = np.stack([_cropped(image[:, :, c].astype(np.float32), size) for c in range(channels)], axis=2)
    return _rounded(planes, image.dtype)


def resize_volume(volume: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Resizes the whole volume, each axis independently: [d, h, w, c] -> [*shape, c].

    Trilinear; where an axis shrinks, the filter widens accordingly, so that every slice contributes.
    """
    values = volume.astype(np.float32)
    # The axis that shrinks most comes first, which leaves the least work for the others.
    for axis in sorted(range(3), key=lambda axis: shape[axis] / volume.shape[axis]):
        values = _along(values, axis, shape[axis])
    return _rounded(values, volume.dtype)


def _along(values: np.ndarray, axis: int, length: int) -> np.ndarray:
    if values.shape[axis] == length:
        return values
    rows = np.moveaxis(values, axis, 0)
    flat = Image.fromarray(np.ascontiguousarray(rows.reshape(len(rows), -1)))
    resized = np.asarray(flat.resize((flat.width, length), Image.Resampling.BILINEAR))
    return np.moveaxis(resized.reshape(length, *rows.shape[1:]), 0, axis)


def _cropped(pixels: np.ndarray, size: int) -> np.ndarray:
    return np.ascontiguousarray(ImageOps.fit(Image.fromarray(pixels), (size, size), Image.Resampling.BICUBIC))


def _rounded(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    whole: np.ndarray = np.ascontiguousarray(np.rint(values).clip(0, np.iinfo(dtype).max)).astype(dtype)
    return whole
