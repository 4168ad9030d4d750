"""`StreamedImages`: images that are decoded whenever they are read, because the cache has no room for their array."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from trainables.core.available_cpus import own_cpus
from trainables.data.formats.images import BadImageError
from trainables.data.messages import path_error
from trainables.data.sources.source import Reader
from trainables.data.store.decoding import decode_resized, in_parallel
from trainables.recipe.data_settings.image_settings import Fit


class StreamedImages:
    """n images [h, w, c], or volumes [d, h, w, c], with the same pixels as the array of a cached store."""

    def __init__(
        self,
        reader: Reader,
        sides: tuple[int, ...],
        fit: Fit,
        box: int | None,
        *,
        positions: np.ndarray,
        checksums: np.ndarray,
    ):
        """Prepares reading; decodes nothing yet.

        Args:
            reader: reads images of the source.
            sides: (height, width), or (depth, height, width), after resizing.
            fit, box: see `open_stores`.
            positions: [n] positions in the source.
            checksums: [n] CRC-32 of the pixels that were decoded when the images were first opened.
        """
        self._reader, self._sides, self._fit, self._box = reader, sides, fit, box
        self._positions, self._checksums = positions, checksums

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array that all images would make, [n, …, c]."""
        return (len(self._positions), *self._sides, self._reader.channels)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels: uint8 or uint16."""
        return self._reader.dtype

    @property
    def ndim(self) -> int:
        """Number of dimensions of the array that all images would make."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes that the array would take."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self._positions)

    def __iter__(self) -> Iterator[np.ndarray]:
        return in_parallel(self.read, len(self), threads=own_cpus())

    def __getitem__(self, at: int | np.integer[Any] | slice | np.ndarray) -> np.ndarray:
        if isinstance(at, int | np.integer):
            return self.read(int(at))
        places = np.arange(len(self))[at].tolist()
        images = np.empty((len(places), *self.shape[1:]), self.dtype)
        for row, image in zip(
            images, in_parallel(lambda j: self.read(places[j]), len(places), threads=own_cpus()), strict=True
        ):
            row[:] = image
        return images

    def at(self, positions: np.ndarray) -> StreamedImages:
        """The images at [k] positions, not read yet."""
        chosen, checksums = self._positions[positions], self._checksums[positions]
        return StreamedImages(self._reader, self._sides, self._fit, self._box, positions=chosen, checksums=checksums)

    def read(self, i: int) -> np.ndarray:
        """Decodes an image. Safe to call from many threads.

        Args:
            i: its position.
        Raises:
            ConfigError: at `data.path`, if it can no longer be read, or its pixels have changed.
        """
        in_source = int(self._positions[i])
        decoded = decode_resized(lambda: self._reader.decode(in_source), [self._sides], self._fit, self._box)
        if isinstance(decoded, BadImageError):
            raise path_error(f"an image that could be read at the start cannot be read any more: {decoded}")
        (image,) = decoded.images
        if zlib.crc32(image.data) != self._checksums[i]:
            raise path_error(
                f"{self._reader.name(in_source)}: has other pixels than at the start: the file was replaced, or another version "
                "of Pillow decodes it here"
            )
        return image
