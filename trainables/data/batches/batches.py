"""Batches of images on the device: order, sampling, gathering, normalising."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from trainables.core.seeding import derived_seed, random_state
from trainables.data.batches.gpu_resident import resident
from trainables.data.batches.read_ahead import read_ahead
from trainables.data.dataset import Dataset
from trainables.data.store.images import Images
from trainables.data.store.streamed_images import StreamedImages
from trainables.models.precision import for_device

__all__ = [
    "derived_seed",
    "epoch_order",
    "fixed_noise",
    "gather",
    "gather_each",
    "generator",
    "normalise",
    "own_parts",
    "own_statistics",
    "split_batches",
    "standardise",
]


def generator(seed: int, purpose: str, epoch: int = 0) -> torch.Generator:
    """Torch's random number generator for a purpose and epoch, on the CPU.

    Args:
        seed: seed of the training.
        purpose: name of what is drawn; each purpose has its own stream.
        epoch: counted from 1; 0 for what is drawn once.
    """
    return torch.Generator().manual_seed(derived_seed(seed, purpose, epoch))


def epoch_order(dataset: Dataset, *, balanced: bool, seed: int, epoch: int) -> np.ndarray:
    """Positions of the images that train in an epoch, in the order of training.

    Args:
        dataset: images, labels and split.
        balanced: draw with replacement, each class equally likely and each image of a class too; otherwise every training
            image appears once.
        seed: seed of the training.
        epoch: counted from 1.
    Returns:
        [k] positions in the data set; k training images in all.
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
    """Splits an order into ⌈n / batch_size⌉ batches without dropping images.

    Their sizes differ by one at most, so that BatchNorm never gets a tiny last batch. With a batch size of 2 and an odd number of
    images, one batch has 3 images, rather than a single one.
    """
    return np.array_split(order, count) if (count := batch_count(len(order), batch_size)) else []


