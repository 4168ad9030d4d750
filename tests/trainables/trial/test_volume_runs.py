"""Runs on volumes, from files to epochs: what 3-D data must be able to do end to end."""

import re
import sys

import nibabel
import numpy as np
import pytest
import torch
import yaml

from search.cli import main
from trainables.checkpoints.checkpoint_folder import CheckpointFolder
from trainables.data.dataset import _open, open_dataset
from trainables.frozen_prefix.feature_file import load_features
from trainables.models.backbones.medicalnet import MedicalNet
from trainables.recipe.recipe import parse_recipe
from trainables.run_folder.layout import TrialLayout
from trainables.storage import cache_folder
from trainables.training.batch_feed import Feed
from trainables.training.trainer import Trainer
from trainables.trial.training_run import TrainingRun

pytestmark = pytest.mark.slow

SIDE = 12
HEAD = {"name": "head", "unfreeze_from": "head", "epochs": 1, "head_lr": 0.01, "plateau": None}
TOP = HEAD | {"name": "top", "unfreeze_from": "last:1", "epochs": 2, "backbone_lr": 0.001, "head_frozen_epochs": 0}
VIEWS = {"views": 2, "horizontal_flip": 0.5, "depth_flip": 0.5, "tilt_degrees": 10, "brightness": 0.2}


def blob(rng, side, *, large):
    """[side, side, side] float32: a bright ball in noise; its place says nothing, its size the class."""
    places = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), axis=-1)
    inside = np.linalg.norm(places - rng.uniform(0.4 * side, 0.6 * side, 3), axis=-1) < side * (0.4 if large else 0.15)
    return (rng.normal(0, 20, (side,) * 3) + 200 * inside).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """24 scans of 12 patients as NIfTI files with a table, and a weight file in MedicalNet's layout."""
    folder, rng = tmp_path_factory.mktemp("scans"), np.random.default_rng(0)
    rows = ["path,label,patient"]
    for i in range(24):
        name, is_large = f"{i}.nii{'.gz' if i % 2 else ''}", i // 2 % 2
        volume = blob(rng, SIDE + i % 3, large=is_large)
        nibabel.save(nibabel.Nifti1Image(volume, np.diag([-1, 1, 2, 1])), folder / name)
        rows.append(f"{name},{('small', 'large')[is_large]},p{i // 2}")
    (folder / "scans.csv").write_text("\n".join(rows))
    torch.manual_seed(0)
    state = {f"module.{name}": tensor for name, tensor in MedicalNet(10).state_dict().items()}
    torch.save({"state_dict": state}, folder / "resnet_10.pth")
    return folder


@pytest.fixture
def plain(folder):
    """`plain(data={}, **train)`: a recipe as plain values."""

    def make(*, data=None, model=None, **train):
        table = {"source": "table", "path": str(folder / "scans.csv"), "columns": {"group": "patient"}}
        return {
            "data": table | {"image_size": SIDE, "depth": SIDE, "folds": 3} | (data or {}),
            "model": {"backbone": "medicalnet_resnet10", "weights": str(folder / "resnet_10.pth")} | (model or {}),
            "train": {"metric": "balanced_accuracy", "batch_size": 6, "stages": [HEAD, TOP]} | train,
        }

    return make


@pytest.fixture
def recipe_of(plain):
    return lambda **changes: parse_recipe(plain(**changes))


