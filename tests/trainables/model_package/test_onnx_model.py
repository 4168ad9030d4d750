"""A trained network as ONNX: what onnxruntime predicts is what torch predicts, whatever the number of images."""

import json
import shutil
import sys

import numpy as np
import onnx
import pytest

from tests.support.photo_runs import pack, photo_recipe, train, validation_files, write_photos
from tests.support.recipes import TINY_NETWORK
from tests.support.scored_digits import regression_recipe, write_scored_digits
from trainables.data.dataset import open_dataset
from trainables.model_package import onnx_model
from trainables.model_package.input_images import find_images
from trainables.model_package.manifest import PackageError, read_manifest
from trainables.model_package.network import load_package, predictions
from trainables.model_package.onnx_model import load_onnx
from trainables.model_package.predict import run
from trainables.recipe.recipe import parse_recipe
from trainables.run_folder.layout import PackageLayout, TrialLayout

pytestmark = pytest.mark.slow

TINY_VOLUME_NETWORK = """
from torch import nn
from trainables.models import Backbone


def tiny():
    block = nn.Sequential(nn.Conv3d(1, 4, 3, stride=2, padding=1), nn.BatchNorm3d(4), nn.ReLU())
    return Backbone(blocks={"one": block}, features=4, mean=(0.4,), std=(0.5,), dims=3)
"""


@pytest.fixture
def own_model(own_module):
    """`own_model(code)`: a model config of a small network."""
    return lambda code=TINY_NETWORK: {"backbone": f"{own_module(code)}:tiny"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("onnx") / "photos")


@pytest.fixture(scope="module")
def exported(photos):
    """A folder `model`, with ONNX, of a small network, and its recipe in plain values."""
    (photos.parent / "networks_of_onnx_tests.py").write_text(TINY_NETWORK)
    sys.path.append(str(photos.parent))
    recipe = photo_recipe(photos, model={"backbone": "networks_of_onnx_tests:tiny"}, loss={"kind": "ldam"})
    pack(train(recipe, photos.parent / "run"), photos.parent / "model", onnx=True)
    yield photos.parent / "model", recipe
    sys.path.remove(str(photos.parent))


def test_onnxruntime_predicts_what_torch_predicts_for_any_number_of_images(photos, exported):
    folder, recipe = exported
    files = validation_files(photos, open_dataset(parse_recipe(recipe).data))
    networks = load_package(folder, trust_code=True), load_onnx(folder)
    manifest = networks[0].manifest
    assert manifest.onnx.images == 21
    assert manifest.onnx.largest_difference < 1e-4
    for count in (1, 3, len(files)):
        found = [run(network, find_images(files[:count], network.manifest)).outcome for network in networks]
        assert np.allclose(found[0].outputs, found[1].outputs, atol=1e-4)
        assert np.allclose(found[0].features, found[1].features, atol=1e-4)
        probabilities = [predictions(manifest, outcome.outputs) for outcome in found]
        assert np.abs(probabilities[0] - probabilities[1]).max() < 1e-4


def test_the_file_stands_for_itself(exported):
    file = PackageLayout(exported[0]).onnx
    model = onnx.load(file, load_external_data=False)
    onnx.checker.check_model(model)
    assert [value.name for value in model.graph.input] == ["images"]
    assert [value.name for value in model.graph.output] == ["predictions", "outputs", "features"]
    batch, *sides = model.graph.input[0].type.tensor_type.shape.dim
    assert not batch.dim_value  # any
    assert [side.dim_value for side in sides] == [3, 32, 32]
    assert not list(file.parent.glob("*.data"))


def test_numbers_come_out_in_their_unit(own_model, tmp_path):
    recipe = regression_recipe(write_scored_digits(tmp_path / "scores", 30)) | {"model": own_model()}
    recipe["data"]["target"] = {"transform": "rank_normal"}
    manifest, packed = pack(train(recipe, tmp_path / "run"), tmp_path / "model", onnx=True)
    assert manifest.input.channels == 1  # grey files, of which the network takes three channels
    expected = predictions(manifest, packed.validated.outcome.outputs)
    found = load_onnx(tmp_path / "model").predicted(packed.validated.images)[0]
    assert np.abs(found - expected).max() / manifest.target.std < 1e-4


