"""A trainer that is stopped and taken up again equals one that was not, bit for bit."""

import functools
import io
import json
import subprocess
import sys
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from tests.support.small_runs import differences, small_recipe, stage, timeless
from trainables.data.dataset import open_dataset
from trainables.training.trainer import Trainer

pytestmark = pytest.mark.slow

AT_ONCE = {"patience": 1, "threshold": 100.0}
"""No drop is large enough: a plateau after the stage's second epoch."""


EVERYTHING = {
    "stages": [
        stage("head", "head", 4, plateau=AT_ONCE, dropout=0.1),
        stage("top", "last:2", 3, head_warmup_epochs=2, weight_decay=2e-4, plateau={"metric": "kappa", "patience": 2}),
        stage("more", "last:3", 3, backbone_warmup_epochs=2, schedule="cosine", dropout=0.3),
    ],
    "loss": {"kind": "ldam", "scale": 15},
    "drw": {"start_epoch": 9},
    "ema": {"decay": 0.9},
    "accumulate": 2,
    "clip_norm": 0.5,
    "bn_affine": "train",
    "early_stop": {"metric": "auc", "patience": 2, "threshold": 0.001},
    "freeze_head_at": "every_opening",
}
AUGMENT = {
    "horizontal_flip": 0.5,
    "crop": {"min_scale": 0.5},
    "rotate_degrees": 15,
    "translate": 0.1,
    "zoom": 0.1,
    "brightness": 0.2,
    "contrast": 0.2,
    "saturation": 0.2,
    "erase": {"probability": 0.5},
}
RECIPES: dict[str, tuple[int, dict[str, Any]]] = {
    "stages, plateau, rest, warm-up, DRW, EMA, accumulation, clip": (8, EVERYTHING),
    "AdamW, balanced sampler, early stop": (
        5,
        {
            "stages": [
                stage("head", "head", 3, head_lr=0.01),
                stage(
                    "top",
                    "last:1",
                    5,
                    head_lr=0.01,
                    head_frozen_epochs=1,
                    schedule={"kind": "reduce_on_plateau", "patience": 0, "threshold": 0.05},
                ),
            ],
            "optimizer": {"kind": "adamw", "layer_decay": 0.7},
            "balance": "sampler",
            "metric": "val_loss",
            "early_stop": AT_ONCE,
        },
    ),
    "blocks that freeze again": (
        5,
        {
            "stages": [
                stage("head", "head", 1),
                stage("wide", "last:4", 1, backbone_lr_ratio=0.02, head_frozen_epochs=0),
                stage("again", "last:4", 1, backbone_lr_ratio=0.02, schedule="cosine"),
                stage("less", "last:2", 2, head_lr=0.5),
            ],
            "loss": {"kind": "focal"},
            "balance": "class_weights",
        },
    ),
    "a random network in bf16 whose head has a hidden layer": (
        4,
        {
            "model": {"backbone": "mobilenet_v3_small", "weights": "none"},
            "stages": [stage("head", "head", 2, head_lr=0.01), stage("top", "last:1", 2, head_frozen_epochs=1)],
            "loss": {"kind": "balanced_softmax"},
            "ema": {"decay": 0.5, "judge": "raw"},
            "precision": "bf16",
            "seed": 7,
        },
    ),
    "cuts inside a block, blocks frozen above an open stem, EMA": (
        5,
        {
            "stages": [
                stage("head", "head", 1),
                stage("part", "features.6.2", 2, head_frozen_epochs=1),
                stage("stem", "all", 2, freeze=["features.1", "features.6.0"], continues=True),
            ],
            "ema": {"decay": 0.9},
            "optimizer": {"kind": "sgd", "layer_decay": 0.8},
        },
    ),
    "augmented images, new ones each epoch": (
        4,
        {
            "stages": [stage("head", "head", 2), stage("top", "last:1", 2, head_frozen_epochs=1)],
            "augment": AUGMENT,
            "balance": "sampler",
        },
    ),
    "augmented images, three views": (
        5,
        {"stages": [stage("head", "head", 3), stage("top", "last:1", 2)], "augment": AUGMENT | {"views": 3}},
    ),
    "thawing on more and larger images, mixed with each other": (
        5,
        {
            "stages": [
                stage("small", "last:1", 1, data_fraction=0.4, batch_size=5),
                stage("middle", "last:2", 2, data_fraction=0.6, image_size=64, lr_scale=0.8, head_frozen_epochs=1),
                stage("large", "last:3", 2, batch_size=20, lr_scale=0.5),
            ],
            "one_cycle": {"momentum": {}},
            "schedule_by": "step",
            "ema": {"decay": 0.5},
            "mix": {"mixup_alpha": 0.4, "cutmix_alpha": 1.0, "probability": 0.7},
            "loss": {"kind": "ldam", "scale": 15},
            "drw": {"start_epoch": 4},
            "augment": {"rotate_degrees": 10},
        },
    ),
    "bf16, accumulation, a cosine by the step, EMA, growing images, no break": (
        4,
        {
            "stages": [
                stage("small", "head", 2, data_fraction=0.5, image_size=32),
                stage("large", "last:2", 2, image_size=64, batch_size=5, head_frozen_epochs=1, continues=True),
            ],
            "optimizer": {"kind": "adamw"},
            "precision": "bf16",
            "accumulate": 2,
            "cosine": {"head_warmup_epochs": 1, "backbone_warmup_epochs": 3},
            "schedule_by": "step",
            "ema": {"decay": 0.9},
            "drw": {"start_fraction": 0.7},
            "clip_norm": 1.0,
        },
    ),
    "freezing again on smaller images, features mixed": (
        4,
        {
            "stages": [
                stage("wide", "last:5", 1, image_size=64, data_fraction=0.4),
                stage("same", "last:5", 1, batch_size=9, lr_scale=0.8),
                stage("narrow", "last:1", 2, data_fraction=0.7, lr_scale=0.5),
            ],
            "optimizer": {"kind": "adamw"},
            "mix": {"mixup_alpha": 1.0, "at": "cut"},
            "balance": "sampler",
        },
    ),
    "stopped for collapse in its second stage": (
        6,
        {
            "model": {"backbone": "mobilenet_v3_small", "weights": "none"},
            "stages": [stage("head", "head", 2, head_lr=1e-4), stage("again", "head", 6, head_lr=1e-4)],
            "stop_on": ["nan", "collapse"],
        },
    ),
    "flagged for what its first epochs were": (
        10,
        {
            "model": {"backbone": "mobilenet_v3_small", "weights": "none"},
            "stages": [stage("head", "head", 4, head_lr=1e-4), stage("again", "head", 9, head_lr=1e-4)],
            "stop_on": ["stuck_auc"],
        },
    ),
}
"""Name -> (epochs that are run, what differs from the small recipe)."""


