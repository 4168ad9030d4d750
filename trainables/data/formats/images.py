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
from trainables.data.formats.windowing import as_levels, scaled, windowed
from trainables.recipe.data_settings.image_settings import Frame, Window
from trainables.storage.urls import Place, in_threads, is_url, opened

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "BMP", "DIB", "GIF", "TIFF", "JPEG2000", "PPM", "QOI")
"""Formats that Pillow reads here: those of pictures with a mark at their start. Not, for example, EPS, which runs a program."""
_PICTURES = (
    ".png .apng .jpg .jpeg .jpe .jfif .mpo .webp .avif .bmp .dib .gif .tif .tiff .jp2 .j2k .ppm .pgm .pbm .pnm .qoi"
)
SUFFIXES = frozenset([*_PICTURES.split(), ".dcm", ".dicom"])
"""Endings of image file names, in lower case. The format itself is detected from the content."""

_DEEP_MODES = frozenset({"I", "I;16", "I;16L", "I;16B", "I;16N", "F"})
_GREY_MODES = _DEEP_MODES | {"1", "L", "LA", "La"}
_SUBFILE_TYPE, _REDUCED = 254, 1
"""Tag of a TIFF page, and its bit that marks a reduced version of another page."""
_BITS, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0
"""Tags of a TIFF page, and the value of the second one that says that 0 is white."""
_KIND, _KINDS = 339, {(8, 2): np.int8, (32, 1): np.uint32}
"""Tag of a TIFF page for the kind of numbers, and, by bits and kind, those that Pillow takes for others."""
_NEARLY_WHITE = 192
"""Mean brightness of the visible parts of an image from which its transparent parts are shown black."""

UNREADABLE = (
    *(OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError),
    *(TypeError, RuntimeError, LookupError, ArithmeticError, AttributeError),
)
"""Exceptions that Pillow raises on broken files, depending on the format."""
_OTHERS = {
    b"version https://git-lfs": "is a pointer of Git LFS; fetch the file with `git lfs pull`",
    b"<svg": "is an SVG drawing; save it as PNG",
    b"<html": "is a web page, not an image; download it again",
    b"<!doctype": "is a web page, not an image; download it again",
    b"ftyphei": "is a HEIC image; save it as JPEG",
    b"ftypmif1": "is a HEIC image; save it as JPEG",
    b"%pdf": "is a PDF document; save its pages as PNG",
    b"ii*\0": "is a TIFF file in a form that cannot be read; save it with 8 or 16 bits a pixel",
    b"mm\0*": "is a TIFF file in a form that cannot be read; save it with 8 or 16 bits a pixel",
}
"""Bytes at the start of files that cannot be read, in lower case, and what these files are."""

# The warning is for half of the limit; images beyond the limit are rejected.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# Pillow warns about each oddity of a TIFF file's tags.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


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
            with Image.open(file, formats=FORMATS) as image:
                return Header(image.mode in _GREY_MODES, image.mode in _DEEP_MODES)
    except UNREADABLE:
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
    """Decodes an image, rotated upright as its EXIF orientation says, and without transparency (see `_opaque`).

    Args:
        place: the file.
        grey: decode to one channel; otherwise to three, which are equal for grey images.
        deep: decode a grey image to 16 bits; values of 8 bits are scaled to the full range.
        frame: frame or page to read of a file with several.
        window: values shown as black and white of a grey image, instead of the full range or a DICOM file's own window.
    Returns:
        [h, w, 1] or [h, w, 3] uint8, or [h, w, 1] uint16 if `deep`.
    Raises:
        BadImageError: if the file is empty, truncated, not an image, too small or too large, has several frames of which
            none is chosen, or is in colour although there is a window; or if a window is needed to show its grey values.
    """
    try:
        with opened(place) as file:
            if dicom.is_dicom(file):
                return dicom.read(file, grey=grey, deep=deep, frame=frame, window=window)
            with Image.open(file, formats=FORMATS) as image:
                check_size(*image.size)
                pages = _pages(image)
                image.seek(pages[chosen_frame(len(pages), frame)])
                ImageOps.exif_transpose(image, in_place=True)
                return _pixels(image, grey=grey, deep=deep, window=window)
    except UNREADABLE as error:
        raise BadImageError(f"{place}: {_reason(place, error)}") from None


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


