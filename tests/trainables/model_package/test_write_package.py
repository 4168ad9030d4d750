"""A trained network's folder: it predicts what its trial was judged by, to the last bit, and from the folder alone."""

import json
import resource
import shutil

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file

from results_analysis.export.best_config import training_config
from results_analysis.runs.training_run import training_in
from search.artifacts.export_model import export_model
from tests.support.photo_runs import pack, photo_recipe, train, validation_files, write_photos
from tests.support.recipes import TINY_NETWORK
from tests.support.scored_digits import regression_recipe, write_scored_digits
from trainables.checkpoints.checkpoint_file import scored_weights
from trainables.checkpoints.checkpoint_folder import CheckpointFolder, load_checkpoint
from trainables.core.config_errors import ConfigError
from trainables.data.dataset import open_dataset
from trainables.model_package.input_images import find_images
from trainables.model_package.manifest import PACKAGE_SCHEMA, PackageError, read_manifest
from trainables.model_package.network import load_package, network_device, predictions
from trainables.model_package.predict import run
from trainables.model_package.write_package import sha256_of
from trainables.models.staged_model import CosineLinear
from trainables.recipe.recipe import parse_recipe
from trainables.run_folder.epoch_report import read_epochs
from trainables.run_folder.layout import PackageLayout
from trainables.tasks.metrics import evaluate
from trainables.training.batch_feed import Feed
from trainables.training.trainer import Trainer

LDAM = {"loss": {"kind": "ldam"}, "drw": {"start_fraction": 0.5}, "ema": {"decay": 0.9}}
HEAD = {"name": "head", "unfreeze_from": "head", "epochs": 1, "head_lr": 0.05}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("photos") / "photos")


@pytest.fixture(scope="module")
def trained(photos, tmp_path_factory):
    """A run with LDAM and an average, which is what is judged."""
    return train(photo_recipe(photos, **LDAM), tmp_path_factory.mktemp("runs") / "ldam")