def recipe_of(name):
    return small_recipe(**RECIPES[name][1])


def new_trainer(recipe):
    return Trainer(recipe, open_dataset(recipe.data, image_sizes=recipe.image_sizes))


def to_bytes(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def from_bytes(saved):
    return torch.load(io.BytesIO(saved), weights_only=True)


class Uninterrupted(NamedTuple):
    states: list[bytes]
    """After each epoch."""
    reports: list[str]
    weights: dict[str, torch.Tensor]
    """Of the whole model at the end."""


@functools.cache
def uninterrupted(name):
    trainer = new_trainer(recipe_of(name))
    reports, states = [], []
    for report in trainer:
        reports.append(timeless(report))
        states.append(to_bytes(trainer.state_dict()))
    return Uninterrupted(states, reports, trainer.model.state_dict())


@pytest.mark.parametrize("name", RECIPES)
def test_the_recipes_exercise_what_they_are_meant_to(name):
    reports = [json.loads(report) for report in uninterrupted(name).reports]
    assert len(reports) == RECIPES[name][0]
    assert reports[-1]["finished"]
    if name.startswith("stages"):
        assert [(r["stage"], r["head_frozen"], r["reweighted"]) for r in reports] == [
            ("head", False, False),
            ("head", False, False),
            ("top", True, False),
            ("top", True, False),
            ("top", False, False),
            ("more", True, False),
            ("more", True, True),
            ("more", False, True),
        ]
    flags = {
        "stopped for collapse in its second stage": "collapse",
        "flagged for what its first epochs were": "stuck_auc",
    }
    assert reports[-1]["stopped_for"] == flags.get(name)


# The other two are stopped after every epoch below, which costs each of their epochs once.
STOPS = [(name, epoch) for name, (epochs, _) in list(RECIPES.items())[:2] for epoch in range(1, epochs)]


@pytest.mark.parametrize(("name", "epoch"), STOPS)
def test_a_run_stopped_after_any_epoch_goes_on_as_if_it_had_not_been(name, epoch):
    whole = uninterrupted(name)
    trainer = new_trainer(recipe_of(name))
    trainer.load_state_dict(from_bytes(whole.states[epoch - 1]))
    assert [timeless(report) for report in trainer] == whole.reports[epoch:]
    assert differences(trainer.model.state_dict(), whole.weights) == []
    assert differences(from_bytes(to_bytes(trainer.state_dict())), from_bytes(whole.states[-1])) == []


@pytest.mark.parametrize("name", RECIPES)
def test_a_run_stopped_after_every_epoch_goes_on_as_if_it_had_not_been(name):
    whole = uninterrupted(name)
    saved, reports = None, []
    for state in whole.states:
        trainer = new_trainer(recipe_of(name))
        if saved is not None:
            trainer.load_state_dict(from_bytes(saved))
        reports.append(timeless(next(trainer)))
        saved = to_bytes(trainer.state_dict())
        assert differences(from_bytes(saved), from_bytes(state)) == []
    assert reports == whole.reports


def test_runs_in_one_process_do_not_touch_each_other():
    """All recipes at once, an epoch of each in turn, while someone else draws random numbers and changes threads."""
    whole = {name: uninterrupted(name) for name in RECIPES}
    trainers = {name: new_trainer(recipe_of(name)) for name in RECIPES}
    reports = {name: [] for name in RECIPES}
    for turn in range(max(epochs for epochs, _ in RECIPES.values())):
        for name, trainer in trainers.items():
            np.random.seed(turn)
            torch.manual_seed(turn)
            reports[name] += [timeless(report) for report in [next(trainer, None)] if report]
    for name, trainer in trainers.items():
        assert reports[name] == whole[name].reports
        assert differences(trainer.model.state_dict(), whole[name].weights) == []


def test_a_fresh_process_gives_the_same_bits(tmp_path):
    name = next(iter(RECIPES))
    (tmp_path / "recipe.json").write_text(recipe_of(name).model_dump_json())
    program = """
import json, sys
from pathlib import Path
import torch
from trainables.data.dataset import open_dataset
from trainables.recipe.recipe import parse_recipe
from trainables.training.trainer import Trainer
recipe = parse_recipe(json.loads(Path("recipe.json").read_text()))
trainer = Trainer(recipe, open_dataset(recipe.data, image_sizes=recipe.image_sizes))
for _ in trainer: pass
torch.save(trainer.state_dict(), "state.pt")
"""
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, timeout=120)
    theirs = torch.load(tmp_path / "state.pt", weights_only=True)
    assert differences(theirs, from_bytes(uninterrupted(name).states[-1])) == []


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("data", r"the checkpoint was made with other data \(000000000000\) than this run's \([0-9a-f]{12}\)"),
        ("pretrained", r"the checkpoint was made with other pretrained weights \(000000000000\) than this run's"),
    ],
)
def test_the_state_of_something_else_is_refused(key, message):
    name = next(iter(RECIPES))
    state = from_bytes(uninterrupted(name).states[0])
    with pytest.raises(ValueError, match=message):
        new_trainer(recipe_of(name)).load_state_dict({**state, key: "0" * 64})


@pytest.mark.parametrize(
    ("other", "what"), [({"data": {"image_size": 64}}, "data"), ({"model": {"weights": "none"}}, "pretrained weights")]
)
def test_the_state_of_a_run_on_something_else_is_refused(make_recipe, other, what):
    stages = [stage("head", "head", 1)]
    theirs = new_trainer(make_recipe(data=other.get("data"), model=other.get("model"), stages=stages))
    next(theirs)
    with pytest.raises(ValueError, match=f"the checkpoint was made with other {what}"):
        new_trainer(make_recipe(stages=stages)).load_state_dict(from_bytes(to_bytes(theirs.state_dict())))
