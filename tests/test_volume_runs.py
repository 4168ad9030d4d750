"""Runs on volumes, from files to epochs: what 3-D data must be able to do end to end."""

import itertools

import nibabel
import numpy as np
import pytest
import torch
import yaml

from trainables.data.dataset import open_dataset
from trainables.layout import TrialLayout
from trainables.models.backbones import build_model
from trainables.models.catalog import VOLUME_BACKBONES
from trainables.prefix_cache import PREFIX_BATCH_OF_VOLUMES
from trainables.recipe import ModelConfig, parse_recipe
from trainables.run import TrainingRun
from trainables.trainer import Trainer

SIDE = 16


def blob(rng, side, *, large):
    """[side, side, side] float32: a bright ball in noise, whose place says nothing, and its size the class."""
    places = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), axis=-1)
    centre = rng.uniform(0.4 * side, 0.6 * side, 3)
    inside = np.linalg.norm(places - centre, axis=-1) < side * (0.4 if large else 0.12)
    return (rng.normal(0, 20, (side,) * 3) + 200 * inside).astype(np.float32)


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """A folder of 40 NIfTI files of 20 patients, with a table."""
    folder, rng = tmp_path_factory.mktemp("scans"), np.random.default_rng(0)
    rows = ["path,label,patient"]
    for i in range(40):
        volume = nibabel.Nifti1Image(blob(rng, SIDE + i % 3, large=i // 2 % 2), np.diag([-1, 1, 2, 1]))
        nibabel.save(volume, folder / f"{i}.nii{'.gz' if i % 2 else ''}")
        rows.append(f"{i}.nii{'.gz' if i % 2 else ''},{('small', 'large')[i // 2 % 2]},p{i // 2}")
    (folder / "scans.csv").write_text("\n".join(rows))
    return folder


@pytest.fixture
def recipe_of(scans):
    def make(*, data=None, model=None, **train):
        return parse_recipe(
            {
                "data": {
                    "source": "table",
                    "path": str(scans / "scans.csv"),
                    "columns": {"group": "patient"},
                    "image_size": SIDE,
                    "depth": SIDE,
                    "folds": 4,
                }
                | (data or {}),
                "model": {"backbone": "medicalnet_resnet10", "weights": "none"} | (model or {}),
                "train": {
                    "metric": "balanced_accuracy",
                    "batch_size": 6,
                    "stages": [
                        {"name": "head", "unfreeze_from": "head", "epochs": 1, "head_lr": 0.01, "plateau": None},
                        {
                            "name": "top",
                            "unfreeze_from": "last:1",
                            "epochs": 4,
                            "head_lr": 0.003,
                            "backbone_lr": 0.001,
                            "head_frozen_epochs": 0,
                            "plateau": None,
                        },
                    ],
                }
                | train,
            }
        )

    return make


def numbers(reports):
    return [(r.train_loss, dict(r.metrics), r.confusion) for r in reports]


def test_a_network_learns_to_tell_volumes_apart(recipe_of):
    recipe = recipe_of()
    dataset = open_dataset(recipe.data)
    assert dataset.images.shape == (40, SIDE, SIDE, SIDE, 1)
    reports = list(Trainer(recipe, dataset))
    print([r.score for r in reports], [r.train_s for r in reports])
    assert reports[-1].best_score > 0.85
