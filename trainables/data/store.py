"""Decode once: all images of a source at one size, as one memory-mapped array that every process on the node shares."""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock
from PIL import Image, ImageOps

from trainables.data.images import BadImageError
from trainables.data.messages import listed, path_error
from trainables.data.sources import Source
from trainables.layout import replacing

VERSION = 1
"""Of how images are decoded and resized; a new one builds new stores."""

Progress = Callable[[int, int], None]
"""Called as `progress(done, total)`."""


class Store(NamedTuple):
    images: np.ndarray
    """[n, size, size, c] uint8, memory-mapped and read-only."""
    fingerprint: str
    """SHA-256 (hex) of images, labels and class names."""


def cache_folder() -> Path:
    """Where stores lie: `THAW_CACHE`, else `~/.cache/thaw`."""
    return Path(os.environ.get("THAW_CACHE") or "~/.cache/thaw").expanduser()


def open_store(source: Source, image_size: int, *, progress: Progress | None = None) -> Store:
    """The images of a source at one size (shorter side resized, centre cropped, bicubic), decoded if nobody has yet.

    Any number of processes may call this at once: one decodes, the others wait. An array lies in the cache whole or
    not at all, also if the build is killed or the disk fills.

    Raises:
        ConfigError: at `data.path`, if images cannot be read; it lists them.
        OSError: if the cache cannot be written.
    """
    identity = hashlib.sha256(f"{VERSION}\0{image_size}\0{source.key}".encode()).hexdigest()[:20]
    array = cache_folder() / f"images-{image_size}px-{identity}.npy"
    facts = array.with_suffix(".json")
    if store := _load(array, facts):
        return store
    array.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(array.with_suffix(".lock")):
        if store := _load(array, facts):
            return store  # built while this process waited
        for leftover in array.parent.glob(f".{array.name}.*"):
            leftover.unlink()  # of a build that was killed; the lock says that no other is under way
        facts.unlink(missing_ok=True)
        _build(array, facts, source, image_size, progress)
        if store := _load(array, facts):
            return store
    raise AssertionError(f"{array} was just built and cannot be loaded")


def _load(array: Path, facts: Path) -> Store | None:
    """The store, if it is there and whole."""
    try:
        known = json.loads(facts.read_text("utf-8"))
        if array.stat().st_size != known["bytes"]:
            return None
        return Store(np.load(array, mmap_mode="r", allow_pickle=False), known["fingerprint"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _build(array: Path, facts: Path, source: Source, image_size: int, progress: Progress | None) -> None:
    channels, decode, dtype = source.open()
    assert dtype == np.uint8, "deep images are not stored yet"
    shape = (len(source.labels), image_size, image_size, channels)
    digest = hashlib.sha256(json.dumps([shape, source.classes]).encode())
    digest.update(source.labels.astype("<i8").tobytes())
    bad: list[str] = []

    def resized(i: int) -> np.ndarray | BadImageError:
        try:
            image = decode(i)
        except BadImageError as error:
            return error
        return _fitted(image, image_size)

    # Written in order, not into a memory map: on a full disk write() fails cleanly, where a map kills the process.
    with replacing(array, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for done, image in enumerate(_in_parallel(resized, shape[0]), 1):
            if isinstance(image, BadImageError):
                bad.append(str(image))
            elif not bad:
                digest.update(image)
                file.write(image)
            if progress:
                progress(done, shape[0])
        if bad:
            names = listed(bad, separator="\n  ")
            raise path_error(f"{len(bad)} of {shape[0]} images cannot be read:\n  {names}")
    # Last, because it is what makes the array count.
    with replacing(facts) as file:
        json.dump({"bytes": array.stat().st_size, "shape": shape, "fingerprint": digest.hexdigest()}, file)


def _fitted(image: np.ndarray, size: int) -> np.ndarray:
    """[h, w, c] -> [size, size, c]: the shorter side resized, the centre cropped."""
    picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
    fitted = ImageOps.fit(picture, (size, size), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(fitted).reshape(size, size, image.shape[2])


def _in_parallel(work: Callable[[int], Any], total: int) -> Iterator[Any]:
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
