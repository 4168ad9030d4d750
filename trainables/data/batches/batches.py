"""From positions to batches on the device: order, sampling, gathering, normalising."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from trainables.core.seeding import derived_seed, random_state
from trainables.data.batches.gpu_resident import resident
from trainables.data.dataset import Dataset

__all__ = [
    "derived_seed",
    "epoch_order",
    "gather",
    "generator",
    "normalise",
    "own_parts",
    "own_statistics",
    "split_batches",
    "standardise",
]


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
    """Images [b, h, w, c] or volumes [b, d, h, w, c], uint8 or uint16, and labels [b] int64 at some positions, on the device.

    Args:
        image_size: a key of `dataset.images_at`; None: that of the data config.
    """
    device = torch.device(device)
    labels = torch.from_numpy(dataset.labels[indices]).to(device, non_blocking=True)
    images = dataset.images if image_size is None else dataset.images_at[image_size]
    if (held := resident(images, device)) is not None:
        return held.taken(torch.from_numpy(indices).to(device, non_blocking=True)), labels
    return torch.from_numpy(images[indices]).to(device, non_blocking=True), labels


def normalise(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """What the network sees: (images / 255 − mean) / std, grey repeated over its channels.

    Args:
        images: [b, h, w, c], or volumes [b, d, h, w, c], c 1 or 3: uint8, uint16, or float32 in 0..255 as `augment` gives them;
            left as they are.
        mean, std: [channels] of images scaled to 0..1.
    Returns:
        [b, channels, h, w] or [b, channels, d, h, w] float32 in channels-last memory format.
    """
    scale, shift = _scale_and_shift(mean, std, images.shape[-2], images.device)
    repeated = _as_floats(images).expand(*images.shape[:-1], len(mean))
    rows = repeated.flatten(-2)
    return torch.addcmul(shift, rows, scale, out=rows).view(repeated.shape).movedim(-1, 1)


def own_statistics(volumes: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, [b] float64 each, of the voxels of each volume that are not black, in 0..255.

    Args:
        volumes: [b, d, h, w, c] uint8 or uint16.
    """
    # Whole numbers: sums of floats would depend on the batch. At 16 bits, squares of 2²⁹ voxels stay below 2⁶³.
    values = volumes.flatten(1).to(torch.int64)
    count = (values > 0).sum(dim=1).clamp(min=1).double()
    mean = values.sum(dim=1).double() / count
    deviation = ((values * values).sum(dim=1).double() / count - mean * mean).clamp(min=0).sqrt()
    unit = 257 if volumes.dtype == torch.uint16 else 1
    return mean / unit, deviation / unit


def standardise(volumes: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """What a network sees that was trained on volumes of mean 0 and deviation 1: (volumes − mean) / deviation, each with its own.

    Args:
        volumes: [b, d, h, w, c] as `normalise` takes them.
        mean, deviation: [b] in 0..255, see `own_statistics`; a volume of a single value gets a deviation of 1.
    Returns:
        [b, c, d, h, w] float32 in channels-last memory format.
    """
    values = _as_floats(volumes)
    of_each = (-1, *[1] * (values.ndim - 1))
    scale = 1 / torch.where(deviation > 0, deviation, 1.0)
    return values.sub_(mean.float().view(of_each)).mul_(scale.float().view(of_each)).movedim(-1, 1)


def _as_floats(images: Tensor) -> Tensor:
    """A copy in 0..255, float32."""
    if images.dtype == torch.uint16:
        images = images.float() / 257  # without rounding to whole numbers
    return images.to(torch.float32, memory_format=torch.contiguous_format, copy=True)


@functools.cache
def _scale_and_shift(
    mean: tuple[float, ...], std: tuple[float, ...], width: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """[width · channels] each: row · scale + shift is a row of the normalised image, channels innermost."""
    # Repeated along the row: inner loops over three channels do not vectorise, and take three times as long.
    deviation = torch.tensor(std, dtype=torch.float64)
    scale, shift = 1 / (255 * deviation), -torch.tensor(mean, dtype=torch.float64) / deviation
    return scale.float().repeat(width).to(device), shift.float().repeat(width).to(device)
