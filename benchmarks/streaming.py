"""Epochs on streamed images beside epochs on cached ones, and beside torchvision's ImageFolder in a DataLoader.

    python benchmarks/streaming.py PHOTOS [--images 7500] [--rounds 5] [--workers 2]

PHOTOS is a folder of class folders, such as the `train` folder of CIFAR-10 as JPEG files. Its first images are saved again as JPEG
files of 224 px below a temporary folder: 7,500 of them take 1.05 GiB when decoded, more than the limit of 1 GiB at which they are
streamed. A stage trains MobileNetV3-Small (random weights, one thread) on a share of the images. In each round the three train
one epoch each, in turn, so that other work meets all of them; the first round is not counted. Images are decoded by one thread for
each core, or by the DataLoader's workers; of 0 and --workers, the faster number counts in each round.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[0] = str(ROOT)
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch  # noqa: E402
from PIL import Image  # noqa: E402
from torch.utils.data import DataLoader, Subset  # noqa: E402

from trainables.data import dataset as datasets  # noqa: E402
from trainables.models.backbones.torchvision_import import image_sets, models  # noqa: E402
from trainables.recipe.recipe import Recipe, parse_recipe  # noqa: E402
from trainables.training.trainer import Trainer  # noqa: E402

SIDE, BATCH = 224, 32
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Case:
    """Training run, and the limit at which its images are streamed."""

    def __init__(self, name: str, size: int, unfreeze_from: str, gib: float, share: float):
        self.name, self.size, self.unfreeze_from, self.gib, self.share = name, size, unfreeze_from, gib, share


CASES = (
    Case("the network is the bottleneck: all blocks open, 224 px", 224, "all", 1.0, 0.04),
    Case(
        "decoding is: a head alone, nothing of the frozen blocks cached, files of 224 px read at 64 px",
        64,
        "head",
        0.05,
        0.2,
    ),
)


def main() -> None:
    options = parsed()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        count = save_enlarged(options.photos, folder / "photos", options.images)
        print(f"{count} photographs of {SIDE} px, {os.cpu_count()} cores, torch {torch.__version__}", flush=True)
        for case in CASES:
            measure(case, folder, options.rounds, options.workers)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--images", type=int, default=7500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    if not options.photos.is_dir():
        parser.error(f"{options.photos} is not a folder; give the class folders of CIFAR-10's training images as files")
    return options


def save_enlarged(photos: Path, to: Path, count: int) -> int:
    """Saves the first images of each class with 224 px a side."""
    classes = sorted(path for path in photos.iterdir() if path.is_dir())
    saved = 0
    for path in classes:
        (to / path.name).mkdir(parents=True)
        for file in sorted(path.iterdir())[: count // len(classes)]:
            large = Image.open(file).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            large.save(to / path.name / f"{file.stem}.jpg", quality=90)
            saved += 1
    return saved


def recipe_of(case: Case, photos: Path, epochs: int) -> Recipe:
    stage = {
        "name": "only",
        "unfreeze_from": case.unfreeze_from,
        "epochs": epochs,
        "plateau": None,
        "head_lr": 0.01,
        "data_fraction": case.share,
        **({} if case.unfreeze_from == "head" else {"backbone_lr": 0.01, "head_frozen_epochs": 0}),
    }
    data = {"source": "folder", "path": str(photos), "image_size": case.size, "validation": 0.02}
    train = {"batch_size": BATCH, "optimizer": {"kind": "sgd"}, "prefix_cache": False, "stages": [stage]}
    return parse_recipe({"data": data, "model": {"backbone": "mobilenet_v3_small", "weights": "none"}, "train": train})


def epochs_of(recipe: Recipe, cache: Path, gib: float, *, streamed: bool) -> Iterator[float]:
    """Yields the seconds of each training epoch."""
    os.environ.update(THAW_CACHE=str(cache), THAW_CACHE_GIB=f"{gib:g}")
    datasets._open.cache_clear()
    began = time.perf_counter()
    dataset = datasets.open_dataset(recipe.data)
    print(f"  opened in {time.perf_counter() - began:.1f} s: {dataset.streamed or 'cached'}", flush=True)
    assert bool(dataset.streamed) == streamed
    return (report.train_s for report in Trainer(recipe, dataset))


def epochs_by_hand(case: Case, photos: Path, count: int, workers: int) -> Iterator[float]:
    """Yields the seconds of each epoch of a plain loop over ImageFolder."""
    from torchvision import transforms

    steps = [transforms.Resize(case.size), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    images = image_sets().ImageFolder(str(photos), transforms.Compose(steps))
    some = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:count].tolist()
    loader = DataLoader(Subset(images, some), BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
    network = models.mobilenet_v3_small(num_classes=len(images.classes)).train()
    if case.unfreeze_from == "head":
        network.features.requires_grad_(False).eval()
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.01, momentum=0.9)
    while True:
        began = time.perf_counter()
        for batch, labels in loader:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(batch), labels).backward()
            optimizer.step()
        yield time.perf_counter() - began


def measure(case: Case, folder: Path, rounds: int, workers: int) -> None:
    photos = folder / "photos"
    print(f"\n{case.name}", flush=True)
    recipe = recipe_of(case, photos, rounds + 1)
    own = folder / f"cache-{case.size}"
    cached = epochs_of(recipe, own / "cached", 8, streamed=False)
    streamed = epochs_of(recipe, own / "streamed", case.gib, streamed=True)
    count = round(case.share * 0.98 * sum(1 for _ in photos.rglob("*.jpg")))
    by_hand = [epochs_by_hand(case, photos, count, number) for number in {0, workers}]
    times = []
    for number in range(rounds + 1):
        turns = [lambda: next(cached), lambda: next(streamed), lambda: min(next(each) for each in by_hand)]
        order = (0, 1, 2) if number % 2 else (1, 0, 2)
        taken = {turn: turns[turn]() for turn in order}
        times.append([taken[turn] for turn in range(3)])
        print(
            f"  {'warm-up' if number == 0 else f'round {number}'}: " + ", ".join(f"{s:.2f} s" for s in times[-1]),
            flush=True,
        )
    of_cached, of_streamed, of_hand = zip(*times[1:], strict=True)
    for name, others in (("cached", of_cached), ("streamed", of_streamed), ("by hand", of_hand)):
        ratios = sorted(base / other for base, other in zip(of_cached, others, strict=True))
        print(
            f"  {name:<9} {count / statistics.median(others):7.1f} images/s, "
            f"{statistics.median(ratios):.2f} of the cached speed ({ratios[0]:.2f} … {ratios[-1]:.2f})"
        )


if __name__ == "__main__":
    main()
