"""Decoded images of a source: decoded once, into a memory-mapped array for each size that all processes on the node share."""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from trainables.core.atomic_write import replacing
from trainables.core.available_cpus import available_cpus
from trainables.core.config_errors import listed
from trainables.core.printable import printable
from trainables.data.formats.images import BadImageError
from trainables.data.formats.resample import resize_volume, to_box
from trainables.data.messages import path_error
from trainables.data.sources.source import Reader, Source
from trainables.data.store.array_file import ArrayWriter, fingerprint_of
from trainables.data.store.image_details import ImageDetails, write_details
from trainables.data.store.resize import resize_image
from trainables.recipe.data_settings.image_settings import Fit
from trainables.storage.cache_folder import add, building, entry_path, find, make_room

VERSION = 3
"""Version of decoding and resizing; a new version builds new stores."""

Progress = Callable[[int, int], None]
"""Called as `progress(done, total)`."""
OnBad = Literal["fail", "skip"]


class Store(NamedTuple):
    """Decoded images of a source at one size."""

    images: np.ndarray
    """[n, size, size, c] or [n, depth, size, size, c], uint8 or uint16, memory-mapped and read-only."""
    fingerprint: str
    """SHA-256 (hex) of images, labels and class names."""
    left_out: np.ndarray
    """[m] int64, ascending: positions in the source of images that cannot be read and are not in `images`."""
    listing: Path
    """File that lists these with their reasons, one a line; exists only if there are any."""
    details: ImageDetails


def open_store(source: Source, image_size: int, *, depth: int | None = None, progress: Progress | None = None) -> Store:
    """Opens the images of a source at one size.

    Args:
        source, depth, progress: see `open_stores`.
        image_size: side in pixels.
    """
    return open_stores(source, [image_size], depth=depth, progress=progress)[image_size]


def open_stores(
    source: Source,
    image_sizes: Collection[int],
    *,
    depth: int | None = None,
    fit: Fit = "crop",
    box: int | None = None,
    about: str = "",
    origin: Mapping[str, Any] | None = None,
    on_bad: OnBad = "fail",
    progress: Progress | None = None,
) -> dict[int, Store]:
    """Opens the images of a source at some sizes, and decodes them if they are not cached.

    Images are resized (bicubic) and made square as `fit` says; volumes are resampled to boxes. Missing sizes
    are built together, so that each image is decoded once. Any number of processes may call this at the same time: one decodes,
    the others wait. An array is cached completely or not at all, even if the build is killed or the disk is full.

    Args:
        source: the source of the images.
        image_sizes: sides in pixels.
        depth: slices of a volume; None: the source has images.
        fit: way to make images square, see `data.fit`.
        box: height and width of volumes of a common spacing in voxels, to which `fit` brings them before they are resized; None:
            volumes are resized as a whole.
        about: source in words, for people who inspect the cache.
        origin: facts that lead back to the source, for `thaw data --verify`; plain JSON.
        on_bad: `fail` to report all images that cannot be read in an error; `skip` to leave them out at every size.
        progress: called as `progress(done, total)` while images are decoded, once for all sizes.
    Returns:
        The store of each size; all have the same images.
    Raises:
        ConfigError: at `data.path`, if images cannot be read, or with `skip`, if none can; lists them.
        OSError: if the cache cannot be written; CacheFullError if the images exceed its limit.
    """
    # Stores with and without `skip` have different keys: one that lacks images must not be used where all are required.
    skip = "\0skip" if on_bad == "skip" else ""
    fitted = ("" if fit == "crop" else f"\0{fit}") + ("" if box is None else f"\0of {box}")
    key = f"{source.key}{skip}{fitted}"
    arrays = {size: entry_path(*_name_and_key(size, depth, key)) for size in sorted(set(image_sizes))}
    stores = _load(arrays)
    if stores.keys() == arrays.keys() and _agree(stores):
        return stores
    builder = _Builder(source, depth, fit, box, about, origin, on_bad, progress)
    with building(*arrays.values()):
        stores = _load(arrays)  # another process may have built them while this one waited
        if missing := {size: array for size, array in arrays.items() if size not in stores}:
            builder.build(missing, beside=[arrays[size] for size in stores])
            stores = _load(arrays)
        if not _agree(stores):  # for example, a disk was not mounted for a while
            builder.build(arrays)
            stores = _load(arrays)
    assert stores.keys() == arrays.keys(), "stores that were just built can be loaded"
    return stores


def _name_and_key(size: int, depth: int | None, source: str) -> tuple[str, str]:
    """Name and key of an array's cache entry."""
    if depth is None:
        return f"images-{size}px", f"{VERSION}\0{size}\0{source}"
    return f"volumes-{depth}x{size}px", f"{VERSION}\0{depth} x {size}\0{source}"


def _load(arrays: Mapping[int, Path]) -> dict[int, Store]:
    """Stores that are cached and complete."""
    stores = {}
    for size, array in arrays.items():
        details = ImageDetails(_details_file(array))
        if details.is_whole() and (entry := find(array)):
            # FileNotFoundError: just removed to make room; ValueError: damaged.
            with contextlib.suppress(FileNotFoundError, ValueError):
                images = np.load(array, mmap_mode="r", allow_pickle=False)
                left_out = np.array(entry.own["left_out"], np.int64)
                stores[size] = Store(images, entry.own["fingerprint"], left_out, _listing(array), details)
    return stores


