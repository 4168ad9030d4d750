"""Commands that continue or repeat training runs refuse other data and other weights, before anything starts."""

import json
import re
import shutil
import sys

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from rich.console import Console

from search.cli import main
from search.config.yaml_source import InputError, read_source
from search.config_file.load import load_search
from search.preflight.data_and_weights import check_data_and_weights
from search.preflight.same_origin import EarlierRuns
from tests.support.searched_runs import write_trial
from trainables.data.dataset import open_dataset
from trainables.models.backbones.torchvision_import import models
from trainables.run_folder.layout import RunLayout, TrialLayout

SEARCH = """\
data: {source: folder, path: images, image_size: 32, validation: 0.5}
model: {backbone: resnet18, weights: none}
train:
  metric: balanced_accuracy
  stages: [{name: head, unfreeze_from: head, epochs: 1}]
space: {"train.stages[*].head_lr": {log: [0.01, 0.1]}}
search: {trials: 2, scheduler: {kind: none}}
ablate: {changes: {slow: {"train.stages[0].head_lr": 0.0005}}}
"""
CONTINUING = (
    ("resume", "old"),
    ("extend", "old", "--trials", "+2"),
    ("search", "old.yaml", "--resume"),
    ("confirm", "old"),
    ("ablate", "old.yaml"),
    ("train", "recipe.yaml"),
)


def draw(file, seed):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(file)


@pytest.fixture
def old(tmp_path, monkeypatch):
    """The folder of a search, with an ablation and a training run beside it, that have recorded their images."""
    monkeypatch.chdir(tmp_path)
    for seed in range(16):
        draw(tmp_path / "images" / ("cat", "dog")[seed % 2] / f"{seed}.png", seed)
    (tmp_path / "old.yaml").write_text(SEARCH)
    config = load_search(read_source(tmp_path / "old.yaml"))
    recipe = config.recipe.model_dump(mode="json")
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    layout, ablated = RunLayout(tmp_path / "runs/old"), RunLayout(tmp_path / "runs/old-ablate")
    write_trial(layout, 0, [0.5], params={"train.stages[*].head_lr": 0.02})
    write_trial(ablated, 0, [0.5])
    layout.config.write_text(config.to_yaml())
    data = open_dataset(config.recipe.data)
    recorded = {
        "classes": list(data.classes),
        "training_images": len(data.train),
        "validation_images": len(data.validation),
        "data_fingerprint": data.fingerprint,
        "split_fingerprint": data.split_fingerprint,
        "pretrained_fingerprint": "random",
    }
    for folder in (layout.trial(0), ablated.trial(0), TrialLayout(tmp_path / "runs/recipe-20260101-000000")):
        folder.root.mkdir(exist_ok=True)
        folder.recipe.write_text(yaml.safe_dump(recipe))
        folder.environment.write_text(json.dumps(recorded))
    return layout


@pytest.fixture
def refused(monkeypatch, capsys):
    """`refused(*words)`: the message of a command that is refused."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["thaw", *words])
        with pytest.raises(SystemExit, match=r"^2$"):
            main()
        return capsys.readouterr().err

    return run


def add_an_image(images):
    draw(images / "cat/new.png", 99)
    draw(images / "cat/new2.png", 98)


def add_a_class(images):
    for seed in range(4):
        draw(images / "owl" / f"{seed}.png", 50 + seed)


def exchange_two(images):
    shutil.move(images / "cat/0.png", images.parent / "kept.png")
    shutil.move(images / "dog/1.png", images / "cat/0.png")
    shutil.move(images.parent / "kept.png", images / "dog/1.png")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (add_an_image, r"\(8 training images then, 9 now; 8 validation images then, 9 now\)"),
        (add_a_class, r"\(of the classes cat, dog then, cat, dog, owl now; 8 training images then, 10 now; .*\)"),
        (exchange_two, r"\(as many images, other pixels or labels: fingerprint [0-9a-f]{12} then, [0-9a-f]{12} now\)"),
    ],
)
def test_changed_data_are_described(old, refused, change, said):
    change(old.root.parents[1] / "images")
    message = refused("resume", "old")
    assert re.search(
        rf"runs/old/search\.yaml:\d+ data\.path: .*trials/0000 was trained with other data {said}", message
    )


@pytest.mark.parametrize("words", CONTINUING, ids=lambda words: words[0])
def test_nothing_continues_on_other_data(old, refused, words):
    add_an_image(old.root.parents[1] / "images")
    if words[-1] == "--resume":
        (old.root.parents[1] / "old.yaml").write_text(old.config.read_text())
    before = old.config.read_text()
    message = refused(*words)
    assert "put the data back as they were, or " in message
    again = "--new" if words[0] in {"ablate", "train"} else "thaw search runs/old/search.yaml --new"
    assert message.rstrip().endswith(again)
    assert old.config.read_text() == before
    assert not old.attempt.exists()


def test_another_split_of_the_same_images_is_other_data(old, refused):
    environment = json.loads(old.trial(0).environment.read_text())
    old.trial(0).environment.write_text(json.dumps(environment | {"split_fingerprint": "0" * 64}))
    assert "(the same images, split in another way or with other weights)" in refused("resume", "old")


def test_a_run_to_learn_from_had_the_same_data(old, refused):
    text = (old.root.parents[1] / "old.yaml").read_text()
    (old.root.parents[1] / "next.yaml").write_text(text.replace("trials: 2", "trials: 2, warm_start: [old]"))
    add_an_image(old.root.parents[1] / "images")
    assert refused("search", "next.yaml").rstrip().endswith("or remove old from search.warm_start")


def test_weights_of_the_same_name_with_other_values_are_refused(old):
    file = old.root.parents[1] / "w.pth"
    torch.save(models.resnet18().state_dict(), file)
    for config in (old.config, old.trial(0).recipe):
        config.write_text(config.read_text().replace("weights: none", f"weights: {file}"))
    source = read_source(old.config)
    earlier = [EarlierRuns(old.all_trials(), "start again")]
    message = r"model\.weights: .*trials/0000 was trained with other weights \(.*w\.pth has other values now\).* or start again$"
    with pytest.raises(InputError, match=message):
        check_data_and_weights(load_search(source).corner_recipes(), source, Console(quiet=True), earlier=earlier)


@pytest.mark.parametrize("kept", [{}, {"classes": ["cat", "dog"], "validation_images": 3}])
def test_a_run_that_has_not_recorded_its_data_is_not_checked(old, kept):
    old.trial(0).environment.write_text(json.dumps(kept))
    add_an_image(old.root.parents[1] / "images")
    data = load_search(read_source(old.config)).recipe.data
    EarlierRuns(old.all_trials(), "").check_data({data: open_dataset(data)})
