"""A run on image files and its package, for the tests of what becomes of a trained network."""

import copy
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from sklearn.datasets import load_digits

from results_analysis.export.best_config import training_config
from results_analysis.runs.training_run import training_in
from search.artifacts.export_model import export_model
from tests.support.recipes import RECIPE
from trainables.data.sources.image_folder import read_image_folder
from trainables.recipe.recipe import parse_recipe
from trainables.run_folder.layout import TrialLayout
from trainables.trial.training_run import TrainingRun

CLASSES = {"eight": 40, "four": 20, "zero": 10}


def write_photos(folder: Path) -> Path:
    """Coloured PNG files of three digits, as uneven as real data, in class folders."""
    images, digits = load_digits(return_X_y=True)
    images = (images + np.random.default_rng(0).normal(0, 6, images.shape)).clip(0, 16)  # not all can be told apart
    for name, digit in (("eight", 8), ("four", 4), ("zero", 0)):
        (folder / name).mkdir(parents=True)
        for i, pixels in enumerate(images[digits == digit][: CLASSES[name]]):
            grey = np.rint(pixels.reshape(8, 8) * 15.9).astype(np.uint8)
            colours = np.stack([grey, grey // 2, 255 - grey], axis=2)
            Image.fromarray(colours).resize((40, 30)).save(folder / name / f"{i:03}.png")
    return folder


def photo_recipe(photos: Path, *, model=None, data=None, **train):
    """Plain values of a run of four epochs on the photos."""
    recipe = copy.deepcopy(RECIPE)
    recipe["data"] = {"source": "folder", "path": str(photos), "image_size": 32, "validation": 0.3, **(data or {})}
    recipe["model"] |= model or {}
    recipe["train"] |= train
    return recipe


def train(recipe: dict, folder: Path) -> TrialLayout:
    layout = TrialLayout(folder)
    list(TrainingRun(parse_recipe(recipe), layout))
    return layout


def pack(run: TrialLayout, folder: Path, *, onnx: bool = False):
    """The package of a run of `thaw train`: its manifest and what was validated."""
    trained = training_in(run.root)
    return export_model(trained, training_config(trained), folder, onnx=onnx, console=Console(quiet=True))


def validation_files(photos: Path, dataset) -> list[str]:
    everything = [str(image.place) for image in read_image_folder(photos).images]
    return [everything[i] for i in dataset.validation.tolist()]
