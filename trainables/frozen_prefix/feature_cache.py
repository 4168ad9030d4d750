"""Cache of the frozen prefix's features: computed once per node, memory-mapped, shared by all epochs of all trials.

As long as the blocks below the cut are frozen at their pretrained weights, BatchNorm included, their output for an image is the
same in every epoch of every trial. (AutoFreeze and Egeria reuse such features within one run; Nautilus and Hippo plan the runs of
a model selection around them.) The prefix always gets the same number of images at a time, so that on CPU cached features equal
uncached ones to the last bit: the cache changes speed, not results.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from filelock import Timeout
from torch import Tensor

from trainables.core.atomic_write import replacing
from trainables.frozen_prefix.feature_file import FeatureWriter, load_features
from trainables.storage import cache_folder

VERSION = 2
"""Version of how features are computed and written; a new one invalidates all caches."""

Progress = Callable[[int, int], None]
"""Callback `progress(done, total)`, in images."""


class UncachedError(Exception):
    """Features that are not cached; the message is the reason. The run continues without the cache."""


def is_worth_caching(*, epochs: float, compute_s: float, gather_s: float, write_s: float) -> bool:
    """Returns True if computing features once and reading them in each epoch is faster than computing them in each epoch.

    Args:
        epochs: number of epochs that will need the features, over all runs.
        compute_s: seconds to compute the features of one image.
        gather_s: seconds to read them from the cache.
        write_s: seconds to write them.
    """
    return compute_s + write_s + epochs * gather_s < epochs * compute_s


@dataclass(frozen=True, eq=False, kw_only=True)
class CachedImages:
    """Images whose features are cached together: the training or the validation images, in one view."""

    name: str
    """Readable name, such as `training images, view 3`."""
    key: str
    """Identity of everything the features depend on, except for the cut."""
    source: str
    """Readable name of the data source."""
    positions: np.ndarray
    """[n] positions in the data set, ascending."""
    load: Callable[[Sequence[np.ndarray]], Iterator[Tensor]]
    """Yields the images at the positions [b] of each chunk as the network takes them."""
    epochs: Mapping[int, float]
    """Number of epochs, over all runs, that will read the features, by cut."""


class PrefixCache:
    """Cache of one network's features at several cuts."""

    def __init__(
        self,
        prefix: Callable[[Tensor, int, int], Tensor],
        *,
        blocks: Sequence[str],
        cut_keys: Sequence[str],
        batch: int,
        rounded_to: torch.dtype | None,
        progress: Progress | None,
    ):
        """Prepares the cache; computes nothing yet.

        Args:
            prefix: `prefix(x, start, cut)` passes [b, …] inputs of block `start` on to the input of block `cut`.
            blocks: names of the blocks.
            cut_keys: identity of each cut, from 0 to the number of blocks, in all recipes of the network.
            batch: number of images that pass through the prefix at a time.
            rounded_to: type of the cached features; None: the type they are computed in.
            progress: callback for the progress of computing features.
        """
        self._prefix, self._progress = prefix, progress
        self._blocks, self._cut_keys, self._batch, self._rounded_to = blocks, cut_keys, batch, rounded_to
        self._refused: dict[tuple[str, int], str] = {}
        self.spent_s = 0.0
        """Seconds spent on computing features for the cache."""

    def features(self, images: CachedImages, cut: int) -> Tensor:
        """Returns the features of images at a cut; computes them if they are not cached yet.

        The same pass also caches those of smaller cuts that are worth it, because it computes them on the way.

        Returns:
            [n, …] in the order of the images' positions.
        Raises:
            UncachedError: if caching costs more than it saves, there is no room, or another process is computing the features.
        """
        if (found := load_features(self._array(images, cut))) is not None:
            return found
        if reason := self._refused.get((images.key, cut)):
            raise UncachedError(reason)
        try:
            with cache_folder.building(*(self._array(images, c) for c in self._missing(images, cut)), wait=False):
                began = time.perf_counter()
                self._build(images, cut)
                self.spent_s += time.perf_counter() - began
        except Timeout:
            raise UncachedError("another run is computing them right now") from None
        except OSError as error:
            raise self._refusal(images, cut, f"they cannot be written to the cache: {error}") from None
        if (found := load_features(self._array(images, cut))) is None:
            raise self._refusal(images, cut, "they were deleted at once to make room for others")
        return found

    def _refusal(self, images: CachedImages, cut: int, reason: str) -> UncachedError:
        """Creates an error that is remembered, so that the next epoch does not try again."""
        self._refused[images.key, cut] = reason
        return UncachedError(reason)

    def _missing(self, images: CachedImages, cut: int) -> list[int]:
        """This cut and the needed cuts below it whose features are not cached yet, ascending."""
        return [c for c in range(1, cut + 1) if images.epochs.get(c) and load_features(self._array(images, c)) is None]

    def _build(self, images: CachedImages, cut: int) -> None:
        missing = self._missing(images, cut)
        if cut not in missing:
            return  # another run was faster
        # Rounded features cannot be a starting point: the result would differ from that of the images.
        start, below = (0, None) if self._rounded_to else self._largest_below(images, missing[0])
        count = len(images.positions)

        starts = range(0, count, self._batch)

        def entering(some: Sequence[int]) -> Iterator[Tensor]:
            parts = [slice(first, first + self._batch) for first in some]
            return (
                images.load([images.positions[part] for part in parts]) if below is None else (below[p] for p in parts)
            )

        sizes = self._worth_it(images, partial(entering, starts[:1]), start, missing)
        if cut not in sizes:
            raise self._refusal(images, cut, "they would cost more than they save")
        arrays = {c: self._array(images, c) for c in sizes}
        cache_folder.make_room(sum(sizes.values()) * count, beside=[*arrays.values(), self._array(images, start)])
        with ExitStack() as stack:
            writers = {c: FeatureWriter(stack.enter_context(replacing(a, "wb")), count) for c, a in arrays.items()}
            for first, chunk in zip(starts, entering(starts), strict=True):
                for c, features in self._along(chunk, start, list(arrays)):
                    writers[c].write(features if self._rounded_to is None else features.to(self._rounded_to))
                if self._progress:
                    self._progress(min(first + self._batch, count), count)
        for c, array in arrays.items():
            what = f"{images.name} after {self._blocks[c - 1]}"
            cache_folder.add(array, kind="features", source=images.source, what=what, images=count, own=writers[c].own)

    def _along(self, x: Tensor, start: int, cuts: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
        """Yields each of some ascending cuts with its features, in one pass from block `start`."""
        for cut in cuts:
            x = self._prefix(x, start, cut)
            start = cut
            yield cut, x

    def _array(self, images: CachedImages, cut: int) -> Path:
        return cache_folder.entry_path("features", f"{VERSION}\0{images.key}\0{self._cut_keys[cut]}")

    def _largest_below(self, images: CachedImages, cut: int) -> tuple[int, Tensor | None]:
        """Returns the largest cached cut below this one and its features; 0 and None if there is none."""
        for start in range(cut - 1, 0, -1):
            if (features := load_features(self._array(images, start))) is not None:
                return start, features
        return 0, None

    def _worth_it(
        self, images: CachedImages, load: Callable[[], Iterator[Tensor]], start: int, cuts: Sequence[int]
    ) -> dict[int, int]:
        """Returns the bytes an image takes, for each of some ascending cuts that is worth caching; timed on one chunk of images.

        Loading it counts, too, because streamed images are decoded in each epoch whose features are not cached.
        """
        worth: dict[int, int] = {}
        for _ in range(2):  # the first pass includes torch's one-time preparations
            began, worth = time.perf_counter(), {}
            (chunk,) = load()
            for cut, features in self._along(chunk, start, cuts):
                compute_s = (time.perf_counter() - began) / len(chunk)
                size = features[0].numel() * (self._rounded_to or features.dtype).itemsize
                disk = _disk_bytes_per_s(cache_folder.cache_folder())
                memory = _MEMORY_BYTES_PER_S if size * len(images.positions) < _memory_bytes() / 4 else disk
                epochs = images.epochs[cut]
                if is_worth_caching(epochs=epochs, compute_s=compute_s, gather_s=size / memory, write_s=size / disk):
                    worth[cut] = size
        return worth


_MEMORY_BYTES_PER_S = 2e9
"""Assumed speed at which rows are copied from the page cache."""


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@functools.cache
def _disk_bytes_per_s(folder: Path) -> float:
    """Write speed of the disk that holds a folder; measured once."""
    block, blocks = os.urandom(1 << 20), 8
    probe = folder / f".probe-{os.getpid()}"
    began = time.perf_counter()
    try:
        with probe.open("wb") as file:
            for _ in range(blocks):
                file.write(block)
            os.fsync(file.fileno())
    finally:
        probe.unlink(missing_ok=True)
    return blocks * len(block) / (time.perf_counter() - began)
