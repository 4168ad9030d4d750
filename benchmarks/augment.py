"""What augmentation costs: a batch augmented and normalised, beside one training step of MobileNetV3-Small.

python benchmarks/augment.py [repetitions]
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional as F

from trainables.data.batches.augment import augment
from trainables.data.batches.batches import normalise
from trainables.models.build_model import build_model
from trainables.recipe.augment_config import Augment, Crop, Erase
from trainables.recipe.model_config import ModelConfig

BATCH = 32
CONFIGS = {
    "flip": Augment(horizontal_flip=0.5),
    "flip, crop": Augment(horizontal_flip=0.5, crop=Crop()),
    "flip, crop, colours": Augment(horizontal_flip=0.5, crop=Crop(), brightness=0.3, contrast=0.3, saturation=0.3),
    "everything": Augment(
        horizontal_flip=0.5,
        crop=Crop(),
        rotate_degrees=15,
        translate=0.1,
        zoom=0.1,
        brightness=0.3,
        contrast=0.3,
        saturation=0.3,
        erase=Erase(),
    ),
}


def training_step(size: int) -> Callable[[], object]:
    """Forward, backward and AdamW of the whole network."""
    config = ModelConfig(backbone="mobilenet_v3_small", weights="none")
    model = build_model(config, classes=10, cosine_scale=None, generator=torch.Generator().manual_seed(0)).model.train()
    optimizer = torch.optim.AdamW(model.parameters())
    images = torch.randn(BATCH, 3, size, size).to(memory_format=torch.channels_last)
    labels = torch.arange(BATCH) % 10

    def step() -> None:
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def preparation(size: int, config: Augment | None) -> Callable[[], object]:
    """From a gathered batch to what the network sees."""
    images = torch.randint(0, 256, (BATCH, size, size, 3), dtype=torch.uint8)
    positions, versions = np.arange(BATCH), np.zeros(BATCH, np.int64)

    def prepare() -> torch.Tensor:
        varied = augment(images, config, seed=0, positions=positions, versions=versions) if config else images
        return normalise(varied, (0.5,) * 3, (0.5,) * 3)

    return prepare


def milliseconds(work: dict[str, Callable[[], object]], repetitions: int) -> dict[str, list[float]]:
    """Times of each piece of work, taken in turns so that a busy moment of the machine meets all alike."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for repetition in range(repetitions + 2):
        for name, run in work.items():
            started = time.perf_counter()
            run()
            if repetition >= 2:  # the first ones allocate
                times[name].append((time.perf_counter() - started) * 1000)
    return times


def main() -> None:
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    torch.set_num_threads(1)
    print(f"batch of {BATCH}, one thread, {repetitions} repetitions; median (quartiles) in ms")
    print("| size | what | added to a step | of the step |\n| --- | --- | --- | --- |")
    for size in (64, 96, 224):
        work = {"step": training_step(size), "plain": preparation(size, None)}
        work |= {name: preparation(size, config) for name, config in CONFIGS.items()}
        times = milliseconds(work, repetitions)
        plain = statistics.median(times["plain"])
        step = statistics.median(times["step"]) + plain
        for name in ("step", *CONFIGS):
            added = times[name] if name == "step" else [t - plain for t in times[name]]
            low, middle, high = statistics.quantiles(added, n=4)
            share = "" if name == "step" else f"{middle / step:.1%}"
            print(f"| {size} px | {name} | {middle:.1f} ({low:.1f} … {high:.1f}) | {share} |")


if __name__ == "__main__":
    main()
