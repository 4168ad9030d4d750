"""Images and volumes at the size the network sees."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps


def fitted(image: np.ndarray, size: int) -> np.ndarray:
    """[h, w, c] -> [size, size, c]: the shorter side resized, the centre cropped, bicubic."""
    channels = image.shape[2]
    if image.dtype == np.uint8:
        return _cropped(image[:, :, 0] if channels == 1 else image, size).reshape(size, size, channels)
    # Each channel as floats: Pillow knows no colours of 16 bits, and its grey ones wrap around where bicubic overshoots.
    planes = np.stack([_cropped(image[:, :, c].astype(np.float32), size) for c in range(channels)], axis=2)
    return _rounded(planes, image.dtype)


def resampled(volume: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """[d, h, w, c] -> [*shape, c]: all of the volume, each axis stretched or shrunk by itself.

    Trilinear; where an axis shrinks, the filter widens with it, so that no slice goes unseen.
    """
    values = volume.astype(np.float32)
    for axis in sorted(
        range(3), key=lambda axis: shape[axis] / volume.shape[axis]
    ):  # what shrinks most leaves least to do
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
