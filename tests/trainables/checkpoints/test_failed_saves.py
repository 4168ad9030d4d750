"""A run whose disk is full for a while, or for good."""

import os
import shutil

import pytest

from tests.support import checkpointed_runs
from tests.support.checkpointed_runs import HEAD, TWO
from tests.support.small_disk import fill, small_disk
from tests.support.small_runs import small_recipe, timeless
from trainables.checkpoints.checkpoint_folder import CheckpointFolder
from trainables.run_folder.checkpoint_registry import read_registry
from trainables.run_folder.epoch_report import read_epochs
from trainables.run_folder.layout import TrialLayout
from trainables.trial.training_run import TrainingRun

recipe_of = checkpointed_runs.recipe_of  # fixture


@pytest.fixture
def folder(tmp_path):
    with small_disk(tmp_path / "disk", 8) as disk:
        yield TrialLayout(disk / "runs" / "small")


@pytest.fixture
def recipe(recipe_of):
    return recipe_of(milestones=[3], keep_last=1)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = TrialLayout(tmp_path_factory.mktemp("undisturbed") / "run")
    recipe = small_recipe(
        stages=HEAD, checkpoints={"milestones": [3], "keep_last": 1}, early_stop=None, metric="balanced_accuracy"
    )
    list(TrainingRun(recipe, folder))
    return folder


def reports(folder):
    return [timeless(report) for report in read_epochs(folder.epochs)]


def files(folder):
    return sorted(CheckpointFolder(folder.checkpoints).files)


def filler(folder):
    return folder.root.parent.parent / "filler"


def train(recipe, folder, *, full_from, until=99):
    """Trains with a disk that is full in some epochs."""
    run = TrainingRun(recipe, folder)
    for epoch in range(1, 7):
        if epoch == full_from:
            fill(filler(folder))
        if epoch == until:
            filler(folder).unlink()
        next(run)
        assert not list(folder.checkpoints.glob(".*")), "part of a file"
    return run


def test_a_disk_that_is_full_for_two_epochs_costs_nothing(recipe, folder, undisturbed, caplog):
    train(recipe, folder, full_from=3, until=5).close()
    warnings = [record.getMessage() for record in caplog.records]
    assert [text.partition(":")[0] for text in warnings] == [
        f"epoch {epoch} could not be saved, and training continues" for epoch in (3, 4)
    ]
    assert all("No space left on device" in text for text in warnings)
    assert reports(folder) == reports(undisturbed)
    assert files(folder) == files(undisturbed)
    assert 3 in files(folder), "a milestone is written when there is room again"
    assert {3, 5, 6} <= {entry.epoch for entry in read_registry(folder.registry)}
    assert folder.log.read_text().count("\n") == 7


@pytest.mark.parametrize(("full_from", "trained"), [(2, 4), (5, 6), (6, 6)])
def test_a_run_ends_with_the_disk_s_message_when_nothing_can_be_saved_and_resumes(
    recipe, folder, undisturbed, full_from, trained
):
    """After three epochs in a row that could not be saved, or the last one of the run."""
    with pytest.raises(OSError, match="No space left on device") as raised:
        train(recipe, folder, full_from=full_from)
    assert raised.value.filename, "the message names the file"
    assert not list(folder.checkpoints.glob(".*")), "part of a file"
    assert max(files(folder)) == full_from - 1
    assert full_from - 1 <= len(reports(folder)) < trained, "no record of the last epoch, whose checkpoint is missing"
    filler(folder).unlink()
    run = TrainingRun(recipe, folder)
    assert len(run.reports) == full_from - 1
    list(run)
    assert reports(folder) == reports(undisturbed)


def test_a_large_checkpoint_that_does_not_fit_is_a_warning_too(recipe_of, folder, caplog):
    """The weights of a block: torch has an error of its own when the disk is full in the middle of a tensor."""
    run = TrainingRun(recipe_of(TWO), folder)
    for _ in range(2):
        next(run)
    fill(filler(folder))
    os.truncate(filler(folder), filler(folder).stat().st_size - 2**20)
    next(run)
    assert "epoch 3 could not be saved, and training continues: [Errno 28] No space left on device: " in caplog.text
    with pytest.raises(OSError, match="No space left on device"):
        next(run)


def test_the_first_checkpoint_may_fail_too(recipe, folder):
    """A folder that cannot be made: it is a file until the second epoch is over."""
    run = TrainingRun(recipe, folder)
    shutil.rmtree(folder.checkpoints, ignore_errors=True)
    folder.checkpoints.write_text("in the way")
    next(run)
    next(run)
    assert reports(folder) == reports(folder)[:1]
    folder.checkpoints.unlink()
    next(run)
    run.close()
    assert len(reports(folder)) == 3
    assert 3 in files(folder)
