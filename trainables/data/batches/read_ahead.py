"""Decodes streamed images ahead of the network, in threads.

Threads rather than torch's worker processes: Pillow releases the GIL, so that two were as fast on most files (RESULTS.md); they
start at once, take no memory for a process each, read every kind of source, and cannot be left behind.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from trainables.core.available_cpus import own_cpus
from trainables.data.store.streamed_images import StreamedImages

_PARTS, _IMAGES_PER_THREAD = 2, 4
"""Parts that are decoded ahead, at least, and images for each thread, if the parts are small."""


def read_ahead(images: StreamedImages, parts: Sequence[np.ndarray], *, pinned: bool) -> Iterator[Tensor]:
    """Yields the images of each part, [b, …, c], while those of the next parts are decoded.

    Args:
        images: the images.
        parts: [b] positions of each part.
        pinned: put them in pinned memory, from which copies to a GPU do not wait.
    Raises:
        ConfigError: see `StreamedImages.read`.
    """
    threads = own_cpus()
    dtype = torch.from_numpy(np.empty(0, images.dtype)).dtype
    ahead: deque[tuple[Tensor, list[Future[None]]]] = deque()
    pool = ThreadPoolExecutor(threads, "decode")
    try:
        for part in parts:
            batch = torch.empty(len(part), *images.shape[1:], dtype=dtype, pin_memory=pinned)
            rows = batch.numpy()
            ahead.append((batch, [pool.submit(_read_into, images, i, rows[j]) for j, i in enumerate(part.tolist())]))
            if len(ahead) > _PARTS and sum(len(each) for _, each in ahead) > _IMAGES_PER_THREAD * threads + len(part):
                yield _read(*ahead.popleft())
        while ahead:
            yield _read(*ahead.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _read_into(images: StreamedImages, i: int, row: np.ndarray) -> None:
    row[:] = images.read(i)


def _read(batch: Tensor, reading: list[Future[None]]) -> Tensor:
    """Waits until all images of a part have been decoded."""
    for each in reading:
        each.result()
    return batch
