"""Seconds an epoch (training and validation) beside the loop people write by hand, on the same files, model and thread count.

    python benchmarks/trainer.py [--backbone mobilenet_v3_small] [--size 64] [--rounds 5]

The peer is the documented pattern: an `ImageFolder`-like data set that decodes with Pillow, a `DataLoader` (with 0 and with 2
workers, the faster one counts), frozen blocks by `requires_grad=False` and `eval()`, SGD. Rounds alternate between the two; what is
printed is the median, and the ratio of the rounds with its smallest and largest value.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset

from trainables.data.dataset import open_dataset
from trainables.freezing import apply_opening
from trainables.models.backbones import build_model
from trainables.models.catalog import BACKBONES, first_open_block
from trainables.recipe import parse_recipe
from trainables.stages import Opening
from trainables.trainer import Trainer

BATCH = 32
DEPTHS = ("head", "last:3", "all")


def write_images(folder: Path, size: int) -> None:
    """The 1,797 digits as PNG files in class folders, at four thirds of the size they are trained at."""
    digits = load_digits()
    for i, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        picture = Image.fromarray((pixels / 16 * 255).astype(np.uint8)).resize((size * 4 // 3,) * 2).convert("RGB")
        (folder / str(label)).mkdir(exist_ok=True)
        picture.save(folder / str(label) / f"{i}.png")


def recipe_of(folder: Path, backbone: str, size: int, depth: str, epochs: int):
    stage = {"name": "only", "unfreeze_from": depth, "epochs": epochs, "plateau": None, "head_lr": 0.01}
    return parse_recipe(
        {
            "data": {"source": "folder", "path": str(folder), "image_size": size, "validation": 0.3},
            "model": {"backbone": backbone, "weights": "default" if backbone == "efficientnet_lite0" else "none"},
            "train": {"stages": [stage], "batch_size": BATCH, "optimizer": {"kind": "sgd"}, "bn_affine": "train"},
        }
    )


class Pictures(Dataset):
    """What `torchvision.datasets.ImageFolder` with resize, `ToTensor` and `Normalize` does."""

    def __init__(self, files: list[Path], labels: list[int], size: int):
        self.files, self.labels, self.size = files, labels, size

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int):
        with Image.open(self.files[i]) as file:
            picture = file.convert("RGB").resize((self.size, self.size), Image.Resampling.BICUBIC)
        tensor = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float().div_(255)
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        return (tensor - mean[:, None, None]) / std[:, None, None], self.labels[i]


def by_hand(recipe, folder: Path, depth: str, workers: int) -> Callable[[], float]:
    """The hand-written loop; each call trains and validates for an epoch and returns its seconds."""
    dataset = open_dataset(recipe.data)
    files = [file for name in dataset.classes for file in sorted((folder / name).iterdir())]
    labels = [int(file.parent.name) for file in files]

    def loader(indices: np.ndarray, *, shuffle: bool) -> DataLoader:
        pictures = Pictures([files[i] for i in indices], [labels[i] for i in indices], recipe.data.image_size)
        return DataLoader(pictures, BATCH, shuffle=shuffle, num_workers=workers, persistent_workers=workers > 0)

    train, validation = loader(dataset.train, shuffle=True), loader(dataset.validation, shuffle=False)
    numbers = torch.Generator().manual_seed(0)
    model = build_model(recipe.model, classes=10, cosine_scale=None, generator=numbers).model
    model = model.to(memory_format=torch.contiguous_format)
    cut = first_open_block(depth, BACKBONES[recipe.model.backbone].blocks)
    apply_opening(model, Opening(cut, head=True), bn_affine="train")
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01, momentum=0.9)
    criterion = nn.CrossEntropyLoss()

    def epoch() -> float:
        started = time.perf_counter()
        model.train()
        for block in model.blocks[:cut]:
            block.eval()
        for images, targets in train:
            optimizer.zero_grad()
            criterion(model(images), targets).backward()
            optimizer.step()
        model.eval()
        right = 0
        with torch.no_grad():
            for images, targets in validation:
                right += int((model(images).argmax(1) == targets).sum())
        return time.perf_counter() - started

    return epoch


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--backbone", default="mobilenet_v3_small", choices=list(BACKBONES))
    arguments.add_argument("--size", type=int, default=64)
    arguments.add_argument("--rounds", type=int, default=5)
    options = arguments.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        folder, os.environ["THAW_CACHE"] = Path(place, "images"), str(Path(place, "cache"))
        folder.mkdir()
        write_images(folder, options.size)
        print(
            f"{options.backbone}, {options.size} px, batch {BATCH}, 1 thread, {options.rounds} rounds; seconds an epoch"
        )
        print(f"{'depth':8} {'thaw':>7} {'by hand':>8} {'ratio':>6}  (range)")
        for depth in DEPTHS:
            recipe = recipe_of(folder, options.backbone, options.size, depth, options.rounds + 1)
            trainer = Trainer(recipe, open_dataset(recipe.data))
            peers = [by_hand(recipe, folder, depth, workers) for workers in (0, 2)]
            ours, theirs = [], []
            for round_ in range(options.rounds + 1):
                started = time.perf_counter()
                next(trainer)
                seconds = time.perf_counter() - started
                fastest = min(peer() for peer in peers)
                if round_:  # the first warms up
                    ours.append(seconds)
                    theirs.append(fastest)
            ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
            print(
                f"{depth:8} {statistics.median(ours):7.2f} {statistics.median(theirs):8.2f} "
                f"{statistics.median(ratios):5.2f}×  ({min(ratios):.2f} … {max(ratios):.2f})"
            )


if __name__ == "__main__":
    main()