def batch_count(images: int, batch_size: int) -> int:
    """Number of batches that `split_batches` makes of so many images."""
    count = math.ceil(images / batch_size)
    return count if batch_size == 1 or not images else max(1, min(count, images // 2))


def own_parts(sizes: Sequence[int], part_of: Callable[[int], slice]) -> tuple[np.ndarray, list[int]]:
    """Locates one process's parts of consecutive batches.

    Args:
        sizes: images in each batch.
        part_of: size of a batch -> the slice of it that belongs to this process.
    Returns:
        [k] places in the concatenated batches, and the size of each part.
    """
    starts, parts = np.cumsum(sizes) - sizes, [part_of(size) for size in sizes]
    places = [np.arange(start + part.start, start + part.stop) for start, part in zip(starts, parts, strict=True)]
    return np.concatenate(places), [len(place) for place in places]


def gather(
    dataset: Dataset, indices: np.ndarray, device: torch.device | str = "cpu", *, image_size: int | None = None
) -> tuple[Tensor, Tensor]:
    """Copies the images and labels at some positions to the device.

    Args:
        dataset: images and labels.
        indices: [b] positions in the data set.
        device: device of the result.
        image_size: a key of `dataset.images_at`, in pixels; None: the size in the data config.
    Returns:
        Images [b, h, w, c] or volumes [b, d, h, w, c], uint8 or uint16 (float32 in 0..255 on mps), and labels [b] int64.
    """
    labels = torch.from_numpy(dataset.labels[indices]).to(device, non_blocking=True)
    images = dataset.images if image_size is None else dataset.images_at[image_size]
    (gathered,) = gather_each(images, [indices], torch.device(device))
    return gathered, labels


def gather_each(images: Images, parts: Sequence[np.ndarray], device: torch.device) -> Iterator[Tensor]:
    """Yields the images of each part, on the device; streamed images are decoded ahead.

    Args:
        images: the images.
        parts: [b] positions of each part.
        device: device of the result.
    """
    if (on_gpu := resident(images, device)) is not None:
        for part in parts:
            yield on_gpu.take(torch.from_numpy(part).to(device, non_blocking=True))
    elif isinstance(images, StreamedImages):
        for batch in read_ahead(images, parts, pinned=device.type == "cuda"):
            yield for_device(batch, device)
    else:
        for part in parts:
            yield for_device(images[part], device)


def normalise(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Normalises images to the network's input: (images / 255 − mean) / std, with grey repeated over all channels.

    Args:
        images: [b, h, w, c], or volumes [b, d, h, w, c], c 1 or 3: uint8, uint16, or float32 in 0..255 as `augment` returns them;
            not modified.
        mean, std: [channels] statistics of images scaled to 0..1.
    Returns:
        [b, channels, h, w] or [b, channels, d, h, w] float32 in channels-last memory format.
    """
    scale, shift = _scale_and_shift(mean, std, images.shape[-2], images.device)
    repeated = _as_floats(images).expand(*images.shape[:-1], len(mean))
    rows = repeated.flatten(-2)
    return torch.addcmul(shift, rows, scale, out=rows).view(repeated.shape).movedim(-1, 1)


def own_statistics(volumes: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each volume's voxels that are not black: [b] float64 each, in 0..255.

    Args:
        volumes: [b, d, h, w, c] uint8 or uint16.
    """
    # Integers, because sums of floats would depend on the batch. At 16 bits, the squares of 2²⁹ voxels stay below 2⁶³.
    values = volumes.flatten(1).to(torch.int64)
    count = (values > 0).sum(dim=1).clamp(min=1).double()
    mean = values.sum(dim=1).double() / count
    deviation = ((values * values).sum(dim=1).double() / count - mean * mean).clamp(min=0).sqrt()
    unit = 257 if volumes.dtype == torch.uint16 else 1
    return mean / unit, deviation / unit


def standardise(volumes: Tensor, mean: Tensor, deviation: Tensor, *, noise: bool = False) -> Tensor:
    """Standardises each volume by its own statistics, for networks trained on such volumes: (volume − mean) / deviation.

    Args:
        volumes: [b, d, h, w, c] as `normalise` takes them.
        mean, deviation: [b] in 0..255, see `own_statistics`; a deviation of 0 is replaced by 1.
        noise: fill black voxels with `fixed_noise`.
    Returns:
        [b, c, d, h, w] float32 in channels-last memory format.
    """
    values = _as_floats(volumes)
    per_volume = (-1, *[1] * (values.ndim - 1))
    scale = 1 / torch.where(deviation > 0, deviation, 1.0)
    black = values <= 0 if noise else None
    values = values.sub_(mean.float().view(per_volume)).mul_(scale.float().view(per_volume))
    if black is not None:
        values = torch.where(black, fixed_noise(tuple(values.shape[1:-1]), values.device)[..., None], values)
    return values.movedim(-1, 1)


@functools.lru_cache(maxsize=4)
def fixed_noise(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Standard normal noise for the black voxels of volumes, [d, h, w].

    MedicalNet's authors draw it again for each volume and epoch. Here it depends on the position alone, so that a network gives an
    image the same prediction whenever it sees it, and an ONNX file can hold it.
    """
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)


def _as_floats(images: Tensor) -> Tensor:
    """Float32 copy in 0..255."""
    if images.dtype == torch.uint16:
        images = images.float() / 257  # not rounded to integers, which would lose the extra bits
    return images.to(torch.float32, memory_format=torch.contiguous_format, copy=True)


@functools.cache
def _scale_and_shift(
    mean: tuple[float, ...], std: tuple[float, ...], width: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Scale and shift, [width · channels] each, so that row · scale + shift is a normalised row with channels innermost."""
    # Repeated along the row: inner loops over only three channels are not vectorised and take three times as long.
    deviation = torch.tensor(std, dtype=torch.float64)
    scale, shift = 1 / (255 * deviation), -torch.tensor(mean, dtype=torch.float64) / deviation
    return scale.float().repeat(width).to(device), shift.float().repeat(width).to(device)
