"""Checkpoints that somebody asks for while a run is trained."""

import os
import signal
from contextlib import closing
from pathlib import Path

import pytest

from search.artifacts.checkpoint_actions import prune
from search.artifacts.save_on_demand import request_save, saved_on_demand, wait_for_save
from search.config.yaml_source import InputError
from search.launch.sigusr1 import SaveSignals, sigusr1_saves
from search.run_folder.run_lock import owned
from tests.support import checkpointed_runs
from trainables.checkpoints.checkpoint_folder import CheckpointFolder
from trainables.run_folder.checkpoint_registry import read_registry
from trainables.run_folder.layout import TrialLayout
from trainables.trial.training_run import TrainingRun

folder, recipe_of = checkpointed_runs.folder, checkpointed_runs.recipe_of  # fixtures
RARE = {"save_every_epochs": 100, "milestones": [], "keep_last": 1}


def on_demand(folder):
    return [entry.epoch for entry in read_registry(folder.registry) if entry.on_demand]


def test_a_run_saves_its_current_epoch_when_asked_and_keeps_it_for_good(recipe_of, folder):
    recipe = recipe_of(**RARE)
    (folder.root.parents[1] / "search.yaml").write_text("")  # of the user, beside `runs`
    with owned(folder), closing(TrainingRun(recipe, folder)) as run:
        next(run)
        request_save(folder)
        before = saved_on_demand(folder)
        next(run)
        path = wait_for_save(folder, before)
        assert path == CheckpointFolder(folder.checkpoints).named("2")
        assert not folder.save_request.exists()
        list(run)
    prune(folder, best_only=False)
    folder.registry.unlink()
    TrainingRun(recipe, folder).close()
    assert on_demand(folder) == [2], "the file itself says so"
    assert path.is_file()


def test_sigusr1_asks_for_a_checkpoint_too(recipe_of, folder):
    with closing(TrainingRun(recipe_of(**RARE), folder)) as run, sigusr1_saves(folder) as signals:
        next(run)
        assert signals.answer() is None
        os.kill(os.getpid(), signal.SIGUSR1)
        assert signals.answer() is None
        next(run)
        assert signals.answer() == CheckpointFolder(folder.checkpoints).named("2")
        next(run)
        assert signals.answer() is None
    assert on_demand(folder) == [2]


def test_a_run_that_is_not_trained_cannot_be_asked_and_one_that_ends_is_not_waited_for(recipe_of, folder):
    with owned(folder), closing(TrainingRun(recipe_of(), folder)) as run:
        next(run)
        request_save(folder)
    with pytest.raises(InputError, match="ended before its current epoch was over"):
        wait_for_save(folder, set())
    with pytest.raises(InputError, match="is not being trained now"):
        request_save(folder)
    assert not folder.save_request.exists()


def test_a_save_that_fails_on_demand_is_made_up_for(recipe_of, folder):
    with closing(TrainingRun(recipe_of(**RARE), folder)) as run:
        next(run)
        folder.save_request.touch()
        moved = folder.checkpoints.rename(Path(f"{folder.checkpoints}.away"))
        folder.checkpoints.write_text("in the way")
        next(run)
        folder.checkpoints.unlink()
        moved.rename(folder.checkpoints)
        next(run)
    assert on_demand(folder) == [2]


def test_a_signal_that_cannot_be_passed_on_does_not_end_the_run(tmp_path):
    signals = SaveSignals(TrialLayout(tmp_path / "gone"))
    signals.ask()
    assert signals.answer() is None