@pytest.fixture(scope="module")
def packed(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "ldam"
    pack(trained, folder)
    return folder


@pytest.fixture
def package(packed, tmp_path):
    """A copy that may be damaged."""
    return PackageLayout(shutil.copytree(packed, tmp_path / "model"))


def outputs_on_validation(network, dataset):
    images = [dataset.images[i] for i in dataset.validation]
    return np.concatenate([part.outputs for part in network.outcomes(images, total=len(images))])


# --- to the last bit ------------------------------------------------------------------------------------------------

STAGES = {
    "the head alone": {"stages": [HEAD]},
    "the whole network": {"stages": [HEAD | {"unfreeze_from": "all", "backbone_lr_ratio": 0.1}]},
    "the last blocks": {},
    "an average that is judged, of a part of a block": {**LDAM, "stages": [HEAD | {"unfreeze_from": "features.6.2"}]},
    "weights beside an average": {"ema": {"decay": 0.5, "judge": "raw"}},
    "rounded features": {"prefix_dtype": "bf16"},
    "bf16": {"precision": "bf16"},
    "another size": {"stages": [HEAD | {"image_size": 64, "batch_size": 7}]},
}


def best_file(folder):
    return CheckpointFolder(folder.checkpoints).best()


@pytest.mark.parametrize("changes", STAGES.values(), ids=STAGES)
def test_the_package_validates_as_the_epochs_report_says_to_the_last_bit(changes, photos, tmp_path):
    trained = train(photo_recipe(photos, **changes), tmp_path / "run")
    _, packed = pack(trained, tmp_path / "model")
    assert packed.reproduces
    report, metrics = packed.report, packed.validated.metrics
    assert metrics["val_loss"] == report["val_loss"]
    assert metrics["auc"] == report["auc"]
    assert packed.validated.evaluation.confusion == report["confusion"]
    network = load_package(tmp_path / "model")
    dataset = open_dataset(parse_recipe(photo_recipe(photos, **changes)).data, image_sizes=[64])
    if next(name for name, of in STAGES.items() if of is changes) == "another size":
        assert (network.manifest.input.image_size, network.manifest.inference.batch_size) == (64, 7)
    else:
        assert np.array_equal(outputs_on_validation(network, dataset), packed.validated.outcome.outputs)


def test_outputs_are_those_of_the_trainers_validation_bit_for_bit(photos, trained, packed):
    recipe = parse_recipe(photo_recipe(photos, **LDAM))
    dataset = open_dataset(recipe.data)
    best = training_in(trained.root).best
    trainer = Trainer(recipe, dataset)
    trainer.load_state_dict(load_checkpoint(best_file(trained))["trainer"])
    trainer.model.eval()
    tail = trainer._active.scored_tail.eval()
    feed: Feed = trainer.feed
    with torch.inference_mode():
        expected = torch.cat([tail(batch.features) for batch in feed.validation(stage=best["stage_index"])])
    assert np.array_equal(outputs_on_validation(load_package(packed), dataset), expected.numpy())


def test_files_predicted_from_the_disk_reproduce_accuracy_and_confusion(photos, packed):
    dataset = open_dataset(parse_recipe(photo_recipe(photos)).data)
    network = load_package(packed)
    results = run(network, find_images(validation_files(photos, dataset), network.manifest))
    probabilities = predictions(network.manifest, results.outcome.outputs)
    found = evaluate(probabilities, dataset.labels[dataset.validation])
    assert found.confusion == network.manifest.validation["confusion"]
    assert found.metrics["accuracy"] == network.manifest.validation["metrics"]["accuracy"]
    assert found.metrics["auc"] == network.manifest.validation["metrics"]["auc"]


def test_numbers_are_in_the_unit_of_the_targets(tmp_path):
    trained = train(regression_recipe(write_scored_digits(tmp_path / "scores", 40)), tmp_path / "run")
    manifest, packed = pack(trained, tmp_path / "model")
    assert packed.reproduces
    assert manifest.classes == ()
    numbers = predictions(manifest, packed.validated.outcome.outputs)
    mae = np.abs(numbers - packed.validated.truth).mean()
    assert mae == pytest.approx(packed.report["mae"], rel=1e-12)
    assert not PackageLayout(tmp_path / "model").labels.exists()


@pytest.mark.parametrize("start", [1, 5])
def test_the_prior_is_that_of_the_weights_in_force_in_the_best_epoch(photos, tmp_path, start):
    stages = [HEAD | {"epochs": 5, "plateau": None}]
    drw = {"start_epoch": start}
    run_ = train(photo_recipe(photos, stages=stages, drw=drw, loss={"kind": "ldam"}), tmp_path / "run")
    manifest, packed = pack(run_, tmp_path / "model")
    found = evaluate(
        predictions(manifest, packed.validated.outcome.outputs),
        packed.validated.truth,
        learned_prior=manifest.learned_prior,
    )
    assert found.metrics["corrected_macro_f1"] == packed.report["corrected_macro_f1"]
    uneven = max(manifest.learned_prior) / min(manifest.learned_prior)
    assert uneven == pytest.approx(1 if packed.report["reweighted"] else 4, rel=0.05)
    assert packed.report["reweighted"] == (start == 1)


def test_features_are_what_the_last_layer_takes(photos, packed):
    network = load_package(packed)
    files = [str(photos / "zero" / f"00{i}.png") for i in range(3)]
    features, outputs = run(network, find_images(files, network.manifest)).outcome
    last = network.model.head.last
    assert isinstance(last, CosineLinear)
    assert features.shape == (3, 1280)
    assert np.array_equal(last(torch.from_numpy(features)).detach().numpy(), outputs)


def test_the_exported_config_trains_to_the_same_result(photos, trained, packed, tmp_path):
    import yaml

    config = yaml.safe_load(PackageLayout(packed).recipe.read_text())
    again = train({key: config[key] for key in ("data", "model", "train")}, tmp_path / "again")
    pack(again, tmp_path / "model")
    assert (
        load_file(PackageLayout(tmp_path / "model").weights).keys() == load_file(PackageLayout(packed).weights).keys()
    )
    assert sha256_of(PackageLayout(tmp_path / "model").weights) == sha256_of(PackageLayout(packed).weights)


# --- the folder alone -----------------------------------------------------------------------------------------------


def test_nothing_else_is_needed_to_load_it(package, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THAW_CACHE", str(tmp_path / "no-cache"))
    # Pretrained weights are out of reach.
    monkeypatch.setattr("trainables.models.backbones.efficientnet_lite0.packaged_state_dict", None)
    monkeypatch.setattr("trainables.models.backbones.torchvision_networks.models.get_model_weights", None)
    network = load_package(package.root)
    assert len(network.model.state_dict()) == len(load_file(package.weights))
    assert not (tmp_path / "no-cache").exists()


def test_the_folder_holds_the_frozen_blocks_labels_and_a_recipe(packed, trained):
    layout = PackageLayout(packed)
    stored = load_checkpoint(next(trained.checkpoints.glob("*.pt")))["trainer"]["weights"]
    assert set(stored) < set(load_file(layout.weights))
    assert layout.labels.read_text() == "eight\nfour\nzero\n"
    assert layout.recipe.read_text().startswith("# The run 'ldam': balanced_accuracy")
    assert sorted(path.name for path in packed.iterdir()) == [
        "README.md",
        "labels.txt",
        "model.json",
        "model.safetensors",
        "recipe.yaml",
    ]


def test_the_manifest_says_how_a_file_becomes_a_prediction(packed):
    manifest = read_manifest(PackageLayout(packed))
    assert manifest.classes == ("eight", "four", "zero")
    assert (manifest.head, manifest.cosine_scale) == ("cosine", 30.0)
    assert (manifest.input.image_size, manifest.input.channels, manifest.input.mean) == (32, 3, (0.5, 0.5, 0.5))
    assert manifest.blocks[0] == "features.0"
    assert (manifest.inference.batch_size, manifest.inference.prefix_batch) == (16, 32)
    assert manifest.origin["data"]["train_counts"] == [28, 14, 7]
    assert manifest.origin["environment"]["torch"] == torch.__version__


def test_shares_of_classes_are_divided_out_on_request(packed):
    manifest = read_manifest(PackageLayout(packed)).model_copy(update={"learned_prior": (2.0, 0.5, 0.5)})
    plain = predictions(manifest, np.zeros((1, 3), np.float32))
    assert np.allclose(plain, 1 / 3)
    assert np.allclose(predictions(manifest, np.zeros((1, 3), np.float32), corrected=True), [[1 / 9, 4 / 9, 4 / 9]])


def test_a_network_of_ones_own_is_made_by_its_module(photos, own_module, tmp_path):
    name = own_module(TINY_NETWORK)
    trained = train(photo_recipe(photos, model={"backbone": f"{name}:tiny"}), tmp_path / "run")
    _, packed = pack(trained, tmp_path / "model")
    assert packed.reproduces
    assert load_package(tmp_path / "model", trust_code=True).manifest.backbone == f"{name}:tiny"
    layout = PackageLayout(tmp_path / "model")
    layout.manifest.write_text(layout.manifest.read_text().replace(name, "gone_networks"))
    with pytest.raises(ConfigError, match="cannot import gone_networks"):
        load_package(tmp_path / "model", trust_code=True)


# --- what is refused ------------------------------------------------------------------------------------------------


def test_a_full_disk_leaves_nothing_and_is_told_with_the_folder(trained, tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 * 2**20, before[1]))  # no file can grow any further
    try:
        with pytest.raises(OSError, match=rf"File too large: '{tmp_path}/model'"):
            pack(trained, tmp_path / "model")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_package_is_refused(tmp_path):
    with pytest.raises(
        PackageError, match=r"gone is not a model: there is no such folder; `thaw export RUN --model DIR`"
    ):
        load_package(tmp_path / "gone")
    with pytest.raises(PackageError, match=r"is not a model: it holds no model\.json"):
        load_package(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": PACKAGE_SCHEMA + 1}, r"model\.json: schema 2 is newer than 1, the newest known here; update thaw"),
        ({"task": "detection"}, r"model\.json: task: 'detection'"),
        ({"classes": None}, r"model\.json: classes: "),
        (
            {"weights_sha256": "0" * 64},
            r"model\.safetensors is damaged: it differs from the exported file \(SHA-256 .*, not 0000",
        ),
    ],
)
def test_a_manifest_that_cannot_be_used_is_refused(package, change, message):
    package.manifest.write_text(json.dumps(json.loads(package.manifest.read_text()) | change))
    with pytest.raises(PackageError, match=message):
        load_package(package.root)


