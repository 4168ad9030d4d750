"""Image files as arrays: all common formats and colour models, as grey or RGB."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from trainables.data.formats import dicom
from trainables.data.formats.size_limits import check_size, chosen_frame
from trainables.recipe.data_config import Frame, Window
from trainables.storage.urls import Place, in_threads, is_url, opened

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".dcm", ".dicom"})
"""Endings of image file names, in lower case. The format itself is detected from the content."""

_GREY_MODES = frozenset({"1", "L", "LA", "I", "I;16", "I;16L", "I;16B", "I;16N", "F"})
_SUBFILE_TYPE, _REDUCED = 254, 1
"""Tag of a TIFF page, and its bit that marks a reduced version of another page."""

# The warning is for half of the limit; images beyond the limit are rejected.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


class BadImageError(ValueError):
    """An image cannot be read; the message has its file and the reason."""


class Header(NamedTuple):
    """Kind of an image, from the header of its file."""

    grey: bool
    """True also for files that cannot be read, which `read_image` reports."""
    deep: bool
    """True for grey values of more than 8 bits."""


def read_header(place: Place) -> Header:
    """Reads the kind of an image."""
    try:
        with opened(place) as file:
            if dicom.is_dicom(file):
                return Header(*dicom.grey_and_deep(file))
            with Image.open(file) as image:
                return Header(image.mode in _GREY_MODES, image.mode.startswith("I"))
    except _UNREADABLE:
        return Header(grey=True, deep=False)


def read_headers(places: Sequence[Place]) -> Iterator[Header]:
    """Reads headers one by one as they are requested; behind URLs many at a time, ahead of the requests."""
    ahead = 256 if any(is_url(place) for place in places) else 1
    for start in range(0, len(places), ahead):
        some = places[start : start + ahead]
        yield from in_threads(read_header, some) if ahead > 1 else map(read_header, some)


def read_image(
    place: Place, *, grey: bool, deep: bool = False, frame: Frame | None = None, window: Window | None = None
) -> np.ndarray:
    """Decodes an image, rotated upright as its EXIF orientation says; transparency is dropped.

    Args:
        place: the file.
        grey: decode to one channel; otherwise to three, which are equal for grey images.
        deep: decode a grey image to 16 bits; values of 8 bits are scaled to the full range.
        frame: frame or page to read of a file with several.
        window: window of a grey DICOM image, instead of the file's own.
    Returns:
        [h, w, 1] or [h, w, 3] uint8, or [h, w, 1] uint16 if `deep`.
    Raises:
        BadImageError: if the file is empty, truncated, not an image, too small or too large, has several frames of which
            none is chosen, or is grey with more than 16 bits.
    """
    try:
        with opened(place) as file:
            if dicom.is_dicom(file):
                return dicom.read(file, grey=grey, deep=deep, frame=frame, window=window)
            with Image.open(file) as image:
                check_size(*image.size)
                pages = _pages(image)
                image.seek(pages[chosen_frame(len(pages), frame)])
                ImageOps.exif_transpose(image, in_place=True)
                return _pixels(image, grey=grey, deep=deep)
    except _UNREADABLE as error:
        raise BadImageError(f"{place}: {_reason(place, error)}") from None


_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)
"""Exceptions that Pillow raises on broken files, depending on the format."""


def _pages(image: Image.Image) -> list[int]:
    """Positions of the frames or pages that are separate images."""
    if image.format == "MPO":
        return [0]  # a photo; the other frames are previews, or the view of the other eye
    count: int = getattr(image, "n_frames", 1)
    if image.format != "TIFF" or count == 1:
        return list(range(count))
    pages = [i for i in range(count) if not _is_reduced(image, i)]
    return pages or [0]


def _is_reduced(image: Image.Image, page: int) -> bool:
    image.seek(page)
    return bool(image.tag_v2.get(_SUBFILE_TYPE, 0) & _REDUCED)  # type: ignore[attr-defined]  # of TIFF files


def _pixels(image: Image.Image, *, grey: bool, deep: bool) -> np.ndarray:
    if deep:
        return _as_16_bit(image)[:, :, None]
    array = np.asarray(_as_8_bit(image).convert("L" if grey else "RGB"))
    return array[:, :, None] if grey else array


def _as_16_bit(image: Image.Image) -> np.ndarray:
    """Grey image as [h, w] uint16."""
    if image.mode.startswith("I"):
        return _checked_16_bit(np.asarray(image)).astype(np.uint16)
    return np.asarray(_as_8_bit(image).convert("L")).astype(np.uint16) * 257


def _as_8_bit(image: Image.Image) -> Image.Image:
    """Image in mode L or RGB."""
    if image.mode == "F":
        raise ValueError("holds floating-point grey values; 8 or 16 bits a pixel are supported")
    if image.mode.startswith("I"):
        return Image.fromarray(from_16_bit(_checked_16_bit(np.asarray(image))))
    if image.mode in _GREY_MODES:
        return image.convert("L")
    # Via RGBA, because Pillow warns when a palette with transparency is converted directly to RGB.
    return image.convert("RGBA").convert("RGB") if image.mode in {"P", "PA"} else image.convert("RGB")


def from_16_bit(values: np.ndarray) -> np.ndarray:
    """Converts 0..65535 to 0..255 uint8, rounded."""
    return ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def _checked_16_bit(values: np.ndarray) -> np.ndarray:
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("holds grey values outside 0..65535; 8 or 16 bits a pixel are supported")
    return values


def _reason(place: Place, error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError):
        return f"{error} Cut it into patches, or make it smaller."
    if not is_url(place) and Path(place).is_file() and Path(place).stat().st_size == 0:
        return "is empty"
    if isinstance(error, UnidentifiedImageError):
        return "is not an image, or its header is damaged"
    return str(error) or type(error).__name__
