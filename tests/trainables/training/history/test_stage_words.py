"""Account of a stage in words, from positions and reports."""

import pytest
import torch

from trainables.data.dataset import open_dataset
from trainables.training.history.stage_words import beginning, outlook, reason_of_end, stage_lines
from trainables.training.stage_plan import Position
from trainables.training.trainer import Trainer

RULE = {"patience": 3, "threshold": 0.1}


@pytest.fixture
def recipe(make_recipe):
    stages = [
        {"name": "head", "unfreeze_from": "head", "epochs": 8, "plateau": RULE},
        {"name": "top", "unfreeze_from": "last:2", "epochs": 8},
    ]
    return make_recipe(stages=stages, early_stop={"patience": 4, "metric": "kappa", "threshold": 0.1})


def at(stage, *values):
    losses = values if stage == 0 else (1.0,) * len(values)
    return Position(
        epoch=9, stage=stage, epoch_in_stage=len(values), losses=losses, watched=() if stage == 0 else values
    )


@pytest.mark.parametrize(
    ("position", "text"),
    [
        pytest.param(at(0), None, id="nothing is known before the first epoch"),
        pytest.param(at(0, 1.0, 0.8), None, id="it has just improved"),
        pytest.param(at(0, 1.0, 0.95), "plateau in 2 epochs unless val_loss < 0.9", id="a small gain is none"),
        pytest.param(at(0, 0.5, 0.6, 0.7), "plateau in 1 epoch unless val_loss < 0.4", id="one epoch is left"),
        pytest.param(at(0, 0.5, 0.6, 0.7, 0.8), None, id="it is over"),
        pytest.param(at(0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 1.0), None, id="its length ends it first"),
        pytest.param(at(0, float("nan"), float("nan")), "plateau in 1 epoch", id="there was no number"),
        pytest.param(at(1, 0.2, 0.25), "early stop in 3 epochs unless kappa > 0.3", id="a metric that rises"),
    ],
)
def test_how_long_a_stage_may_wait(recipe, position, text):
    assert outlook(recipe, position) == text


@pytest.mark.parametrize(
    ("position", "flag", "text"),
    [
        pytest.param(at(0, 0.5, 0.6, 0.7, 0.8), None, "plateau: val_loss has not improved by more than 0.1 on 0.5 for 3 epochs"),
        pytest.param(at(1, *[0.2] * 5), None, "early stop: kappa has not improved by more than 0.1 on 0.2 for 4 epochs"),
        pytest.param(at(0, *[0.5] * 8), None, "all 8 epochs are done"),
        pytest.param(at(1, 0.5), "nan", "stopped for nan"),
    ],
    ids=["plateau", "early stop", "length", "a flag"],
)  # fmt: skip
def test_why_a_stage_ended(recipe, position, flag, text):
    assert reason_of_end(recipe, position, stopped_for=flag) == text


OPENED = {
    "blocks": ["features.7", "features.8"],
    "parameters": 1022602,
    "share": 0.302,
    "batch_norms_open": 4,
    "batch_norms_frozen": 45,
}


def test_lines_about_a_stage(recipe):
    report = {
        "stage": "top",
        "stage_index": 1,
        "epoch_in_stage": 1,
        "opened": OPENED,
        "stage_end": "its one epoch is done",
    }
    assert stage_lines(report, recipe) == [
        "stage top (2 of 2) trains the head and features.7 … features.8 (2 of 9 blocks): 1,022,602 parameters, 30.2 %;"
        " BatchNorms: 4 open, 45 frozen",
        "stage top ended after 1 epoch: its one epoch is done",
    ]
    one, parted, none = (
        {**report, "opened": {**OPENED, "blocks": blocks}, "stage_end": None}
        for blocks in (["features.8"], ["features.0", "features.7", "features.8"], [])
    )
    assert "trains the head and features.0, features.7 … features.8 (3 of 9 blocks): " in stage_lines(parted, recipe)[0]
    assert "trains the head and features.8 (1 of 9 blocks): " in stage_lines(one, recipe)[0]
    assert "trains the head alone: " in stage_lines(none, recipe)[0]
    assert stage_lines({**report, "opened": None, "stage_end": None}, recipe) == []


def test_where_a_resumed_run_begins(recipe):
    done = {"epoch": 7, "stage_index": 0, "epoch_in_stage": 7, "best_epoch": 5, "best_score": 0.83}
    done |= {"stage_over": False, "finished": False}
    best = "best balanced_accuracy so far 0.8300, in epoch 5"
    assert beginning(done, recipe) == f"7 epochs were trained before: resumes in stage head, epoch 8 of 8; {best}"
    assert beginning({**done, "stage_over": True}, recipe).startswith(
        "7 epochs were trained before: resumes in stage top, epoch 1 of 8; "
    )
    assert (
        beginning({**done, "stage_over": True, "finished": True}, recipe)
        == f"7 epochs were trained before, which is all; {best}"
    )
    assert beginning({**done, "epoch": 1, "best_epoch": 0}, recipe).endswith("epoch 8 of 8; no score so far")


def test_what_is_opened_is_counted_on_the_network(make_recipe):
    """Even while the head rests; against torch's own account after the stage has opened wholly."""
    top = {"name": "top", "unfreeze_from": "last:2", "epochs": 2, "plateau": None, "head_frozen_epochs": 1}
    recipe = make_recipe(stages=[top])
    trainer = Trainer(recipe, open_dataset(recipe.data))
    first, second = next(trainer), next(trainer)
    assert (first.head_frozen, second.head_frozen, second.opened) == (True, False, None)
    trained = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    whole = sum(p.numel() for p in trainer.model.parameters())
    norms = [m for m in trainer.model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    open_norms = [
        m for block in trainer.model.blocks[-2:] for m in block.modules() if isinstance(m, torch.nn.BatchNorm2d)
    ]
    assert first.opened == {
        "blocks": ["features.7", "features.8"],
        "parameters": trained,
        "share": trained / whole,
        "batch_norms_open": len(open_norms),
        "batch_norms_frozen": len(norms) - len(open_norms),
    }
    assert second.stage_end == "all 2 epochs are done"
