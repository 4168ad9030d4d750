"""The IDX format of the MNIST family: a magic number, the lengths of the axes, then bytes."""

from __future__ import annotations

import contextlib
import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path

import numpy as np

_LABELS, _IMAGES = 0x00000801, 0x00000803
"""Magic numbers: unsigned bytes (08) along 1 or 3 axes."""


def find(folder: Path, name: str) -> Path:
    """Path of the file with this name, or of its gzipped form.

    Raises:
        ValueError: if neither exists.
    """
    for candidate in (folder / name, folder / f"{name}.gz"):
        if candidate.is_file():
            return candidate
    raise ValueError(f"holds neither {name} nor {name}.gz")


def image_count(path: Path) -> int:
    """Number of images according to a file's header; nothing else is read."""
    with _opened(path) as file:
        return _axes(file, path, _IMAGES)[0]


def read_images(path: Path) -> np.ndarray:
    """Reads images, [n, rows, columns] uint8.

    Raises:
        ValueError: as all functions here, if the file is not such an IDX file or is incomplete.
    """
    return _read(path, _IMAGES)


def read_labels(path: Path) -> np.ndarray:
    """Reads labels, [n] uint8."""
    return _read(path, _LABELS)


def _read(path: Path, magic: int) -> np.ndarray:
    with _opened(path) as file:
        axes = _axes(file, path, magic)
        expected = math.prod(axes)
        values = np.frombuffer(file.read(expected + 1), np.uint8)  # no more: a few bytes could unpack to gigabytes
    if len(values) != expected:
        found = f"{len(values)} or more" if len(values) > expected else len(values)
        raise ValueError(f"{path.name} should hold {' × '.join(map(str, axes))} = {expected} bytes, not {found}")
    return values.reshape(axes)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BufferedIOBase]:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield file
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path.name} is truncated or damaged: {error}") from None


def _axes(file: BufferedIOBase, path: Path, magic: int) -> tuple[int, ...]:
    """Reads the lengths of the axes from the header."""
    start = file.read(4)
    if start != magic.to_bytes(4, "big"):
        found = f"starts with the bytes {start.hex()}" if start else "has no bytes"
        raise ValueError(f"{path.name} {found}; it should start with {magic:08x}")
    rank = magic & 0xFF
    lengths = file.read(4 * rank)
    if len(lengths) < 4 * rank:
        raise ValueError(f"{path.name} is truncated: its header is incomplete")
    axes = struct.unpack(f">{rank}I", lengths)
    if 0 in axes:
        raise ValueError(f"{path.name} is empty: {' × '.join(map(str, axes))}")
    return axes
