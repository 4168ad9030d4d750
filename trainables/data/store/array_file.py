"""Array files of decoded images, written image by image, and the fingerprint of their content."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import IO, Any

import numpy as np

from trainables.data.sources.source import Reader, Source


class ArrayWriter:
    """Writes an array file image by image.

    It does not use a memory map: on a full disk, write() raises an error, but a memory map kills the process.
    """

    def __init__(self, file: IO[bytes], sides: tuple[int, ...], reader: Reader, source: Source):
        self._file = file
        self._image_shape, self._dtype = (*sides, reader.channels), reader.dtype
        self._write_header(len(source.labels))
        self.digest = labels_digest(
            (len(source.labels), *self._image_shape), reader.dtype, source.labels, source.classes
        )
        """Digest of the fingerprint, valid if no image is left out."""

    def write(self, image: np.ndarray) -> None:
        assert (image.shape, image.dtype) == (self._image_shape, self._dtype)
        self.digest.update(image)
        self._file.write(image.data)

    def finish(self, readable: np.ndarray) -> None:
        """Writes the final number of images into the header, which has room for any number."""
        self._file.seek(0)
        self._write_header(len(readable))

    def _write_header(self, images: int) -> None:
        description = np.lib.format.dtype_to_descr(self._dtype)
        header = {"descr": description, "fortran_order": False, "shape": (images, *self._image_shape)}
        np.lib.format.write_array_header_1_0(self._file, header)


def fingerprint_of(array: Path, source: Source, readable: np.ndarray) -> str:
    """Fingerprint of a store with images left out: the same as that of a source that never had them.

    Args:
        array: its array file.
        source: source of the images.
        readable: positions of the images that were not left out.
    """
    images = np.load(array, mmap_mode="r", allow_pickle=False)
    digest = labels_digest(images.shape, images.dtype, source.labels[readable], source.classes)
    for image in images:
        digest.update(image)
    return str(digest.hexdigest())


def labels_digest(shape: tuple[int, ...], dtype: np.dtype, labels: np.ndarray, classes: tuple[str, ...]) -> Any:
    """Digest to which the images are added for a fingerprint.

    Args:
        shape, dtype: shape and type of the array.
        labels: [n] positions in `classes`.
        classes: class names.
    """
    digest = hashlib.sha256(json.dumps([shape, classes, *([] if dtype == np.uint8 else [dtype.name])]).encode())
    digest.update(labels.astype("<i8").tobytes())
    return digest
