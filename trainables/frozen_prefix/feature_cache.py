"""Activations of the frozen prefix: computed once per node, memory-mapped, shared by all epochs of all trials.

While the blocks below the cut keep their pretrained weights and their BatchNorm stands still, what leaves them for an image is
the same in every epoch of every trial. (AutoFreeze and Egeria reuse such features within one run; Nautilus and Hippo plan the
runs of a model selection around them.) The prefix always takes as many images together, so that on CPU cached features
have the very bits of those that are computed when they are needed: a cache changes speed, not results.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from filelock import Timeout
from torch import Tensor

from trainables.core.atomic_write import replacing
from trainables.frozen_prefix.feature_file import FeatureWriter, load_features
from trainables.storage import cache_folder

VERSION = 1
"""Of how features are computed and written; a new one builds new caches."""

Progress = Callable[[int, int], None]
"""Called as `progress(done, total)`, in images."""


class UncachedError(Exception):
    """Why features are not cached. The run goes on without."""


def worth_caching(*, epochs: float, compute_s: float, gather_s: float, write_s: float) -> bool:
    """Whether computing features once and reading them in each epoch takes less time than computing them in each.

    Args:
        epochs: that will need them, over all runs.
        compute_s, gather_s, write_s: of one image.
    """
    return compute_s + write_s + epochs * gather_s < epochs * compute_s


@dataclass(frozen=True, eq=False, kw_only=True)
class Images:
    """Images whose features are kept together: those that train or those that judge, in one view."""

    name: str
    """For people: `training images, view 3 of 8`."""
    key: str
    """Changes when anything does that their features depend on, the cut aside."""
    source: str
    """Where they come from, for people."""
    positions: np.ndarray
    """[n] ascending."""
    load: Callable[[np.ndarray], Tensor]
    """Positions [b] -> images as the network takes them."""
    epochs: Mapping[int, float]
    """Cut -> epochs, over all runs, that will read its features."""


class PrefixCache:
    """Features of some cuts through one network."""

    def __init__(
        self,
        prefix: Callable[[Tensor, int, int], Tensor],
        *,
        blocks: Sequence[str],
        batch: int,
        rounded_to: torch.dtype | None,
        progress: Progress | None,
    ):
        """
        Args:
            prefix: `prefix(x, start, cut)` takes what enters block `start`, [b, …], to what enters block `cut`.
            blocks: their names.
            batch: how many images go through together.
            rounded_to: type in which features are kept; None: their own.
            progress: told how far a build is.
        """
        self._prefix, self._progress = prefix, progress
        self._blocks, self._batch, self._rounded_to = blocks, batch, rounded_to
        self._refused: dict[tuple[str, int], str] = {}
        self.spent_s = 0.0
        """Time in which features were computed to be kept."""

    def features(self, images: Images, cut: int) -> Tensor:
        """[n, …] features of the images, in the order of their positions; computed where nobody has yet.

        With them come those of all smaller cuts that will be worth it: they lie on the way.

        Raises:
            UncachedError: if they would cost more than they save, find no room, or are under way in another process.
        """
        if (found := load_features(_array(images, cut))) is not None:
            return found
        if reason := self._refused.get((images.key, cut)):
            raise UncachedError(reason)
        try:
            with cache_folder.building(*(_array(images, c) for c in self._missing(images, cut)), wait=False):
                began = time.perf_counter()
                self._build(images, cut)
                self.spent_s += time.perf_counter() - began
        except Timeout:
            raise UncachedError("another run is computing them right now") from None
        except OSError as error:
            raise self._refusal(images, cut, f"they cannot be kept: {error}") from None
        if (found := load_features(_array(images, cut))) is None:
            raise self._refusal(images, cut, "they had to make room for others at once")
        return found

    def _refusal(self, images: Images, cut: int, reason: str) -> UncachedError:
        """An error that stays: the next epoch need not try again."""
        self._refused[images.key, cut] = reason
        return UncachedError(reason)

    def _missing(self, images: Images, cut: int) -> list[int]:
        """This cut and those on the way to it that will be needed, as far as nobody has computed them; ascending."""
        return [c for c in range(1, cut + 1) if images.epochs.get(c) and load_features(_array(images, c)) is None]

    def _build(self, images: Images, cut: int) -> None:
        missing = self._missing(images, cut)
        if cut not in missing:
            return  # another run was faster
        # From rounded features others would come out than from the images.
        start, below = (0, None) if self._rounded_to else _largest_below(images, missing[0])
        count = len(images.positions)

        def entering(first: int) -> Tensor:
            part = slice(first, first + self._batch)
            return images.load(images.positions[part]) if below is None else below[part]

        sizes = self._worth_it(images, entering(0), start, missing)
        if cut not in sizes:
            raise self._refusal(images, cut, "they would cost more than they save")
        arrays = {c: _array(images, c) for c in sizes}
        cache_folder.make_room(sum(sizes.values()) * count, beside=[*arrays.values(), _array(images, start)])
        with ExitStack() as stack:
            writers = {c: FeatureWriter(stack.enter_context(replacing(a, "wb")), count) for c, a in arrays.items()}
            for first in range(0, count, self._batch):
                for c, features in self._along(entering(first), start, list(arrays)):
                    writers[c].write(features if self._rounded_to is None else features.to(self._rounded_to))
                if self._progress:
                    self._progress(min(first + self._batch, count), count)
        for c, array in arrays.items():
            what = f"{images.name} after {self._blocks[c - 1]}"
            cache_folder.add(array, kind="features", source=images.source, what=what, images=count, own=writers[c].own)

    def _along(self, x: Tensor, start: int, cuts: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
        """The features at some ascending cuts, in one pass from block `start` on."""
        for cut in cuts:
            x = self._prefix(x, start, cut)
            start = cut
            yield cut, x

    def _worth_it(self, images: Images, chunk: Tensor, start: int, cuts: Sequence[int]) -> dict[int, int]:
        """Those of some ascending cuts that are worth caching, with the bytes an image takes; judged by a chunk's time."""
        worth: dict[int, int] = {}
        for _ in range(2):  # the first pass pays for what torch prepares
            began, worth = time.perf_counter(), {}
            for cut, features in self._along(chunk, start, cuts):
                compute_s = (time.perf_counter() - began) / len(chunk)
                size = features[0].numel() * (self._rounded_to or features.dtype).itemsize
                disk = _disk_bytes_per_s(cache_folder.cache_folder())
                memory = _MEMORY_BYTES_PER_S if size * len(images.positions) < _memory_bytes() / 4 else disk
                epochs = images.epochs[cut]
                if worth_caching(epochs=epochs, compute_s=compute_s, gather_s=size / memory, write_s=size / disk):
                    worth[cut] = size
        return worth


def _array(images: Images, cut: int) -> Path:
    return cache_folder.entry_path("features", f"{VERSION}\0{images.key}\0{cut}")


def _largest_below(images: Images, cut: int) -> tuple[int, Tensor | None]:
    """The largest cached cut below this one, with its features; 0 where there is none."""
    for start in range(cut - 1, 0, -1):
        if (features := load_features(_array(images, start))) is not None:
            return start, features
    return 0, None


_MEMORY_BYTES_PER_S = 2e9
"""At which rows are copied out of the page cache."""


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@functools.cache
def _disk_bytes_per_s(folder: Path) -> float:
    """How fast the disk under a folder takes what is written; measured once."""
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
