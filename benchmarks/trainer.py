"""Seconds an epoch (training and validation) beside the loop people write by hand and Lightning with its FinetuningScheduler.

    pip install -c constraints.txt 'thaw-search[bench]'
    python benchmarks/trainer.py [--backbone mobilenet_v3_small] [--size 64] [--rounds 5]

All train the same network on the same files, stage by stage (head, last 3 blocks, all), with SGD, batches of 32 and one thread for
the network; no features of frozen blocks are kept. The loop by hand is the documented pattern: an `ImageFolder`-like data set that
decodes with Pillow, a `DataLoader` (without workers or with two, the faster one of each round counts), frozen blocks by
`requires_grad=False` and `eval()`. Lightning has the same data set and two workers. The three take turns, epoch by epoch; what is
printed is the median, and the ratio of the rounds with its smallest and largest value. The first epoch of a stage warms up.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from lightning_peer import Seconds, fit  # beside this file
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset

from trainables.data.dataset import open_dataset
from trainables.models.build_model import build_model
from trainables.models.staged_model import StagedModel
from trainables.recipe.backbone_catalog import BACKBONES
from trainables.recipe.recipe import parse_recipe
from trainables.recipe.rules.stage_openings import first_open_block
from trainables.training.freezing import apply_opening
from trainables.training.stage_plan import Opening
from trainables.training.trainer import Trainer

BATCH = 32
DEPTHS = ("head", "last:3", "all")


def write_images(folder: Path, size: int) -> None:
    """The 1,797 digits as PNG files in class folders, at four thirds of the size they are trained at."""
    digits = load_digits()
    for i, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        picture = Image.fromarray((pixels / 16 * 255).astype(np.uint8)).resize((size * 4 // 3,) * 2).convert("RGB")
        (folder / str(label)).mkdir(exist_ok=True)
        picture.save(folder / str(label) / f"{i}.png")


def recipe_of(folder: Path, backbone: str, size: int, epochs: int):
    alike = {"epochs": epochs, "plateau": None, "head_lr": 0.01, "backbone_lr_ratio": 1.0, "head_frozen_epochs": 0}
    stages = [{"name": d.replace(":", ""), "unfreeze_from": d, "backbone_warmup_epochs": 0, **alike} for d in DEPTHS]
    return parse_recipe(
        {
            "data": {"source": "folder", "path": str(folder), "image_size": size, "validation": 0.3},
            "model": {"backbone": backbone, "weights": "default" if backbone == "efficientnet_lite0" else "none"},
            "train": {
                "stages": stages,
                "batch_size": BATCH,
                "optimizer": {"kind": "sgd"},
                "bn_affine": "train",
                "early_stop": None,
                "stop_on": [],
                "prefix_cache": False,
            },
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


def loaders_of(recipe, folder: Path, workers: int) -> tuple[DataLoader, DataLoader]:
    """Of the images that train and that judge, as Thaw splits them."""
    dataset = open_dataset(recipe.data)
    files = [file for name in dataset.classes for file in sorted((folder / name).iterdir())]
    labels = [int(file.parent.name) for file in files]

    def loader(indices: np.ndarray, *, shuffle: bool) -> DataLoader:
        pictures = Pictures([files[i] for i in indices], [labels[i] for i in indices], recipe.data.image_size)
        return DataLoader(pictures, BATCH, shuffle=shuffle, num_workers=workers, persistent_workers=workers > 0)

    return loader(dataset.train, shuffle=True), loader(dataset.validation, shuffle=False)


def network_of(recipe) -> StagedModel:
    numbers = torch.Generator().manual_seed(0)
    model = build_model(recipe.model, classes=10, cosine_scale=None, generator=numbers).model
    return model.to(memory_format=torch.contiguous_format)


class ByHand:
    """The hand-written loop."""

    def __init__(self, recipe, folder: Path, workers: int):
        self.blocks = recipe.blocks
        self.train, self.validation = loaders_of(recipe, folder, workers)
        self.model, self.stage = network_of(recipe), -1
        self.criterion = nn.CrossEntropyLoss()

    def epoch(self, stage: int) -> Seconds:
        if stage != self.stage:
            self.stage, self.cut = stage, first_open_block(DEPTHS[stage], self.blocks)
            apply_opening(self.model, Opening(self.cut, head=True), bn_affine=True)
            opened = [p for p in self.model.parameters() if p.requires_grad]
            self.optimizer = torch.optim.SGD(opened, lr=0.01, momentum=0.9)
        started = time.perf_counter()
        self.model.train()
        for block in self.model.blocks[: self.cut]:
            block.eval()
        for images, targets in self.train:
            self.optimizer.zero_grad()
            self.criterion(self.model(images), targets).backward()
            self.optimizer.step()
        trained = time.perf_counter()
        self.model.eval()
        right = 0
        with torch.no_grad():
            for images, targets in self.validation:
                right += int((self.model(images).argmax(1) == targets).sum())
        ended = time.perf_counter()
        return Seconds(trained - started, ended - trained, ended - started)


def thaw_epoch(trainer: Trainer, stage: int) -> Seconds:
    started = time.perf_counter()
    report = next(trainer)
    assert report.stage_index == stage, "all are in the same stage"
    return Seconds(report.train_s, report.val_s, time.perf_counter() - started)


def opened_in_stages(blocks: tuple[str, ...]) -> list[list[str]]:
    """Patterns of the parameters that open in each stage."""
    cuts = [len(blocks), *(first_open_block(depth, blocks) for depth in DEPTHS[1:])]
    return [["model.head.*"], *([f"model.blocks.{i}[.].*" for i in range(b, a)] for a, b in itertools.pairwise(cuts))]


def print_stage(depth: str, rounds: list[dict[str, Seconds]], images: tuple[int, int]) -> None:
    ours = [epoch["thaw"].both for epoch in rounds]
    for name in rounds[0]:
        theirs = [epoch[name] for epoch in rounds]
        ratios = [their.both / our for their, our in zip(theirs, ours, strict=True)]
        ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} … {max(ratios):.2f})" if name != "thaw" else ""
        training, validation, both = (statistics.median(seconds) for seconds in zip(*theirs, strict=True))
        rates = f"{images[0] / training:.0f} | {images[1] / validation:.0f}"
        print(f"| {depth} | {name} | {both:.2f} | {ratio} | {rates} |")


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
        recipe = recipe_of(folder, options.backbone, options.size, options.rounds + 1)
        dataset = open_dataset(recipe.data)
        trainer = Trainer(recipe, dataset)
        peers = [ByHand(recipe, folder, workers) for workers in (0, 2)]
        rounds: dict[int, list[dict[str, Seconds]]] = {stage: [] for stage in range(len(DEPTHS))}

        def after_epoch(stage: int, lightning: Seconds) -> None:
            by_hand = min((peer.epoch(stage) for peer in peers), key=lambda seconds: seconds.both)
            rounds[stage].append({"thaw": thaw_epoch(trainer, stage), "by hand": by_hand, "lightning": lightning})

        fit(
            network_of(recipe),
            loaders_of(recipe, folder, workers=2),
            opened_in_stages(recipe.blocks),
            options.rounds + 1,
            Path(place),
            after_epoch,
        )
        print(f"{options.backbone}, {options.size} px, batch {BATCH}, 1 thread, {options.rounds} rounds\n")
        print("| open blocks | | seconds an epoch | ratio to Thaw | images/s, training | validation |")
        print("| --- | --- | --- | --- | --- | --- |")
        for stage, depth in enumerate(DEPTHS):
            print_stage(depth, rounds[stage][1:], (len(dataset.train), len(dataset.validation)))


if __name__ == "__main__":
    main()
