"""Files of decoded images, written image by image, and the fingerprint of their content."""

from __future__ import annotations

import hashlib
import json
from typing import IO, Any

import numpy as np

from trainables.data.sources.source import Reader, Source
from trainables.data.store.image_details import Measures
from trainables.data.store.images import Images


class ImageWriter:
    """Measures images one by one. Its file holds their checksums only, because they are streamed."""

    def __init__(self, file: IO[bytes], sides: tuple[int, ...], reader: Reader, source: Source):
        self._file = file
        self._image_shape, self._dtype = (*sides, reader.channels), reader.dtype
        self._measures = Measures()
        self.digest = labels_digest(
            (len(source.labels), *self._image_shape), reader.dtype, source.labels, source.classes
        )
        """Digest of the fingerprint, valid if no image is left out."""

    def write(self, image: np.ndarray) -> None:
        """Takes the next image."""
        assert (image.shape, image.dtype) == (self._image_shape, self._dtype)
        self.digest.update(image)
        self._measures.add(image)

    def finish(self) -> np.ndarray:
        """Completes the file after the last image, and returns the measurements of all, see `Measures`."""
        measures = self._measures.all()
        np.save(self._file, measures["checksum"])
        return measures


class ArrayWriter(ImageWriter):
    """Writes an array file image by image.

    It does not use a memory map: on a full disk, write() raises an error, but a memory map kills the process.
    """

    def __init__(self, file: IO[bytes], sides: tuple[int, ...], reader: Reader, source: Source):
        super().__init__(file, sides, reader, source)
        self._write_header(len(source.labels))

    def write(self, image: np.ndarray) -> None:
        """Writes the next image."""
        super().write(image)
        self._file.write(image.data)

    def finish(self) -> np.ndarray:
        """Writes the final number of images into the header, which has room for any number; returns their measurements."""
        measures = self._measures.all()
        self._file.seek(0)
        self._write_header(len(measures))
        return measures

    def _write_header(self, images: int) -> None:
        description = np.lib.format.dtype_to_descr(self._dtype)
        header = {"descr": description, "fortran_order": False, "shape": (images, *self._image_shape)}
        np.lib.format.write_array_header_1_0(self._file, header)


def fingerprint_of(images: Images, source: Source, readable: np.ndarray) -> str:
    """Fingerprint of a store with images left out: the same as that of a source that never had them.

    Args:
        images: the images that were not left out.
        source: source of the images.
        readable: their positions in it.
    """
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
