"""Image files as arrays: every format and colour model that people have, as 8-bit grey or RGB."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})
"""Of the files that count as images, in lower case."""

_GREY_MODES = frozenset({"1", "L", "LA", "I", "I;16", "I;16L", "I;16B", "I;16N", "F"})


class BadImageError(ValueError):
    """An image that cannot be read; the message says which and why."""


def is_grey(path: Path) -> bool:
    """Whether a file holds a grey image, from its header; True for what cannot be read, which `read_image` reports."""
    try:
        with Image.open(path) as image:
            return image.mode in _GREY_MODES
    except _UNREADABLE:
        return True


def read_image(path: Path, *, grey: bool) -> np.ndarray:
    """[h, w, 1] or [h, w, 3] uint8, turned upright as the EXIF orientation says; transparency is dropped.

    Args:
        grey: one channel; else grey images are repeated over three.
    Raises:
        BadImageError: if the file is empty, truncated, no image, or grey with more than 16 bits.
    """
    try:
        with Image.open(path) as file:
            ImageOps.exif_transpose(file, in_place=True)
            image = _as_8_bit(file)
    except _UNREADABLE as error:
        raise BadImageError(f"{path}: {_reason(path, error)}") from None
    array = np.asarray(image.convert("L" if grey else "RGB"))
    return array[:, :, None] if grey else array


_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)
"""What Pillow raises on broken files, by format."""


def _as_8_bit(image: Image.Image) -> Image.Image:
    """The image as mode L or RGB."""
    if image.mode == "F":
        raise ValueError("holds floating-point grey values; 8 or 16 bits a pixel are supported")
    if image.mode.startswith("I"):
        return Image.fromarray(_from_16_bit(np.asarray(image)))
    if image.mode in _GREY_MODES:
        return image.convert("L")
    # By way of RGBA: Pillow warns where a palette with transparency goes straight to RGB.
    return image.convert("RGBA").convert("RGB") if image.mode in {"P", "PA"} else image.convert("RGB")


def _from_16_bit(values: np.ndarray) -> np.ndarray:
    """0..65535 -> 0..255, rounded."""
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("holds grey values outside 0..65535; 8 or 16 bits a pixel are supported")
    return ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def _reason(path: Path, error: Exception) -> str:
    if path.is_file() and path.stat().st_size == 0:
        return "is empty"
    if isinstance(error, UnidentifiedImageError):
        return "is no image, or damaged from its start"
    return str(error) or type(error).__name__
