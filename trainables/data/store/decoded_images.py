"""Decoded images of a source: decoded once, into a memory-mapped array for each size that all processes on the node share; or
streamed at the sizes for which the cache has no room."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trainables.data.sources.source import Source
from trainables.data.store.build_stores import Builder, OnBad, Progress, StorePaths, details_file, listing_file
from trainables.data.store.image_details import ImageDetails
from trainables.data.store.images import Images
from trainables.recipe.data_settings.image_settings import Fit
from trainables.storage.cache_folder import CacheFullError, Entry, building, find, make_room


class Store(NamedTuple):
    """Decoded images of a source at one size."""

    images: Images
    """[n, size, size, c] or [n, depth, size, size, c], uint8 or uint16: memory-mapped and read-only, or streamed."""
    fingerprint: str
    """SHA-256 (hex) of images, labels and class names."""
    left_out: np.ndarray
    """[m] int64, ascending: positions in the source of images that cannot be read and are not in `images`."""
    listing: Path
    """File that lists these with their reasons, one a line; exists only if there are any."""
    details: ImageDetails
    uncached: str | None = None
    """Reason why the images are streamed: decoded whenever they are read; None: their array is in the cache."""


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
    the others wait. An array is cached completely or not at all, even if the build is killed or the disk is full. If the cache's
    limit has no room for all sizes, the largest ones are streamed; their images are decoded once for the facts about them.

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
        OSError: if the cache cannot be written.
    """
    paths = StorePaths(source.key, depth, fit, box, on_bad)
    arrays = {size: paths.array(size) for size in sorted(set(image_sizes))}
    stores = _load(arrays, _mapped)
    if stores.keys() == arrays.keys() and _agree(stores):
        return stores
    builder = Builder(source, depth, fit, box, about, origin, on_bad, progress)
    _ = builder.reader  # opened before other processes have to wait
    checked = {size: paths.checksums(size) for size in arrays}
    with building(*arrays.values(), *checked.values()):
        stores = _load(arrays, _mapped)  # another process may have built them while this one waited
        missing = [size for size in arrays if size not in stores]
        streamed, uncached = _without_room(missing, builder, beside=[arrays[size] for size in stores])

        def load() -> dict[int, Store]:
            found = _load({size: checked[size] for size in streamed}, builder.streamed)
            return _load(arrays, _mapped) | {size: each._replace(uncached=uncached) for size, each in found.items()}

        stores = load()
        files = {size: checked[size] if size in streamed else arrays[size] for size in arrays}
        if unbuilt := {size: file for size, file in files.items() if size not in stores}:
            builder.build(unbuilt, streamed=streamed)
            stores = load()
        if not _agree(stores):  # for example, a disk was not mounted for a while
            builder.build(files, streamed=streamed)
            stores = load()
    assert stores.keys() == arrays.keys(), "stores that were just built can be loaded"
    return stores


def why_streamed(stores: Mapping[int, Store]) -> str | None:
    """Line for people about the sizes that are streamed, with the reason; None if all are cached."""
    streamed = {size: store for size, store in stores.items() if store.uncached}
    if not streamed:
        return None
    sizes = " and ".join(f"{size} px" for size in streamed)
    return f"images of {sizes} are streamed, which decodes them again in each epoch: {next(iter(streamed.values())).uncached}"


def _without_room(
    sizes: Sequence[int], builder: Builder, *, beside: Collection[Path]
) -> tuple[Sequence[int], str | None]:
    """Makes room in the cache for the arrays of as many of some ascending sizes as fit, from the smallest on.

    Args:
        sizes: sides in pixels.
        builder: builder of the arrays.
        beside: cache entries that must not be removed to make room.
    Returns:
        The sizes that do not fit, and the reason why the first of them does not.
    """
    why = None
    for count in range(len(sizes), 0, -1):
        try:
            make_room(sum(map(builder.bytes_of, sizes[:count])), beside=beside)
        except CacheFullError as error:
            why = str(error)
        else:
            return sizes[count:], why
    return sizes, why


def _load(files: Mapping[int, Path], images_in: Callable[[int, Path, Entry], Images]) -> dict[int, Store]:
    """Stores whose files are cached and complete.

    Args:
        files: cache entry of each size.
        images_in: opens the images, given the size and the entry.
    """
    stores = {}
    for size, file in files.items():
        details = ImageDetails(details_file(file))
        if details.is_whole() and (entry := find(file)):
            # FileNotFoundError: just removed to make room; ValueError: damaged.
            with contextlib.suppress(FileNotFoundError, ValueError):
                images = images_in(size, file, entry)
                left_out = np.array(entry.own["left_out"], np.int64)
                stores[size] = Store(images, entry.own["fingerprint"], left_out, listing_file(file), details)
    return stores


def _mapped(size: int, array: Path, entry: Entry) -> Images:  # noqa: ARG001  the array says the size itself
    images: np.ndarray = np.load(array, mmap_mode="r", allow_pickle=False)
    return images


def _agree(stores: Mapping[int, Store]) -> bool:
    """Returns True if all stores have left out the same images."""
    return len({store.left_out.tobytes() for store in stores.values()}) == 1
