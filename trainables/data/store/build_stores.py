"""Builds stores of decoded images: one pass over the source writes the arrays of some sizes, and the facts about all."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from trainables.core.atomic_write import replacing
from trainables.core.config_errors import listed
from trainables.core.printable import printable
from trainables.data.formats.images import BadImageError
from trainables.data.messages import path_error
from trainables.data.sources.source import Reader, Source
from trainables.data.store.array_file import ArrayWriter, ImageWriter, fingerprint_of
from trainables.data.store.decoding import decode_resized, in_parallel
from trainables.data.store.image_details import write_details
from trainables.data.store.images import Images
from trainables.data.store.streamed_images import StreamedImages
from trainables.recipe.data_settings.image_settings import Fit
from trainables.storage.cache_folder import STREAMED, Entry, add, entry_path

VERSION = 3
"""Version of decoding and resizing; a new version builds new stores."""

Progress = Callable[[int, int], None]
"""Called as `progress(done, total)`."""
OnBad = Literal["fail", "skip"]


class StorePaths(NamedTuple):
    """Paths of the cache entries of a source's images."""

    key: str
    """Key of the source."""
    depth: int | None
    fit: Fit
    box: int | None
    on_bad: OnBad

    def array(self, size: int) -> Path:
        """Array of the images at a size."""
        return self._path("images" if self.depth is None else "volumes", size)

    def checksums(self, size: int) -> Path:
        """Checksums of the images at a size at which they are streamed."""
        return self._path("streamed", size)

    def _path(self, kind: str, size: int) -> Path:
        # Stores with and without `skip` have different keys: one that lacks images must not be used where all are required.
        skip = "\0skip" if self.on_bad == "skip" else ""
        fitted = ("" if self.fit == "crop" else f"\0{self.fit}") + ("" if self.box is None else f"\0of {self.box}")
        key = f"{self.key}{skip}{fitted}"
        if self.depth is None:
            return entry_path(f"{kind}-{size}px", f"{VERSION}\0{size}\0{key}")
        return entry_path(f"{kind}-{self.depth}x{size}px", f"{VERSION}\0{self.depth} x {size}\0{key}")


@dataclass(frozen=True)
class Builder:
    """Decodes the images of a source into arrays of some sizes; the fields are explained at `open_stores` (decoded_images.py)."""

    source: Source
    depth: int | None
    fit: Fit
    box: int | None
    about: str
    origin: Mapping[str, Any] | None
    on_bad: OnBad
    progress: Progress | None

    @cached_property
    def reader(self) -> Reader:
        """Reader of the source; opening it reads the headers of image files."""
        return self.source.open()

    def bytes_of(self, size: int) -> int:
        """Bytes that the array of a size takes."""
        shape = (len(self.source.labels), *self._sides(size), self.reader.channels)
        return math.prod(shape) * self.reader.dtype.itemsize

    def streamed(self, size: int, checksums: Path, entry: Entry) -> StreamedImages:
        """Images of a size for which there is no array.

        Args:
            size: side in pixels.
            checksums: file of their checksums, which `build` wrote.
            entry: its cache entry.
        """
        return StreamedImages(
            self.reader,
            self._sides(size),
            self.fit,
            self.box,
            positions=np.delete(np.arange(len(self.source.labels)), entry.own["left_out"]),
            checksums=np.load(checksums, allow_pickle=False),
        )

    def build(self, paths: Mapping[int, Path], *, streamed: Collection[int]) -> None:
        """Decodes all images once, and adds files to the cache, for which there is room.

        Args:
            paths: path of the array of each size, or of the checksums if it is streamed.
            streamed: sizes of which no array is stored.
        """
        reader, total = self.reader, len(self.source.labels)
        shapes = {size: self._sides(size) for size in paths}
        with contextlib.ExitStack() as files:
            writers = {
                size: (ImageWriter if size in streamed else ArrayWriter)(
                    files.enter_context(replacing(path, "wb")), shapes[size], reader, self.source
                )
                for size, path in paths.items()
            }
            sides, bad = self._decode(shapes, writers)
            measures = {size: writer.finish() for size, writer in writers.items()}
        readable = np.delete(np.arange(total), list(bad))
        names = [reader.name(i) for i in readable.tolist()]
        for size, path in paths.items():
            images: Images = StreamedImages(
                reader, shapes[size], self.fit, self.box, positions=readable, checksums=measures[size]["checksum"]
            )
            if size not in streamed:
                images = np.load(path, mmap_mode="r", allow_pickle=False)
            write_details(details_file(path), images, measures[size], sides, names)
            fingerprint = fingerprint_of(images, self.source, readable) if bad else writers[size].digest.hexdigest()
            self._add(path, size, STREAMED if size in streamed else "images", fingerprint, bad, len(readable))

    def _sides(self, size: int) -> tuple[int, ...]:
        return (size, size) if self.depth is None else (self.depth, size, size)

    def _decode(
        self, shapes: Mapping[int, tuple[int, ...]], writers: Mapping[int, ImageWriter]
    ) -> tuple[list[tuple[int, int]], dict[int, str]]:
        """Writes all images that can be read.

        Returns:
            Height and width of each of them before resizing, and the reasons of the others, by position in the source.
        """
        sides: list[tuple[int, int]] = []
        bad: dict[int, str] = {}
        total = len(self.source.labels)
        images = in_parallel(
            lambda i: decode_resized(partial(self.reader.decode, i), list(shapes.values()), self.fit, self.box), total
        )
        for i, at_sizes in enumerate(images):
            if isinstance(at_sizes, BadImageError):
                bad[i] = str(at_sizes)
            elif not bad or self.on_bad == "skip":
                sides.append(at_sizes.sides)
                for size, image in zip(shapes, at_sizes.images, strict=True):
                    writers[size].write(image)
            if self.progress:
                self.progress(i + 1, total)
        if bad and (self.on_bad == "fail" or len(bad) == total):
            names = listed(list(map(printable, bad.values())), separator="\n  ")
            raise path_error(f"{len(bad)} of {total} images cannot be read:\n  {names}")
        return sides, bad

    def _add(self, file: Path, size: int, kind: str, fingerprint: str, bad: Mapping[int, str], images: int) -> None:
        """Adds a finished file to the cache."""
        if bad:
            with replacing(listing_file(file)) as lines:
                lines.writelines(f"{printable(reason)}\n" for reason in bad.values())
        own = {"fingerprint": fingerprint, "left_out": list(bad), "key": self.source.key, "origin": self.origin}
        way = "" if self.fit == "crop" else f", {self.fit}"
        what = f"{size} px{way}" if self.depth is None else f"{self.depth} × {size} × {size} voxels"
        add(file, kind=kind, source=self.about, what=what, images=images, own=own)


def details_file(file: Path) -> Path:
    """Details of the images of a cache entry, see `ImageDetails`."""
    return file.with_name(f"{file.name}.details.npz")


def listing_file(file: Path) -> Path:
    """List of the images that a cache entry leaves out; exists only if there are any."""
    return file.with_name(f"{file.name}.skipped.txt")
