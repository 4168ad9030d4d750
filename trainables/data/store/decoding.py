"""Decodes images and resizes them, in threads: Pillow releases the GIL."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from trainables.core.available_cpus import available_cpus
from trainables.data.formats.images import BadImageError
from trainables.data.formats.resample import resize_volume, to_box
from trainables.data.store.resize import resize_image
from trainables.recipe.data_settings.image_settings import Fit


class Resized(NamedTuple):
    """Decoded image at some shapes."""

    sides: tuple[int, int]
    """Height and width before resizing, in pixels."""
    images: list[np.ndarray]


def decode_resized(
    decode: Callable[[], np.ndarray], shapes: Sequence[tuple[int, ...]], fit: Fit, box: int | None = None
) -> Resized | BadImageError:
    """Decodes an image and resizes it to each shape.

    Args:
        decode: decodes the image.
        shapes: (height, width), or (depth, height, width) for volumes.
        fit, box: see `open_stores`.
    Returns:
        The image at each shape, or the error if it cannot be read.
    """
    try:
        image = decode()
    except BadImageError as error:
        return error
    return Resized(image.shape[-3:-1], [_resized(image, shape, fit, box) for shape in shapes])


def _resized(image: np.ndarray, shape: tuple[int, ...], fit: Fit, box: int | None) -> np.ndarray:
    if len(shape) == 2:
        return resize_image(image, shape[0], fit)
    return resize_volume(image if box is None else to_box(image, (shape[0], box, box), fit), shape)


def in_parallel(work: Callable[[int], Any], total: int, *, threads: int | None = None) -> Iterator[Any]:
    """Yields work(0), work(1), … in order, computed ahead.

    Args:
        work: the work.
        total: number of pieces of work.
        threads: number of threads; None: one per core of the machine.
    """
    threads = threads or available_cpus()
    with ThreadPoolExecutor(threads) as pool:
        ahead: deque[Future[Any]] = deque()
        for i in range(total):
            ahead.append(pool.submit(work, i))
            if len(ahead) > 16 * threads:  # bounded, or decoded images would fill the memory while a slow disk writes
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
