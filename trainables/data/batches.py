"""From positions to batches on the device: order, sampling, gathering, normalising."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from trainables.data.dataset import Dataset
from trainables.data.resident import resident
from trainables.data.seeding import derived_seed, random_state

__all__ = ["derived_seed", "epoch_order", "gather", "generator", "normalise", "own_parts", "split_batches"]


def generator(seed: int, purpose: str, epoch: int = 0) -> torch.Generator:
    """Torch's random numbers for a purpose, on the CPU."""
    return torch.Generator().manual_seed(derived_seed(seed, purpose, epoch))


def epoch_order(dataset: Dataset, *, balanced: bool, seed: int, epoch: int) -> np.ndarray:
    """[k] positions of the images that train in an epoch, in their order.

    Args:
        balanced: draw with replacement, each class equally likely and each image of a class too; else every training
            image comes once.
    """
    random = random_state(seed, "order", epoch)
    order: np.ndarray
    if not balanced:
        order = random.permutation(dataset.train)
        return order
    counts = dataset.train_counts
    by_class = dataset.train[np.argsort(dataset.labels[dataset.train], kind="stable")]
    starts = np.cumsum(counts) - counts
    drawn = random.randint(len(counts), size=len(dataset.train))
    within = (random.random_sample(len(drawn)) * counts[drawn]).astype(np.int64)
    order = by_class[starts[drawn] + within]
    return order


def split_batches(order: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """The order in ⌈n / batch_size⌉ batches, nothing dropped.

    Their sizes differ by one at most: BatchNorm never meets a tiny last batch.
    """
    return np.array_split(order, math.ceil(len(order) / batch_size)) if len(order) else []


def own_parts(sizes: Sequence[int], part_of: Callable[[int], slice]) -> tuple[np.ndarray, list[int]]:
    """Where a process's parts of consecutive batches lie in all of them.

    Args:
        sizes: of the batches.
        part_of: a batch's size -> the part of it.
    Returns:
        [k] places in the batches' order, and the sizes of the parts.
    """
    starts, parts = np.cumsum(sizes) - sizes, [part_of(size) for size in sizes]
    places = [np.arange(start + part.start, start + part.stop) for start, part in zip(starts, parts, strict=True)]
    return np.concatenate(places), [len(place) for place in places]


def gather(
    dataset: Dataset, indices: np.ndarray, device: torch.device | str = "cpu", *, image_size: int | None = None
) -> tuple[Tensor, Tensor]:
    """Images [b, h, w, c] uint8 or uint16 and labels [b] int64 at some positions, on the device.

    Args:
        image_size: a key of `dataset.images_at`; None: that of the data config.
    """
    device = torch.device(device)
    labels = torch.from_numpy(dataset.labels[indices]).to(device, non_blocking=True)
    if (held := resident(dataset, image_size, device)) is not None:
        return held.taken(torch.from_numpy(indices).to(device, non_blocking=True)), labels
    images = dataset.images if image_size is None else dataset.images_at[image_size]
    return torch.from_numpy(images[indices]).to(device, non_blocking=True), labels


def normalise(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """What the network sees: (images / 255 − mean) / std, grey repeated over three channels.

    Args:
        images: [b, h, w, c], c 1 or 3: uint8, uint16, or float32 in 0..255 as `augment` gives them; left as they are.
        mean, std: [3] of images scaled to 0..1.
    Returns:
        [b, 3, h, w] float32 in channels-last memory format.
    """
    count, height, width, _ = images.shape
    scale, shift = _scale_and_shift(mean, std, width, images.device)
    if images.dtype == torch.uint16:
        images = images.float() / 257  # to 0..255, without rounding to whole numbers
    values = images.to(torch.float32, memory_format=torch.contiguous_format, copy=True)
    rows = values.expand(-1, -1, -1, 3).flatten(2)
    return torch.addcmul(shift, rows, scale, out=rows).view(count, height, width, 3).permute(0, 3, 1, 2)


@functools.cache
def _scale_and_shift(
    mean: tuple[float, ...], std: tuple[float, ...], width: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """[width · 3] each: row · scale + shift is a row of the normalised image, channels innermost."""
    # Repeated along the row: inner loops over three channels do not vectorise, and take three times as long.
    deviation = torch.tensor(std, dtype=torch.float64)
    scale, shift = 1 / (255 * deviation), -torch.tensor(mean, dtype=torch.float64) / deviation
    return scale.float().repeat(width).to(device), shift.float().repeat(width).to(device)