@pytest.fixture
def thaw(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def run(*words, code=0):
        monkeypatch.setattr(sys, "argv", ["thaw", *words])
        with pytest.raises(SystemExit, match=f"^{code}$"):
            main()
        out, err = capsys.readouterr()
        return out if code == 0 else err

    return run


def numbers(reports):
    return [(r.train_loss, dict(r.metrics), r.confusion) for r in reports]


def test_a_network_learns_to_tell_volumes_apart(recipe_of):
    dataset = open_dataset(recipe_of().data)
    assert dataset.images.shape == (24, SIDE, SIDE, SIDE, 1)
    reports = list(Trainer(recipe_of(stages=[HEAD, TOP | {"epochs": 4}]), dataset))
    assert reports[-1].best_score > 0.9
    assert reports[-1].train_loss < 0.5 * reports[0].train_loss


@pytest.mark.parametrize(
    "train",
    [
        {"loss": {"kind": "ldam"}, "drw": {"start_epoch": 2}, "augment": VIEWS},
        {"batch_size": 5, "mix": {"mixup_alpha": 0.4, "at": "cut"}},
    ],
    ids=["two views, LDAM-DRW", "mixed behind the frozen blocks"],
)
def test_kept_features_change_no_bit_of_a_run(recipe_of, tmp_path, monkeypatch, train):
    monkeypatch.setenv("THAW_CACHE", str(tmp_path))

    def reports_of(recipe):
        return list(Trainer(recipe, open_dataset(recipe.data), sharing_runs=1000))

    short = {"stages": [HEAD, TOP | {"epochs": 1}]} | train
    computed = numbers(reports_of(recipe_of(prefix_cache=False, **short)))
    kept = [reports_of(recipe_of(**short)) for _ in range(2)]
    assert {report.uncached for reports in kept for report in reports} == {None}
    assert [numbers(reports) for reports in kept] == [computed, computed]
    maps = [load_features(e.array) for e in cache_folder.entries() if e.kind == "features" and "layer3" in e.what]
    assert maps
    assert all(m.dim() == 5 and m.is_contiguous(memory_format=torch.channels_last_3d) for m in maps)


def test_features_of_black_and_of_noise_are_not_confused(recipe_of, tmp_path, monkeypatch):
    monkeypatch.setenv("THAW_CACHE", str(tmp_path))

    def numbers_of(background, *, cached):
        data = {"background": background, "spacing_mm": [1.6, 1, 1]}
        recipe = recipe_of(data=data, prefix_cache=cached, stages=[HEAD])
        return numbers(Trainer(recipe, open_dataset(recipe.data), sharing_runs=1000))

    black, noise = (numbers_of(background, cached=True) for background in ("black", "noise"))
    assert black != noise
    assert noise == numbers_of("noise", cached=False) == numbers_of("noise", cached=True)


def test_streamed_volumes_change_no_bit_of_a_run(recipe_of, tmp_path, monkeypatch):
    recipe, found = recipe_of(augment=VIEWS, data={"bits": 16, "spacing_mm": 1.2, "fit": "pad"}), []
    for name, gib in (("cached", "1"), ("streamed", str(60 / 2**20))):
        monkeypatch.setenv("THAW_CACHE", str(tmp_path / name))
        monkeypatch.setenv("THAW_CACHE_GIB", gib)
        _open.cache_clear()
        dataset = open_dataset(recipe.data)
        found.append((dataset.fingerprint, numbers(Trainer(recipe, dataset))))
        assert bool(dataset.streamed) == (name == "streamed")
    assert found[0] == found[1]


def test_every_fold_judges_other_patients(recipe_of):
    judging = [open_dataset(recipe_of(data={"fold": fold}).data).validation for fold in range(3)]
    assert sorted(np.concatenate(judging).tolist()) == list(range(24))
    patients = [set((side // 2).tolist()) for side in judging]
    assert sum(len(group) for group in patients) == 12


def test_a_run_that_was_interrupted_goes_on_bit_for_bit(recipe_of, tmp_path):
    recipe = recipe_of(augment=VIEWS | {"views": None}, mix={"mixup_alpha": 0.4}, loss={"kind": "ldam"})
    whole = list(TrainingRun(recipe, TrialLayout(tmp_path / "whole")))
    interrupted = TrainingRun(recipe, TrialLayout(tmp_path / "torn"))
    first = [next(interrupted), next(interrupted)]
    rest = list(TrainingRun(recipe, TrialLayout(tmp_path / "torn")))
    assert numbers(first + rest) == numbers(whole)
    states = [CheckpointFolder(TrialLayout(tmp_path / name).checkpoints).newest() for name in ("whole", "torn")]
    weights = [state["trainer"]["weights"] for state in states]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_search_is_checked_and_its_best_trial_trains_again_the_same(thaw, plain, tmp_path):
    search = plain(augment=VIEWS, stages=[TOP | {"epochs": 1}]) | {
        "space": {"train.stages[top].head_lr": {"log": [0.001, 0.01]}},
        "search": {"trials": 1, "scheduler": {"kind": "none"}},
    }
    (tmp_path / "scans.yaml").write_text(yaml.safe_dump(search))
    said = thaw("check", "scans.yaml")
    assert "12 × 12 × 12 voxels, grey" in said
    assert (tmp_path / "checks/scans").is_dir()
    recipe = {name: section for name, section in search.items() if name not in {"space", "search"}}
    (tmp_path / "one.yaml").write_text(yaml.safe_dump(recipe))
    first = thaw("train", "one.yaml")
    assert "to validate, 12 × 12 × 12 voxels" in first
    (run,) = (tmp_path / "runs").iterdir()
    (tmp_path / "again.yaml").write_text((TrialLayout(run).recipe).read_text())
    again = thaw("train", "again.yaml")
    assert [line.split("  ")[:5] for line in again.splitlines() if line.startswith("epoch")] == [
        line.split("  ")[:5] for line in first.splitlines() if line.startswith("epoch")
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"data": {"depth": None}},
            "model.backbone: medicalnet_resnet10 takes volumes, but source 'table' gives images; .* set data.depth",
        ),
        (
            {"model": {"backbone": "resnet18", "weights": "none"}},
            r"resnet18 takes images, but the data are volumes \(data.depth is set\)",
        ),
        (
            {"data": {"depth": None}, "model": {"backbone": "resnet18", "weights": "none"}},
            r"data.depth: 24 of 24 files are NIfTI volumes \(.*; set data.depth to the number of slices",
        ),
    ],
)
def test_a_network_for_the_other_kind_of_image_is_refused(thaw, plain, tmp_path, changes, message):
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(plain(**changes)))
    said = " ".join(thaw("train", "wrong.yaml", code=2).split())
    assert said.count("error:") == 1
    assert re.search(message, said)


