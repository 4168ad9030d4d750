"""`thaw embed` before any training."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from tests.support.photo_runs import photo_recipe, write_photos
from trainables.recipe.recipe import parse_recipe
from trainables.storage.cache_folder import entries
from trainables.training.trainer import Trainer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folder with photos in class folders, some of them without any, and a model-less recipe."""
    here = tmp_path_factory.mktemp("embed")
    photos = write_photos(here / "photos")
    (here / "loose").mkdir()
    for file in sorted(photos.glob("*/*.png"))[::20]:
        Image.open(file).save(here / "loose" / f"{file.parent.name} {file.name}")
    (here / "same").mkdir()
    for i in range(3):
        Image.new("RGB", (40, 40), (9, 9, 9)).save(here / "same" / f"{i}.png")
    recipe = photo_recipe(Path("photos"))
    recipe["train"]["stages"] = recipe["train"]["stages"][:1]
    (here / "photos.yaml").write_text(yaml.safe_dump(recipe))
    return here


@pytest.fixture
def embed(thaw_here, folder):
    """`embed(*words)`: the answer of the command in the folder."""
    return lambda *words: thaw_here("embed", *words, folder=folder)


def test_a_folder_is_embedded_mapped_and_clustered_before_training(embed, folder):
    done = embed("photos", "-o", "features.parquet", "--image-size", "32", "--reduce", "pca", "--cluster", "kmeans")
    assert done.returncode == 0, done.stderr
    table = pd.read_parquet(folder / "features.parquet")
    assert list(table)[:7] == ["path", "label", "split", "x", "y", "cluster", "f0"]
    assert (len(table), table.shape[1]) == (70, 6 + 1280)
    assert set(table["split"]) == {"train", "val"}
    assert all(Path(path).parent.name == label for path, label in zip(table["path"], table["label"], strict=True))
    assert "network: efficientnet_lite0 (default weights), 32 px" in done.stderr
    assert "agreement with 3 labels: adjusted Rand" in done.stderr
    assert (folder / "features.png").read_bytes().startswith(b"\x89PNG")
    assert "jpeg;base64" in (folder / "features.html").read_text()


def test_images_without_labels_are_embedded_and_the_same_pixels_give_the_same_features(embed, folder):
    done = embed("loose", "-o", "loose.npz", "--image-size", "32", "--cluster", "hdbscan", "--min-cluster-size", "2")
    assert done.returncode == 0, done.stderr
    assert "loose: 4 images without labels (thaw init loose says why)" in done.stderr
    arrays = np.load(folder / "loose.npz")
    assert set(arrays) == {"path", "cluster", "features"}
    embed("photos", "-o", "all.npz", "--image-size", "32")
    known = np.load(folder / "all.npz")
    for path, features in zip(arrays["path"], arrays["features"], strict=True):
        label, name = Path(str(path)).name.split(" ")
        at = next(i for i, one in enumerate(known["path"]) if str(one).endswith(f"{label}/{name}"))
        assert np.array_equal(known["features"][at], features)


def feature_entries():
    return {(entry.array.name, entry.images) for entry in entries() if entry.kind == "features"}


def test_a_search_on_the_same_data_finds_the_features_and_the_other_way_round(embed, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)

    def trained():
        recipe = parse_recipe(yaml.safe_load((folder / "photos.yaml").read_text()))
        from trainables.data.dataset import open_dataset

        trainer = Trainer(recipe, open_dataset(recipe.data), sharing_runs=5)
        next(trainer)

    monkeypatch.setenv("THAW_CACHE", str(tmp_path / "first"))
    assert embed("photos.yaml", "-o", "first.npz").returncode == 0
    found, files = feature_entries(), {entry.array.name for entry in entries()}
    assert {images for _, images in found} == {49, 21}
    trained()
    assert {entry.array.name for entry in entries()} == files

    monkeypatch.setenv("THAW_CACHE", str(tmp_path / "second"))
    trained()
    assert feature_entries() == found
    assert embed("photos.yaml", "-o", "second.npz").returncode == 0
    assert feature_entries() == found
    first, second = np.load(folder / "first.npz"), np.load(folder / "second.npz")
    assert np.array_equal(first["features"], second["features"])


def test_the_files_normalisation_is_that_of_the_features(embed, folder):
    recipe = yaml.safe_load((folder / "photos.yaml").read_text())
    for name, mean in (("usual", None), ("shifted", 0.1)):
        recipe["data"]["mean"] = mean
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
        assert embed(f"{name}.yaml", "-o", f"{name}.npz").returncode == 0
    usual, shifted = (np.load(folder / f"{name}.npz")["features"] for name in ("usual", "shifted"))
    assert not np.allclose(usual, shifted)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["photos", "-o", "x.csv"], "valid are .parquet, .npz"),
        (["photos", "-o", "x.npz", "--clusters", "3"], "--clusters: applies to --cluster kmeans"),
        (["photos", "-o", "x.npz", "--backbone", "resnet1"], "--backbone: 'resnet1' is not a backbone; did you mean"),
        (["photos", "-o", "x.npz", "--image-size", "50"], "--image-size: 50: efficientnet_lite0 takes only multiples"),
        (["photos", "-o", "x.npz", "--weights", "no.pth"], "--weights: no.pth does not exist"),
        (["photos", "loose", "-o", "x.npz"], "photos is not a model (it holds no model.json)"),
        (["photos", "-o", "x.npz", "--label-column", "a"], "--label-column: applies to tables"),
        (["photos.yaml", "-o", "x.npz", "--label-column", "a"], "photos.yaml says how its data are read"),
        (["nowhere", "-o", "x.npz"], "nowhere: does not exist"),
        (["same", "-o", "x.npz", "--cluster", "kmeans"], "all 3 images have the same features"),
    ],
)
def test_what_cannot_be_embedded_is_one_message(embed, folder, words, message):
    done = embed(*words)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "x.npz").exists()


def test_features_that_are_not_numbers_are_refused(embed, folder):
    (folder / "broken_network.py").write_text(
        "import torch\nfrom torch import nn\nfrom trainables.models import Backbone\n\n\n"
        "class Broken(nn.Module):\n    def forward(self, x):\n        return x[:, :, ::8, ::8] * float('nan')\n\n\n"
        "def broken():\n    return Backbone(blocks={'one': Broken()}, features=3, mean=(0.5,) * 3, std=(0.5,) * 3)\n"
    )
    done = embed("same", "-o", "x.npz", "--backbone", "broken_network:broken")
    assert done.returncode == 2
    assert "the features of 3 images are not finite numbers" in done.stderr
