"""Features of images as a cache entry, in the memory layout in which the network computes them."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from trainables.storage import cache_folder

_MAPS = (4, 5)
"""Numbers of dimensions of batches of feature maps, of images and of volumes; they are stored channels-last."""


def load_features(array: Path) -> Tensor | None:
    """Loads features [n, …] as they were written, memory-mapped; do not write to them. None if missing or incomplete."""
    if (entry := cache_folder.find(array)) is None:
        return None
    try:
        return _mapped(array, array.stat().st_ino, entry.own["dtype"])
    except FileNotFoundError:  # removed in the meantime
        return None


@functools.lru_cache(maxsize=8)
def _mapped(array: Path, inode: int, dtype: str) -> Tensor:  # noqa: ARG001  a new file of this name has another inode
    """Returns the same object for the same file, so that it is sent to a GPU once."""
    features = torch.from_numpy(np.load(array, mmap_mode="c", allow_pickle=False)).view(getattr(torch, dtype))
    return features.movedim(-1, 1) if features.dim() in _MAPS else features


def gather_features(features: Tensor, rows: Tensor) -> Tensor:
    """Features [b, …] of some images, in the same memory layout, which `features[rows]` would change."""
    return features.movedim(1, -1)[rows].movedim(-1, 1) if features.dim() in _MAPS else features[rows]


class FeatureWriter:
    """Writes features batch by batch."""

    def __init__(self, file: IO[bytes], count: int):
        """Prepares writing.

        Args:
            file: the array file, open for writing.
            count: total number of images.
        """
        self._file, self._count = file, count
        self.own: dict[str, Any] = {}
        """Facts for the cache entry, which `load_features` needs."""

    def write(self, features: Tensor) -> None:
        """Writes the features [b, …] of the next b images."""
        rows = (features.movedim(1, -1) if features.dim() in _MAPS else features).contiguous().cpu()
        # NumPy has no bfloat16, so its bits are stored as int16.
        array = (rows.view(torch.int16) if rows.dtype == torch.bfloat16 else rows).numpy()
        if not self.own:
            self.own = {"dtype": str(rows.dtype).removeprefix("torch.")}
            shape = (self._count, *array.shape[1:])
            np.lib.format.write_array_header_1_0(
                self._file, {"descr": array.dtype.str, "fortran_order": False, "shape": shape}
            )
        self._file.write(array.data)
