"""Images and features in GPU memory, so that a batch is gathered there without a copy from the CPU."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from trainables.data.store.images import Images

_SHARE = 0.25
"""Share of a GPU's free memory that images may take; the rest is for the network and for other trials on that GPU."""
_CHUNK_BYTES = 2**28


class Resident:
    """All images of a data set at one size, on a device."""

    def __init__(self, images: Images, device: torch.device):
        self._dtype = torch.from_numpy(images[:0].copy()).dtype
        # Stored as int16, because indexing does not support uint16 everywhere; it only moves bits.
        signed = torch.int16 if self._dtype == torch.uint16 else self._dtype
        self._images = torch.empty(images.shape, dtype=signed, device=device)
        chunk = max(1, _CHUNK_BYTES * len(images) // max(1, images.nbytes))
        for start in range(0, len(images), chunk):  # in chunks, which limits the memory of this process
            part = torch.from_numpy(np.array(images[start : start + chunk]))
            self._images[start : start + chunk] = part.view(signed).to(device)

    def take(self, indices: Tensor) -> Tensor:
        """Images [b, h, w, c], or volumes [b, d, h, w, c], at [b] positions, which are on the same device."""
        return self._images[indices].view(self._dtype)


class _Same:
    """Array as a key of a cache; equal only to the same object."""

    def __init__(self, array: Images | Tensor):
        self.array = array

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.array is other.array

    def __hash__(self) -> int:
        return id(self.array)


def resident(images: Images, device: torch.device) -> Resident | None:
    """Images on the device; None if it is not a GPU, or they would take too much of its free memory.

    The same array is copied there once, even if several runs of a process use it.
    """
    return _images_on(_Same(images), device)


def resident_features(features: Tensor, device: torch.device) -> Tensor:
    """Features on the device; unchanged if it is not a GPU, or they would take too much of its free memory."""
    return _features_on(_Same(features), device)


@functools.lru_cache(maxsize=2)  # training and validation may see different sizes
def _images_on(images: _Same, device: torch.device) -> Resident | None:
    array = images.array
    assert not isinstance(array, Tensor)
    return Resident(array, device) if array.nbytes <= _SHARE * _free_bytes(device) else None


@functools.lru_cache(maxsize=4)  # training and validation images, at the cut of one stage and of the next
def _features_on(features: _Same, device: torch.device) -> Tensor:
    tensor = features.array
    assert isinstance(tensor, Tensor)
    return tensor.to(device) if tensor.nbytes <= _SHARE * _free_bytes(device) else tensor


def _free_bytes(device: torch.device) -> int:
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0
