"""Details of decoded images, kept beside them: names, sizes before resizing, range of values, and copies of the same picture."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from trainables.core.atomic_write import replacing
from trainables.data.store.duplicates import alike, copies

_FACTS = np.dtype(
    [("height", "<i4"), ("width", "<i4"), ("lowest", "<u2"), ("highest", "<u2"), ("copy_of", "<i8"), ("like", "<i8")]
)
_CHUNK = 1024
"""Images that are measured at a time."""


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


def write_details(file: Path, images: np.ndarray, sides: Sequence[tuple[int, int]], names: Sequence[str]) -> None:
    """Measures images and writes their details.

    Args:
        file: file to write.
        images: [n, …, c].
        sides: height and width of each image before resizing.
        names: their names.
    """
    facts = np.zeros(len(images), _FACTS)
    facts["height"], facts["width"] = np.array(sides).T
    for start in range(0, len(images), _CHUNK):
        some = images[start : start + _CHUNK].reshape(len(images[start : start + _CHUNK]), -1)
        facts["lowest"][start : start + _CHUNK], facts["highest"][start : start + _CHUNK] = some.min(1), some.max(1)
    facts["copy_of"] = copies(images)
    facts["like"] = alike(images, facts["copy_of"], np.array(sides).min(1))
    with replacing(file, "wb") as target:
        np.savez(target, facts=facts, names=np.frombuffer(os.fsencode("\0".join(names)), np.uint8))
