"""Code that comes with a model, an exported config or a run's folder runs only with --trust-code."""

import importlib
import json
import sys

import pytest
import yaml

from search.cli import main
from search.config.yaml_source import read_source
from search.config_file.load import load_ablated, load_recipe, load_search
from tests.support.recipes import FEW, RECIPE, TINY_NETWORK
from tests.support.searched_runs import write_trial
from trainables.core.own_code import is_trusted, only_trusted_code
from trainables.model_package.manifest import PackageError
from trainables.model_package.network import load_package
from trainables.recipe.backbone_catalog import backbone_info
from trainables.run_folder.layout import PackageLayout, RunLayout, TrialLayout

HOSTILE = f"""
from pathlib import Path
Path(__file__).with_name("ran").touch()
{TINY_NETWORK}
def space(trial):
    return {{"train.stages[0].head_lr": trial.suggest_float("lr", 0.01, 0.1)}}
"""
STAGES = [{"name": "head", "unfreeze_from": "head", "epochs": 1}]
MODEL = {"backbone": "hostile:tiny"}


@pytest.fixture
def download(tmp_path, monkeypatch):
    """The working folder as somebody else packed it: a search, a training run, a model, configs and a module."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(sys, "path", list(sys.path))
    recipe = {"data": RECIPE["data"] | FEW, "model": MODEL, "train": RECIPE["train"] | {"stages": STAGES}}
    search = {
        **recipe,
        "space": {"train.stages[0].head_lr": {"log": [0.01, 0.1]}},
        "search": {"trials": 2, "scheduler": {"kind": "none"}},
    }
    layout = RunLayout(tmp_path / "runs/theirs")
    write_trial(
        layout, 0, [0.5], classes=("a", "b"), recipe=yaml.safe_dump(recipe), params={"train.stages[0].head_lr": 0.02}
    )
    layout.config.write_text(yaml.safe_dump(search))
    alone = TrialLayout(tmp_path / "runs/alone")
    alone.root.mkdir()
    for mine, theirs in ((alone.recipe, layout.trial(0).recipe), (alone.epochs, layout.trial(0).epochs)):
        mine.write_bytes(theirs.read_bytes())
    (tmp_path / "search.yaml").write_text(yaml.safe_dump(search))
    (tmp_path / "best.yaml").write_text(yaml.safe_dump({**recipe, "provenance": {"search": "theirs", "trial": 0}}))
    (tmp_path / "photo.png").write_bytes(b"")
    write_manifest(PackageLayout(tmp_path))
    (tmp_path / "hostile.py").write_text(HOSTILE)
    importlib.invalidate_caches()
    backbone_info.cache_clear()
    yield tmp_path
    sys.modules.pop("hostile", None)


def write_manifest(layout):
    of_images = {
        "image_size": 32, "depth": None, "resize": "", "channels": 3, "bits": 8, "frame": None, "window": None,
        "mean": [0.5] * 3, "std": [0.5] * 3, "standardises": False,
    }  # fmt: skip
    inference = {
        "cut": 0, "prefix_batch": 8, "prefix_dtype": "fp32", "batch_size": 8, "precision": "fp32", "cpu_threads": 1,
        "device": "cpu",
    }  # fmt: skip
    facts = {
        "schema": 1, "task": "classification", "backbone": MODEL["backbone"], "blocks": ["one", "two", "three"],
        "head": "linear", "cosine_scale": None, "classes": ["a", "b"], "labels": None, "target": None,
        "learned_prior": [0.5, 0.5], "input": of_images, "inference": inference, "weights_sha256": "0" * 64,
        "origin": {}, "validation": {"metrics": {}},
    }  # fmt: skip
    layout.manifest.write_text(json.dumps(facts))
    layout.recipe.write_text(yaml.safe_dump({"model": MODEL}))


@pytest.fixture
def thaw(download, monkeypatch, capsys):
    """`thaw(*words)`: exit status and error output of a command, and if the module has been imported."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["thaw", *words])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code or 0, capsys.readouterr().err, (download / "ran").exists()

    return run


