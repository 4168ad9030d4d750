"""A table of real images with a score: digits in all brightnesses, scored by how bright they are as a whole."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits


def write_scored_digits(folder: Path, count: int) -> Path:
    """Writes so many PNG files and scores.csv with their `path` and `label`; the scores lie around 1,300."""
    pixels, brightness = load_digits().images[:count], np.random.RandomState(0).uniform(0.1, 1, count)
    (folder / "digits").mkdir(parents=True)
    with (folder / "scores.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "label"])
        for i, (image, factor) in enumerate(zip(pixels, brightness, strict=True)):
            shown = np.rint(image * (255 / 16) * factor).astype(np.uint8)
            Image.fromarray(shown).save(folder / "digits" / f"{i:04}.png")
            table.writerow([f"digits/{i:04}.png", repr(float(1000 + 10 * shown.mean()))])
    return folder / "scores.csv"


def regression_recipe(table: Path, **train: object) -> dict[str, object]:
    """Plain data of a recipe: six epochs in two stages."""
    head = {"name": "head", "unfreeze_from": "head", "epochs": 4}
    top = {"name": "top", "unfreeze_from": "last:2", "epochs": 2, "backbone_lr_ratio": 0.02, "head_frozen_epochs": 1}
    stages = [{**stage, "plateau": None, "dropout": 0.0, "head_lr": 0.005} for stage in (head, top)]
    return {
        "data": {"source": "table", "path": str(table), "task": "regression", "image_size": 32},
        "model": {"backbone": "efficientnet_lite0"},
        "train": {"batch_size": 16, "stages": stages, **train},
    }
