"""Details of decoded images, kept beside them: names, sizes before resizing, range of values, and copies of the same picture."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from trainables.core.atomic_write import replacing
from trainables.data.store.duplicates import alike, copies, difference_hashes
from trainables.data.store.images import Images

_FACTS = np.dtype(
    [("height", "<i4"), ("width", "<i4"), ("lowest", "<u2"), ("highest", "<u2"), ("copy_of", "<i8"), ("like", "<i8")]
)
_MEASURES = np.dtype([("lowest", "<u2"), ("highest", "<u2"), ("checksum", "<u4"), ("hash", "<u8"), ("has_detail", "?")])
_CHUNK, _CHUNK_VALUES = 1024, 2**24
"""Images that are measured at a time, and pixels and channels."""


class ImageDetails:
    """Details of n images.

    Args:
        file: file that `write_details` wrote.
    """

    def __init__(self, file: Path):
        self._file = file

    @cached_property
    def facts(self) -> np.ndarray:
        """[n] records: `height` and `width` before resizing, in pixels; the `lowest` and `highest` value after it; positions of the
        first image with the same pixels (`copy_of`), and of the first that shows nearly the same picture (`like`)."""
        return self._read("facts")

    @cached_property
    def names(self) -> list[str]:
        """Name of each image: its file, or its place in an array."""
        return os.fsdecode(self._read("names").tobytes()).split("\0")

    def _read(self, name: str) -> np.ndarray:
        with np.load(self._file, allow_pickle=False) as content:
            values: np.ndarray = content[name]
        return values

    def is_whole(self) -> bool:
        """Returns True if the file exists and is complete; reads its directory only."""
        return zipfile.is_zipfile(self._file)


class Measures:
    """Measurements of images, taken once from each as it is decoded."""

    def __init__(self) -> None:
        self._waiting: list[np.ndarray] = []
        self._parts: list[np.ndarray] = []

    def add(self, image: np.ndarray) -> None:
        """Measures the next image [h, w, c], or volume [d, h, w, c]."""
        self._waiting.append(image)
        if len(self._waiting) >= min(_CHUNK, max(1, _CHUNK_VALUES // image.size)):
            self._measure()

    def all(self) -> np.ndarray:
        """[n] records of all images: `lowest` and `highest` value, `checksum`, and `hash` and `has_detail`, see `duplicates`."""
        self._measure()
        return np.concatenate(self._parts)

    def _measure(self) -> None:
        if not self._waiting:
            return
        images = np.stack(self._waiting)
        found = np.zeros(len(images), _MEASURES)
        values = images.reshape(len(images), -1)
        found["lowest"], found["highest"] = values.min(1), values.max(1)
        found["checksum"] = [zlib.crc32(image) for image in images]
        found["hash"], found["has_detail"] = difference_hashes(images)
        self._parts.append(found)
        self._waiting = []


def write_details(
    file: Path, images: Images, measures: np.ndarray, sides: Sequence[tuple[int, int]], names: Sequence[str]
) -> None:
    """Finds copies among images and writes their details.

    Args:
        file: file to write.
        images: [n, …, c].
        measures: [n] records, see `Measures`.
        sides: height and width of each image before resizing.
        names: their names.
    """
    facts = np.zeros(len(images), _FACTS)
    facts["height"], facts["width"] = np.array(sides).T
    facts["lowest"], facts["highest"] = measures["lowest"], measures["highest"]
    facts["copy_of"] = copies(images, measures["checksum"])
    facts["like"] = alike(
        images,
        facts["copy_of"],
        np.array(sides).min(1),
        hashes=measures["hash"],
        has_detail=measures["has_detail"],
    )
    with replacing(file, "wb") as target:
        np.savez(target, facts=facts, names=np.frombuffer(os.fsencode("\0".join(names)), np.uint8))