def test_a_manifest_that_is_no_json_is_refused(package):
    package.manifest.write_text("{")
    with pytest.raises(PackageError, match=r"model\.json: not valid JSON"):
        load_package(package.root)


@pytest.mark.parametrize("damage", [lambda b: b[:1000], lambda b: b"", lambda b: b[:-1] + bytes([b[-1] ^ 1])])
def test_damaged_weights_are_refused(package, damage):
    package.weights.write_bytes(damage(package.weights.read_bytes()))
    with pytest.raises(PackageError, match=r"model\.safetensors is damaged: it differs from the exported file"):
        load_package(package.root)


def test_weights_that_are_gone_are_refused(package):
    package.weights.unlink()
    with pytest.raises(PackageError, match=r"model\.safetensors cannot be read: No such file"):
        load_package(package.root)


def test_weights_of_another_network_are_refused(package):
    save_file({"odd": torch.zeros(1)}, package.weights)
    data = json.loads(package.manifest.read_text()) | {"weights_sha256": sha256_of(package.weights)}
    package.manifest.write_text(json.dumps(data))
    with pytest.raises(
        PackageError, match=r"does not fit the installed version of efficientnet_lite0: Error.* Missing key"
    ):
        load_package(package.root)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused(package):
    with pytest.raises(PackageError, match="device cuda: this machine has no GPU"):
        load_package(package.root, device="cuda")


