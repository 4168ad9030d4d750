"""Decode once: all images of a source, as one memory-mapped array for each size that every process on the node shares."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import numpy as np

from trainables.core.atomic_write import replacing
from trainables.core.config_errors import listed
from trainables.data.formats.images import BadImageError
from trainables.data.messages import path_error
from trainables.data.sources.source import Reader, Source
from trainables.data.store.resize import fitted, resampled
from trainables.storage.cache_folder import add, building, entry_path, find, make_room

VERSION = 1
"""Of how images are decoded and resized; a new one builds new stores."""

Progress = Callable[[int, int], None]
"""Called as `progress(done, total)`."""
OnBad = Literal["fail", "skip"]


class Store(NamedTuple):
    images: np.ndarray
    """[n, size, size, c] or [n, depth, size, size, c], uint8 or uint16, memory-mapped and read-only."""
    fingerprint: str
    """SHA-256 (hex) of images, labels and class names."""
    left_out: np.ndarray
    """[m] int64, ascending: positions in the source of images that cannot be read and are not in `images`."""
    listing: Path
    """Where these are listed with their reasons, one a line; there only if there are any."""


def open_store(source: Source, image_size: int, *, depth: int | None = None, progress: Progress | None = None) -> Store:
    """The images of a source at one size; see `open_stores`."""
    return open_stores(source, [image_size], depth=depth, progress=progress)[image_size]


def open_stores(
    source: Source,
    image_sizes: Collection[int],
    *,
    depth: int | None = None,
    about: str = "",
    on_bad: OnBad = "fail",
    progress: Progress | None = None,
) -> dict[int, Store]:
    """The images of a source at some sizes (shorter side resized, centre cropped, bicubic), decoded if nobody has yet; its volumes
    resampled to boxes.

    The sizes that are missing are built together, from images that are decoded once. Any number of processes may call
    this at once: one decodes, the others wait. An array lies in the cache whole or not at all, also if the build is
    killed or the disk fills.

    Args:
        depth: slices of a volume; None: the source has images.
        about: the source in words, for who looks into the cache.
        on_bad: what happens if images cannot be read: all are named in an error, or left out at every size.
    Returns:
        The store of each size; all have the same images.
    Raises:
        ConfigError: at `data.path`, if images cannot be read, or with `skip` not a single one; it lists them.
        OSError: if the cache cannot be written; CacheFullError if it may not hold so much.
    """
    # Stores with and without `skip` are told apart: one that lacks images must not serve who wants all of them.
    skip = "\0skip" if on_bad == "skip" else ""
    arrays = {size: entry_path(*_name_and_key(size, depth, f"{source.key}{skip}")) for size in sorted(set(image_sizes))}
    stores = _load(arrays)
    if stores.keys() == arrays.keys() and _agree(stores):
        return stores
    with building(*arrays.values()):
        stores = _load(arrays)  # maybe built while this process waited
        if missing := {size: array for size, array in arrays.items() if size not in stores}:
            _build(missing, source, depth, about, on_bad, progress, beside=[arrays[size] for size in stores])
            stores = _load(arrays)
        if not _agree(stores):  # a disk was away for a while, say
            _build(arrays, source, depth, about, on_bad, progress)
            stores = _load(arrays)
    assert stores.keys() == arrays.keys(), "what was just built can be loaded"
    return stores


def _name_and_key(size: int, depth: int | None, source: str) -> tuple[str, str]:
    """Of an array in the cache."""
    if depth is None:
        return f"images-{size}px", f"{VERSION}\0{size}\0{source}"
    return f"volumes-{depth}x{size}px", f"{VERSION}\0{depth} x {size}\0{source}"


def _load(arrays: Mapping[int, Path]) -> dict[int, Store]:
    """Those stores that are there and whole."""
    stores = {}
    for size, array in arrays.items():
        if entry := find(array):
            # FileNotFoundError: removed this moment to make room; ValueError: damaged.
            with contextlib.suppress(FileNotFoundError, ValueError):
                images = np.load(array, mmap_mode="r", allow_pickle=False)
                left_out = np.array(entry.own["left_out"], np.int64)
                stores[size] = Store(images, entry.own["fingerprint"], left_out, _listing(array))
    return stores


def _agree(stores: Mapping[int, Store]) -> bool:
    """Whether all lack the same images."""
    return len({store.left_out.tobytes() for store in stores.values()}) == 1


# --- building -------------------------------------------------------------------------------------------------------


def _build(
    arrays: Mapping[int, Path],
    source: Source,
    depth: int | None,
    about: str,
    on_bad: OnBad,
    progress: Progress | None,
    *,
    beside: Collection[Path] = (),
) -> None:
    reader = source.open()
    total = len(source.labels)
    shapes = {size: (size, size) if depth is None else (depth, size, size) for size in arrays}
    of_one = sum(math.prod(shape) * reader.channels * reader.dtype.itemsize for shape in shapes.values())
    make_room(total * of_one, beside=beside)
    bad: dict[int, str] = {}
    with contextlib.ExitStack() as files:
        writers = [
            _Writer(files.enter_context(replacing(array, "wb")), shapes[size], reader, source)
            for size, array in arrays.items()
        ]
        for i, at_sizes in enumerate(
            in_parallel(lambda i: decoded(partial(reader.decode, i), list(shapes.values())), total)
        ):
            if isinstance(at_sizes, BadImageError):
                bad[i] = str(at_sizes)
            elif not bad or on_bad == "skip":
                for writer, image in zip(writers, at_sizes, strict=True):
                    writer.write(image)
            if progress:
                progress(i + 1, total)
        if bad and (on_bad == "fail" or len(bad) == total):
            names = listed(list(bad.values()), separator="\n  ")
            raise path_error(f"{len(bad)} of {total} images cannot be read:\n  {names}")
        good = np.delete(np.arange(total), list(bad))
        for writer in writers:
            writer.finish(good)
    for (size, array), writer in zip(arrays.items(), writers, strict=True):
        if bad:
            with replacing(_listing(array)) as file:
                file.writelines(f"{reason}\n" for reason in bad.values())
        fingerprint = writer.digest.hexdigest() if not bad else _fingerprint(array, source, good)
        own = {"fingerprint": fingerprint, "left_out": list(bad)}
        what = f"{size} px" if depth is None else f"{depth} × {size} × {size} voxels"
        add(array, kind="images", source=about, what=what, images=len(good), own=own)


def decoded(decode: Callable[[], np.ndarray], shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray] | BadImageError:
    """An image at each size, (height, width) or of volumes (depth, height, width); or why it cannot be read."""
    try:
        image = decode()
    except BadImageError as error:
        return error
    return [resampled(image, shape) if len(shape) == 3 else fitted(image, shape[0]) for shape in shapes]


class _Writer:
    """An array file that grows image by image.

    Written in order, not into a memory map: on a full disk write() fails cleanly, where a map kills the process.
    """

    def __init__(self, file: IO[bytes], sides: tuple[int, ...], reader: Reader, source: Source):
        self._file = file
        self._image_shape, self._dtype = (*sides, reader.channels), reader.dtype
        self._write_header(len(source.labels))
        self.digest = _labels_digest(
            (len(source.labels), *self._image_shape), reader.dtype, source.labels, source.classes
        )
        """Of the fingerprint, where no image is left out."""

    def write(self, image: np.ndarray) -> None:
        assert (image.shape, image.dtype) == (self._image_shape, self._dtype)
        self.digest.update(image)
        self._file.write(image.data)

    def finish(self, good: np.ndarray) -> None:
        """Says how many images came after all; the header has room for any number."""
        self._file.seek(0)
        self._write_header(len(good))

    def _write_header(self, images: int) -> None:
        description = np.lib.format.dtype_to_descr(self._dtype)
        header = {"descr": description, "fortran_order": False, "shape": (images, *self._image_shape)}
        np.lib.format.write_array_header_1_0(self._file, header)


def _fingerprint(array: Path, source: Source, good: np.ndarray) -> str:
    """Of a store that lacks images: the same as that of a source that never had them."""
    images = np.load(array, mmap_mode="r", allow_pickle=False)
    digest = _labels_digest(images.shape, images.dtype, source.labels[good], source.classes)
    for image in images:
        digest.update(image)
    return str(digest.hexdigest())


def _labels_digest(shape: tuple[int, ...], dtype: np.dtype, labels: np.ndarray, classes: tuple[str, ...]) -> Any:
    """The beginning of a fingerprint; images follow."""
    digest = hashlib.sha256(json.dumps([shape, classes, *([] if dtype == np.uint8 else [dtype.name])]).encode())
    digest.update(labels.astype("<i8").tobytes())
    return digest


def _listing(array: Path) -> Path:
    return array.with_name(f"{array.name}.skipped.txt")


def in_parallel(work: Callable[[int], Any], total: int) -> Iterator[Any]:
    """work(0), work(1), … in this order, computed ahead by one thread a core (Pillow runs without the GIL)."""
    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        ahead: deque[Future[Any]] = deque()
        for i in range(total):
            ahead.append(pool.submit(work, i))
            if len(ahead) > 16 * threads:  # bounded, or a slow disk would let decoded images fill the memory
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