def test_volumes_are_normalised_inside(own_model, tmp_path):
    volumes = np.random.default_rng(0).integers(0, 256, (24, 6, 8, 8), dtype=np.uint8)
    labels = np.arange(24) % 2
    volumes[labels == 1] //= 3
    np.savez(tmp_path / "scans.npz", train_images=volumes, train_labels=labels)
    data = {"source": "npz", "path": str(tmp_path / "scans.npz"), "image_size": 8, "depth": 6, "validation": 0.25}
    recipe = {**photo_recipe(tmp_path, model=own_model(TINY_VOLUME_NETWORK)), "data": data}
    recipe["train"]["stages"] = recipe["train"]["stages"][:1]
    manifest, packed = pack(train(recipe, tmp_path / "run"), tmp_path / "model", onnx=True)
    assert packed.reproduces
    assert manifest.onnx.largest_difference < 1e-4
    assert manifest.input.depth == 6


@pytest.mark.parametrize("backbone", ["mobilenet_v3_small", "efficientnet_lite0"])
def test_published_networks_can_be_exported(photos, tmp_path, backbone):
    model = {"backbone": backbone, "weights": "default" if backbone == "efficientnet_lite0" else "none"}
    recipe = photo_recipe(photos, model=model)
    recipe["train"]["stages"] = [{**recipe["train"]["stages"][0], "epochs": 1}]
    manifest, _ = pack(train(recipe, tmp_path / "run"), tmp_path / "model", onnx=True)
    assert manifest.onnx.largest_difference < 1e-4


def test_each_volume_is_standardised_inside_for_medicalnet(tmp_path):
    volumes = np.random.default_rng(0).integers(0, 256, (16, 16, 16, 16), dtype=np.uint8)
    volumes[:, :6] = 0
    np.savez(tmp_path / "scans.npz", train_images=volumes, train_labels=np.arange(16) % 2)
    data = {"source": "npz", "path": str(tmp_path / "scans.npz"), "image_size": 16, "depth": 16, "validation": 0.25}
    data["background"] = "noise"
    recipe = {**photo_recipe(tmp_path, model={"backbone": "medicalnet_resnet10", "weights": "none"}), "data": data}
    recipe["train"]["stages"] = recipe["train"]["stages"][:1]
    manifest, packed = pack(train(recipe, tmp_path / "run"), tmp_path / "model", onnx=True)
    assert packed.reproduces
    assert manifest.input.standardises
    assert manifest.input.background == "noise"
    assert manifest.onnx.largest_difference < 1e-4


# --- what is refused ------------------------------------------------------------------------------------------------


def test_a_file_that_predicts_something_else_is_not_written(photos, exported, tmp_path, monkeypatch):
    run_ = TrialLayout(photos.parent / "run")
    monkeypatch.setattr(onnx_model, "_as_input", lambda images: np.ones((len(images), 3, 32, 32), np.float32))
    with pytest.raises(
        PackageError,
        match=r"predictions of onnxruntime and torch differ by .* on 21 validation images, more than 0\.0001",
    ):
        pack(run_, tmp_path / "model", onnx=True)
    assert not (tmp_path / "model").exists()


NO_ONNX = """
from torch import nn
from trainables.models import Backbone


class Branching(nn.Module):
    def forward(self, x):
        return x.flatten(1)[:, :4] if x.sum() > 1e9 else x.flatten(1)[:, 4:8]


def tiny():
    return Backbone(blocks={"one": nn.Conv2d(3, 4, 3)}, pool=Branching(), features=4)
"""


def test_a_network_that_cannot_be_exported_says_why(photos, own_model, tmp_path):
    recipe = photo_recipe(photos, model=own_model(NO_ONNX))
    recipe["train"]["stages"] = recipe["train"]["stages"][:1]
    run_ = train(recipe, tmp_path / "run")
    with pytest.raises(PackageError, match="cannot be exported to ONNX: "):
        pack(run_, tmp_path / "model", onnx=True)
    assert sorted(path.name for path in tmp_path.glob("*model*")) == []


def test_without_the_extra_its_name_is_said(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(PackageError, match=r"ONNX needs onnxruntime: pip install 'thaw-search\[onnx\]'"):
        onnx_model.needed()


def test_a_package_without_onnx_and_a_damaged_file_are_refused(exported, tmp_path):
    layout = PackageLayout(shutil.copytree(exported[0], tmp_path / "model"))
    layout.onnx.write_bytes(layout.onnx.read_bytes()[:-1])
    with pytest.raises(PackageError, match=r"model\.onnx is damaged"):
        load_onnx(layout.root)
    bare = PackageLayout(shutil.copytree(layout.root, tmp_path / "bare"))
    bare.manifest.write_text(json.dumps(json.loads(bare.manifest.read_text()) | {"onnx": None}))
    assert read_manifest(bare).onnx is None
    with pytest.raises(PackageError, match="bare was exported without ONNX; export it with --onnx"):
        load_onnx(bare.root)