def test_coloured_volumes_are_refused_for_a_network_of_one_channel(thaw, plain, tmp_path):
    arrays = {
        f"{part}_{what}": np.zeros((8, 4, 5, 6, 3), np.uint8) if what == "images" else np.arange(8) % 2
        for part in ("train", "val")
        for what in ("images", "labels")
    }
    np.savez(tmp_path / "rgb.npz", **arrays)
    data = {"source": "npz", "path": str(tmp_path / "rgb.npz"), "image_size": 8, "depth": 4}
    (tmp_path / "rgb.yaml").write_text(yaml.safe_dump(plain() | {"data": data}))
    said = " ".join(thaw("train", "rgb.yaml", code=2).split())
    assert "model.backbone: medicalnet_resnet10 takes 1 channel, but the volumes are in colour, with 3" in said


# --- what the network sees ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("backbone", "channels"), [("medicalnet_resnet10", 1), ("r3d_18", 3)])
def test_the_network_gets_the_channels_it_takes(recipe_of, backbone, channels):
    model = {"backbone": backbone} | ({} if channels == 1 else {"weights": "none"})
    recipe = recipe_of(model=model)
    trainer = Trainer(recipe, open_dataset(recipe.data))
    seen = trainer.feed.images.load(np.arange(4), None)
    assert isinstance(trainer.feed, Feed)
    assert (seen.shape, seen.dtype) == ((4, channels, SIDE, SIDE, SIDE), torch.float32)
    assert seen.is_contiguous(memory_format=torch.channels_last_3d)
    stored = torch.from_numpy(trainer.dataset.images[:4].copy()).movedim(-1, 1).double()
    for volume, of_volume in zip(stored, seen.double(), strict=True):
        if channels == 1:
            mean, deviation = volume[volume > 0].mean(), volume[volume > 0].std(correction=0)
            expected = (volume - mean) / deviation
        else:
            mean, std = (
                torch.tensor(values).view(3, 1, 1, 1) for values in (trainer.feed.images.mean, trainer.feed.images.std)
            )
            expected = (volume.expand(3, -1, -1, -1) / 255 - mean) / std
        torch.testing.assert_close(of_volume, expected, atol=1e-5, rtol=1e-5)


def test_brightness_that_is_varied_is_seen_by_a_network_that_standardises(recipe_of):
    recipe = recipe_of(augment={"brightness": 0.5})
    feed = Trainer(recipe, open_dataset(recipe.data)).feed
    plain, varied = (feed.images.load(np.arange(24), versions) for versions in (None, np.zeros(24, int)))
    moved = (varied.mean(dim=(1, 2, 3, 4)) - plain.mean(dim=(1, 2, 3, 4))).abs()
    assert moved.mean() > 0.1
