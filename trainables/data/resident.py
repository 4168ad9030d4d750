"""Images that lie on the GPU: gathered there, a batch needs no copy."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from trainables.data.dataset import Dataset

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


@functools.lru_cache(maxsize=2)  # training and validation may see different sizes
def resident(dataset: Dataset, image_size: int | None, device: torch.device) -> Resident | None:
    """The images on the device; None where it is no GPU, or they would take too much of its free memory."""
    images = dataset.images if image_size is None else dataset.images_at[image_size]
    return Resident(images, device) if images.nbytes <= _SHARE * _free_bytes(device) else None


def _free_bytes(device: torch.device) -> int:
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0
