"""What driver and workers exchange: it comes back from Ray's dicts as it went in."""

import dataclasses
import pickle

import pytest
from ray.tune.utils import flatten_dict

from trainables.core.rungs import Rungs
from trainables.run_folder.layout import RunLayout
from trainables.run_folder.protocol import StepResult, TrialAssignment
from trainables.run_folder.trial_record import Parent

ASSIGNMENT = TrialAssignment(
    run="runs/digits",
    number=7,
    attempt=2,
    recipe='{"train": {}}',
    trials=64,
    parent=Parent(trial=3, epoch=4, stage=1),
    rungs=Rungs("compute", (0.1, 0.3)),
    objectives=("score", "macs"),
    reads_test=True,
)
RESULT = StepResult(
    epoch=3, best_score=0.5, objectives=[0.5, None], reports=[{"epoch": 2, "flags": []}, {"epoch": 3, "flags": ["gap"]}]
)


@pytest.mark.parametrize(
    "assignment", [ASSIGNMENT, dataclasses.replace(ASSIGNMENT, parent=None, rungs=Rungs())], ids=["child", "other"]
)
def test_an_assignment_survives_rays_config(assignment):
    config = pickle.loads(pickle.dumps(assignment.to_config()))
    assert TrialAssignment.of_config({**config, "of_ray": 1}) == assignment
    assert all(isinstance(value, str | int | list | dict | None) for value in config.values())


def test_an_assignment_knows_its_folders():
    assert ASSIGNMENT.layout.root == RunLayout("runs/digits").root
    assert ASSIGNMENT.folder.root == RunLayout("runs/digits").trial(7).root


def test_a_result_survives_what_ray_adds_and_flattens():
    result = {**RESULT.to_result(), "config": {"number": 7}, "training_iteration": 1, "trial_id": "x"}
    assert StepResult.of_result(flatten_dict(result)) == RESULT
    assert StepResult.of_result(result) == RESULT


@pytest.mark.parametrize(
    ("changes", "last", "whole"),
    [
        ({}, False, False),
        ({"finished": True}, True, True),
        ({"finished": True, "stopped_for": "nan"}, True, False),
        ({"given_up": "ValueError: twice"}, True, False),
        ({"refused": "no space left"}, True, False),
    ],
    ids=["under way", "at its end", "stopped for a flag", "given up", "refused"],
)
def test_ray_ends_a_trial_with_its_last_result(changes, last, whole):
    result = dataclasses.replace(RESULT, **changes)
    assert (result.to_result()["done"], result.is_last, result.is_whole) == (last, last, whole)


def test_an_assignment_that_lacks_what_a_worker_needs_is_refused():
    config = ASSIGNMENT.to_config()
    del config["recipe"]
    with pytest.raises(TypeError, match="recipe"):
        TrialAssignment.of_config(config)