def test_an_unknown_device_is_refused():
    with pytest.raises(PackageError, match="device 'tpu': valid devices are auto, cpu, cuda and mps"):
        network_device("tpu")


@pytest.fixture
def run_copy(trained, tmp_path):
    return type(trained)(shutil.copytree(trained.root, tmp_path / "ldam"))


def export(run, folder):
    trained = training_in(run.root)
    return export_model(trained, training_config(trained), folder, onnx=False, console=Console(quiet=True))


def test_a_checkpoint_that_was_removed_is_missed_by_name(run_copy, tmp_path):
    best = training_in(run_copy.root).best
    best_file(run_copy).unlink()
    with pytest.raises(
        PackageError, match=rf"the checkpoint of its best epoch \({best['epoch']}\) is missing; in checkpoints: "
    ):
        export(run_copy, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_damaged_checkpoint_is_refused(run_copy, tmp_path):
    file = best_file(run_copy)
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(PackageError, match="is damaged or not a checkpoint"):
        export(run_copy, tmp_path / "model")


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("data", r"was trained on other data \(0000"),
        ("pretrained", r"started from other pretrained weights \(0000.*lite0 \(default\)"),
    ],
)
def test_other_data_and_other_pretrained_weights_are_refused(run_copy, tmp_path, key, message):
    file = best_file(run_copy)
    state = load_checkpoint(file)
    state["trainer"][key] = "0" * 64
    torch.save(state, file)
    with pytest.raises(PackageError, match=message):
        export(run_copy, tmp_path / "model")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ldam"]


def test_weights_that_are_no_numbers_are_refused_whatever_score_was_recorded(run_copy, tmp_path):
    file = best_file(run_copy)
    state = load_checkpoint(file)
    for values in scored_weights(state).values():
        if values.is_floating_point():
            values.fill_(torch.nan)
    torch.save(state, file)
    with pytest.raises(PackageError, match=r"weights of epoch \d or their outputs are not finite numbers"):
        export(run_copy, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_what_is_there_already_is_left_alone(run_copy, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "notes.txt").write_text("mine")
    with pytest.raises(PackageError, match="model already exists; remove it, or name another folder"):
        export(run_copy, tmp_path / "model")
    assert (tmp_path / "model" / "notes.txt").read_text() == "mine"


def test_a_package_is_written_whole_or_not_at_all(run_copy, tmp_path, monkeypatch):
    monkeypatch.setattr("search.artifacts.export_model.model_card", lambda manifest, name: 1 / 0)
    with pytest.raises(ZeroDivisionError, match="division"):
        export(run_copy, tmp_path / "model")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ldam"]


def test_a_run_without_a_best_epoch_is_refused(run_copy, tmp_path):
    from results_analysis.runs.run import RunError

    lines = [json.dumps(report | {"best_epoch": 0, "best_score": None}) for report in read_epochs(run_copy.epochs)]
    run_copy.epochs.write_text("\n".join(lines) + "\n")
    with pytest.raises(RunError, match="ldam has no best epoch"):
        export(run_copy, tmp_path / "model")
