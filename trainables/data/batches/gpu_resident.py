"""Images that lie on the GPU: gathered there, a batch needs no copy."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

_SHARE = 0.25
"""Of the free memory of a GPU that images may take; the rest is the network's, and that of trials beside it."""
_CHUNK_BYTES = 2**28


class Resident:
    """All images of a data set at one size, on a device."""

    def __init__(self, images: np.ndarray, device: torch.device):
        self._dtype = torch.from_numpy(images[:0].copy()).dtype
        # As int16: indexing does not know uint16 everywhere, and only moves bits.
        signed = torch.int16 if self._dtype == torch.uint16 else self._dtype
        self._images = torch.empty(images.shape, dtype=signed, device=device)
        chunk = max(1, _CHUNK_BYTES * len(images) // max(1, images.nbytes))
        for start in range(0, len(images), chunk):  # not all at once, which would take the memory of this process, too
            part = torch.from_numpy(np.array(images[start : start + chunk]))
            self._images[start : start + chunk] = part.view(signed).to(device)

    def taken(self, indices: Tensor) -> Tensor:
        """[b, h, w, c] images, or [b, d, h, w, c] volumes, at [b] positions that lie on the same device."""
        return self._images[indices].view(self._dtype)


class _Same:
    """An array as a key: equal to itself alone."""

    def __init__(self, array: np.ndarray | Tensor):
        self.array = array

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.array is other.array

    def __hash__(self) -> int:
        return id(self.array)


def resident(images: np.ndarray, device: torch.device) -> Resident | None:
    """Images on the device; None where it is no GPU, or they would take too much of its free memory.

    The same array is sent there once, however many runs of a process take it.
    """
    return _images_on(_Same(images), device)


def resident_features(features: Tensor, device: torch.device) -> Tensor:
    """Features on the device, or as they are where that is no GPU or they would take too much of its free memory."""
    return _features_on(_Same(features), device)


@functools.lru_cache(maxsize=2)  # training and validation may see different sizes
def _images_on(images: _Same, device: torch.device) -> Resident | None:
    array = images.array
    assert isinstance(array, np.ndarray)
    return Resident(array, device) if array.nbytes <= _SHARE * _free_bytes(device) else None


@functools.lru_cache(maxsize=4)  # training and validation images, at the cut of one stage and of the next
def _features_on(features: _Same, device: torch.device) -> Tensor:
    tensor = features.array
    assert isinstance(tensor, Tensor)
    return tensor.to(device) if tensor.nbytes <= _SHARE * _free_bytes(device) else tensor


def _free_bytes(device: torch.device) -> int:
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0
