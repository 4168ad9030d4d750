"""Default number of checkpoints, by the space that they take."""

import pytest

from tests.support import checkpointed_runs
from tests.support.checkpointed_runs import TWO
from tests.support.small_runs import stage
from trainables.checkpoints.checkpoint_folder import CheckpointFolder
from trainables.checkpoints.disk_budget import bytes_of_blocks, checkpoint_bytes, disk_budget
from trainables.run_folder.checkpoint_registry import read_registry
from trainables.trial.training_run import TrainingRun

folder, recipe_of = checkpointed_runs.folder, checkpointed_runs.recipe_of  # fixtures
QUARTERS = ("25%", "50%", "75%", "100%")
MB = 10**6
LONG = [stage("head", "head", 10), stage("top", "last:1", 10, head_frozen_epochs=0)]
BLOCKS = (0,) * 7 + (9 * MB, 9 * MB, 1 * MB)
"""Bytes of the blocks of a network of which `LONG` opens the last, and of its head."""


@pytest.mark.parametrize(
    ("free_mb", "runs", "kept"),
    [
        # A checkpoint of the head takes 3 MB (weights, momentum, best weights), one with the last block 30 MB.
        pytest.param(2200, 1, (5, QUARTERS, 2 * 3 + 7 * 30), id="a run on a large disk"),
        pytest.param(22_000, 10, (2, QUARTERS, 2 * 3 + 4 * 30), id="trials never keep five"),
        pytest.param(1300, 1, (2, QUARTERS, 2 * 3 + 4 * 30), id="a run on a smaller disk"),
        pytest.param(1200, 1, (2, (), 3 * 30), id="a run on a small disk"),
        pytest.param(12_000, 10, (2, (), 3 * 30), id="a search on a disk that is small for all its trials"),
        pytest.param(1, 1, (2, (), 3 * 30), id="hardly any space"),
    ],
)
def test_the_defaults_keep_as_many_as_take_a_tenth_of_the_free_disk(recipe_of, free_mb, runs, kept):
    budget = disk_budget(recipe_of(LONG), BLOCKS, runs=runs, free_bytes=free_mb * MB)
    *policy, mb = kept
    assert [budget.policy.keep_last, budget.policy.milestones] == policy
    assert budget.run_bytes == pytest.approx(mb * MB, rel=0.01)
    assert budget.total_bytes == runs * budget.run_bytes


def test_a_run_keeps_no_more_checkpoints_than_it_has_epochs(recipe_of):
    budget = disk_budget(recipe_of(TWO, keep_last=50), BLOCKS, runs=1, free_bytes=10**15)
    assert budget.run_bytes == pytest.approx((2 * 3 + 2 * 30) * MB, rel=0.01)


def test_what_the_recipe_says_is_kept_on_any_disk(recipe_of):
    recipe = recipe_of(TWO, keep_last=7, milestones=[3])
    for free in (1, 10**15):
        policy = disk_budget(recipe, BLOCKS, runs=64, free_bytes=free).policy
        assert (policy.keep_last, policy.milestones) == (7, (3,))


@pytest.mark.parametrize("ema", [None, {"decay": 0.9}])
def test_the_sizes_are_those_of_the_files(recipe_of, folder, ema):
    recipe = recipe_of(TWO, ema=ema, keep_last=9)
    run = TrainingRun(recipe, folder)
    list(run)
    head, top = checkpoint_bytes(recipe, bytes_of_blocks(run.trainer.model))
    sizes = [entry.size for entry in read_registry(folder.registry)]
    assert 0.5 * head <= max(sizes[:2]) <= 1.05 * head
    assert 0.6 * top <= max(sizes[2:]) <= 1.05 * top


def test_a_run_keeps_its_defaults(recipe_of, folder):
    list(TrainingRun(recipe_of(), folder))
    assert [entry.milestone for entry in read_registry(folder.registry)] == [None, "25%", "50%", None, "75%", "100%"]
    assert sorted(CheckpointFolder(folder.checkpoints).files)[-5:] == [2, 3, 4, 5, 6]


def test_a_trial_keeps_its_milestones_but_not_five_newest(recipe_of, folder):
    list(TrainingRun(recipe_of(save_every_epochs=1), folder, sharing_runs=8))
    best = max(entry.epoch for entry in read_registry(folder.registry) if entry.best)
    assert set(CheckpointFolder(folder.checkpoints).files) == {2, 3, 5, 6, best}