def _agree(stores: Mapping[int, Store]) -> bool:
    """Returns True if all stores have left out the same images."""
    return len({store.left_out.tobytes() for store in stores.values()}) == 1


# --- building -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Builder:
    """Decodes the images of a source into arrays of some sizes; the fields are explained at `open_stores`."""

    source: Source
    depth: int | None
    fit: Fit
    box: int | None
    about: str
    origin: Mapping[str, Any] | None
    on_bad: OnBad
    progress: Progress | None

    def build(self, arrays: Mapping[int, Path], *, beside: Collection[Path] = ()) -> None:
        """Builds arrays and adds them to the cache.

        Args:
            arrays: path of the array of each size.
            beside: cache entries that must not be removed to make room.
        """
        reader, total = self.source.open(), len(self.source.labels)
        shapes = {size: (size, size) if self.depth is None else (self.depth, size, size) for size in arrays}
        bytes_per_image = sum(math.prod(shape) * reader.channels * reader.dtype.itemsize for shape in shapes.values())
        make_room(total * bytes_per_image, beside=beside)
        with contextlib.ExitStack() as files:
            writers = {
                size: ArrayWriter(files.enter_context(replacing(array, "wb")), shapes[size], reader, self.source)
                for size, array in arrays.items()
            }
            sides, bad = self._decode(reader, shapes, writers)
            readable = np.delete(np.arange(total), list(bad))
            for writer in writers.values():
                writer.finish(readable)
        for size, array in arrays.items():
            images = np.load(array, mmap_mode="r", allow_pickle=False)
            write_details(_details_file(array), images, sides, [reader.name(i) for i in readable.tolist()])
            fingerprint = fingerprint_of(array, self.source, readable) if bad else writers[size].digest.hexdigest()
            self._add(array, size, fingerprint, bad, len(readable))

    def _decode(
        self, reader: Reader, shapes: Mapping[int, tuple[int, ...]], writers: Mapping[int, ArrayWriter]
    ) -> tuple[list[tuple[int, int]], dict[int, str]]:
        """Writes all images that can be read.

        Returns:
            Height and width of each of them before resizing, and the reasons of the others, by position in the source.
        """
        sides: list[tuple[int, int]] = []
        bad: dict[int, str] = {}
        total = len(self.source.labels)
        images = in_parallel(
            lambda i: decode_resized(partial(reader.decode, i), list(shapes.values()), self.fit, self.box), total
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

    def _add(self, array: Path, size: int, fingerprint: str, bad: Mapping[int, str], images: int) -> None:
        """Adds a finished array to the cache."""
        if bad:
            with replacing(_listing(array)) as file:
                file.writelines(f"{printable(reason)}\n" for reason in bad.values())
        own = {"fingerprint": fingerprint, "left_out": list(bad), "key": self.source.key, "origin": self.origin}
        way = "" if self.fit == "crop" else f", {self.fit}"
        what = f"{size} px{way}" if self.depth is None else f"{self.depth} × {size} × {size} voxels"
        add(array, kind="images", source=self.about, what=what, images=images, own=own)


class Resized(NamedTuple):
    """Decoded image at some shapes."""

    sides: tuple[int, int]
    """Height and width before resizing, in pixels."""
    images: list[np.ndarray]


def decode_resized(
    decode: Callable[[], np.ndarray], shapes: Sequence[tuple[int, ...]], fit: Fit, box: int | None = None
) -> Resized | BadImageError:
    """Decodes an image and resizes it to each shape.

    Args:
        decode: decodes the image.
        shapes: (height, width), or (depth, height, width) for volumes.
        fit, box: see `open_stores`.
    Returns:
        The image at each shape, or the error if it cannot be read.
    """
    try:
        image = decode()
    except BadImageError as error:
        return error
    return Resized(image.shape[-3:-1], [_resized(image, shape, fit, box) for shape in shapes])


def _resized(image: np.ndarray, shape: tuple[int, ...], fit: Fit, box: int | None) -> np.ndarray:
    if len(shape) == 2:
        return resize_image(image, shape[0], fit)
    return resize_volume(image if box is None else to_box(image, (shape[0], box, box), fit), shape)


def _details_file(array: Path) -> Path:
    return array.with_name(f"{array.name}.details.npz")


def _listing(array: Path) -> Path:
    return array.with_name(f"{array.name}.skipped.txt")


def in_parallel(work: Callable[[int], Any], total: int) -> Iterator[Any]:
    """Yields work(0), work(1), … in order, computed ahead by one thread per core (Pillow releases the GIL)."""
    threads = available_cpus()
    with ThreadPoolExecutor(threads) as pool:
        ahead: deque[Future[Any]] = deque()
        for i in range(total):
            ahead.append(pool.submit(work, i))
            if len(ahead) > 16 * threads:  # bounded, or decoded images would fill the memory while a slow disk writes
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