REFUSED = (
    ("predict", ".", "photo.png"),
    ("embed", ".", "photo.png", "-o", "f.npz"),
    ("export", "theirs", "--model", "m"),
    ("export", "alone", "--model", "m"),
    ("compare", "theirs:0", "best.yaml"),
    ("compare", "best.yaml", "alone"),
    ("train", "best.yaml"),
    ("resume", "theirs"),
    ("extend", "theirs", "--trials", "+1"),
    ("confirm", "theirs"),
)
READING = (
    ("results", "theirs"),
    ("report", "theirs"),
    ("export", "theirs"),
    ("watch", "theirs", "--once"),
    ("checkpoints", "theirs", "list", "--trial", "0"),
    ("checkpoints", "alone", "verify"),
)


@pytest.mark.parametrize("words", REFUSED, ids=" ".join)
def test_code_from_outside_does_not_run_unasked(download, thaw, words):
    code, said, ran = thaw(*words)
    assert (code, ran) == (2, False), said
    assert (
        f"hostile:tiny is code: {download}/hostile.py would be imported and run; if you trust it, add --trust-code"
        in said
    )
    assert said.count("\n") == 1


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_commands_that_read_a_run_need_no_code(thaw, words):
    code, said, ran = thaw(*words)
    assert (code, ran) == (0, False), said


def test_a_space_of_a_runs_folder_is_code_too(download, thaw):
    config = RunLayout(download / "runs/theirs").config
    search = yaml.safe_load(config.read_text()) | {"model": RECIPE["model"], "space": {"python": "hostile:space"}}
    config.write_text(yaml.safe_dump(search))
    code, said, ran = thaw("resume", "theirs")
    assert (code, ran) == (2, False)
    assert "space.python: hostile:space is code: " in said


@pytest.mark.parametrize("words", [("resume", "theirs"), ("extend", "theirs", "--trials", "+1")])
def test_the_command_of_a_runs_folder_does_not_run_unasked(download, thaw, words):
    config = RunLayout(download / "runs/theirs").config
    search = yaml.safe_load(config.read_text()) | {"model": RECIPE["model"]}
    search["search"] |= {"on_finish": f"touch {download}/ran"}
    config.write_text(yaml.safe_dump(search))
    code, said, ran = thaw(*words)
    assert (code, ran) == (2, False)
    assert f"search.on_finish: runs a command, touch {download}/ran; if you trust it, add --trust-code" in said


@pytest.mark.parametrize(
    "words", [words for words in REFUSED if words[0] in {"compare", "train", "export"}], ids=" ".join
)
def test_trusted_code_runs(thaw, words):
    *_, ran = thaw(*words, "--trust-code")
    assert ran


def test_files_of_the_users_own_run_their_code(download, thaw):
    load_search(read_source(download / "search.yaml"))
    assert (download / "ran").exists()


def test_a_model_opened_in_python_is_not_trusted_either(download):
    with pytest.raises(
        PackageError, match=r"model\.json: backbone: hostile:tiny is code: .*hostile\.py would be imported"
    ):
        load_package(download)
    assert not (download / "ran").exists()


OWN = {
    "a network": {},
    "a searched network": {"model": RECIPE["model"], "space": {"model.backbone": {"choice": ["hostile:tiny"]}}},
    "a space that draws a network": {"model": RECIPE["model"], "space": {"python": "hostile:networks"}},
}


@pytest.mark.parametrize("changes", OWN.values(), ids=OWN)
def test_whatever_a_file_of_the_users_own_names_is_trusted(download, changes):
    more = (
        '\n\ndef networks(trial):\n    return {"model.backbone": trial.suggest_categorical("net", ["hostile:tiny"])}\n'
    )
    (download / "hostile.py").write_text(HOSTILE + more)
    search = yaml.safe_load((download / "search.yaml").read_text()) | changes
    (download / "own.yaml").write_text(yaml.safe_dump(search))
    with only_trusted_code():
        assert load_search(read_source(download / "own.yaml", ["search.trials=1"]))


def test_a_network_that_an_ablation_changes_to_and_one_that_is_typed_are_trusted(download):
    changes = {"ablate": {"changes": {"own": {"model.backbone": "hostile:tiny"}}}, "model": RECIPE["model"]}
    search = yaml.safe_load((download / "search.yaml").read_text()) | changes
    (download / "own.yaml").write_text(yaml.safe_dump(search))
    with only_trusted_code():
        load_ablated(read_source(download / "own.yaml"))
        assert is_trusted("hostile:tiny")
    with only_trusted_code():
        assert load_recipe(read_source(download / "best.yaml", ["model.backbone=hostile:tiny"]))
