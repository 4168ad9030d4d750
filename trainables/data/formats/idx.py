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
    """The file of that name, or its gzipped form.

    Raises:
        ValueError: if neither exists.
    """
    for candidate in (folder / name, folder / f"{name}.gz"):
        if candidate.is_file():
            return candidate
    raise ValueError(f"holds neither {name} nor {name}.gz")


def image_count(path: Path) -> int:
    """How many images a file promises; only its header is read."""
    with _opened(path) as file:
        return _axes(file, path, _IMAGES)[0]


def read_images(path: Path) -> np.ndarray:
    """[n, rows, columns] uint8.

    Raises:
        ValueError: as all functions here, if the file is no such IDX file or not whole.
    """
    return _read(path, _IMAGES)


def read_labels(path: Path) -> np.ndarray:
    """[n] uint8."""
    return _read(path, _LABELS)


def _read(path: Path, magic: int) -> np.ndarray:
    with _opened(path) as file:
        axes = _axes(file, path, magic)
        values = np.frombuffer(file.read(), np.uint8)
    expected = math.prod(axes)
    if len(values) != expected:
        raise ValueError(f"{path.name} should hold {' × '.join(map(str, axes))} = {expected} bytes, not {len(values)}")
    return values.reshape(axes)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BufferedIOBase]:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield file
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path.name} is truncated or damaged: {error}") from None


def _axes(file: BufferedIOBase, path: Path, magic: int) -> tuple[int, ...]:
    """Lengths of the axes, from the header."""
    start = file.read(4)
    if start != magic.to_bytes(4, "big"):
        raise ValueError(f"{path.name} should start with the bytes {magic:08x}, not {start.hex() or 'end at once'}")
    rank = magic & 0xFF
    lengths = file.read(4 * rank)
    if len(lengths) < 4 * rank:
        raise ValueError(f"{path.name} is truncated: it ends within its header")
    axes = struct.unpack(f">{rank}I", lengths)
    if 0 in axes:
        raise ValueError(f"{path.name} is empty: {' × '.join(map(str, axes))}")
    return axes