def _pixels(image: Image.Image, *, grey: bool, deep: bool, window: Window | None) -> np.ndarray:
    if image.mode not in _DEEP_MODES:
        image = _opaque(image)
    if image.mode in _GREY_MODES:
        levels = _grey_levels(image, deep=deep, window=window)[:, :, None]
        return levels if grey else np.repeat(levels, 3, axis=2)
    if window is not None:
        raise ValueError("is in colour, and data.window shows grey values")
    if deep:
        return np.asarray(image.convert("L")).astype(np.uint16)[:, :, None] * 257
    return np.asarray(image.convert("L"))[:, :, None] if grey else np.asarray(image)


def _opaque(image: Image.Image) -> Image.Image:
    """Image in mode L or RGB. Transparent parts show white, or black if the visible ones are nearly white: shapes drawn in alpha
    alone stay visible. Alpha that is the same everywhere is dropped.
    """
    mode = "L" if image.mode in _GREY_MODES else "RGB"
    if not image.has_transparency_data:
        return image if image.mode == mode else image.convert(mode)
    image = image.convert(f"{mode}A")
    colours, alpha = image.convert(mode), image.getchannel("A")
    low, high = alpha.getextrema()
    if low == high:
        return colours
    opacity = np.asarray(alpha, np.int64)
    is_light = (np.asarray(colours.convert("L")) * opacity).sum() >= _NEARLY_WHITE * opacity.sum()
    return Image.composite(colours, Image.new(mode, image.size, "black" if is_light else "white"), alpha)


def _grey_levels(image: Image.Image, *, deep: bool, window: Window | None) -> np.ndarray:
    """Values of a grey image, [h, w] uint8, or uint16 if `deep`."""
    values, highest, inverted = _stored(image)
    if window is not None:
        shown = windowed(values, window)
        return as_levels(1 - shown if inverted else shown, deep=deep)
    if image.mode == "F":
        raise ValueError("holds floating-point grey values; set data.window to the range that is shown")
    if values.min() < 0 or values.max() > highest:
        raise ValueError(f"holds grey values outside 0..{highest}; set data.window to the range that is shown")
    return scaled(highest - values if inverted else values, highest, deep=deep)


def _stored(image: Image.Image) -> tuple[np.ndarray, int, bool]:
    """Grey values that a file stores, the highest that its format allows, and whether 0 is white."""
    values = np.asarray(image if image.mode in _DEEP_MODES else image.convert("L"))
    tags = getattr(image, "tag_v2", {})  # of TIFF files
    (bits, *_), (kind, *_) = tags.get(_BITS, (16,)), tags.get(_KIND, (1,))
    if tags and image.mode != "F" and (bits, kind) in _KINDS:
        values = values.view(_KINDS[bits, kind])
    if image.mode not in _DEEP_MODES:
        return values, 255, False  # Pillow has inverted it already
    return values, 2 ** min(bits, 16) - 1, tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO


def _reason(place: Place, error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError):
        return f"{error} Cut it into patches, or make it smaller."
    if not is_url(place) and Path(place).is_file() and Path(place).stat().st_size == 0:
        return "is empty"
    if isinstance(error, UnidentifiedImageError):
        with opened(place) as file:
            start = file.read(256).lower()
        known = (what for mark, what in _OTHERS.items() if mark in start)
        return next(known, "is not an image, or its header is damaged")
    if isinstance(error, OSError) and error.strerror:
        return "does not exist" if isinstance(error, FileNotFoundError) else error.strerror
    return str(error) or type(error).__name__
