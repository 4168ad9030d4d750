"""Copies of a run elsewhere: they go on like it, and nothing else is written over."""

from contextlib import closing
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations import local

from tests.support import checkpointed_runs
from tests.support.checkpointed_runs import no_space
from trainables.checkpoints.backup import BackupError, back_up
from trainables.run_folder.layout import TrialLayout
from trainables.trial.training_run import TrainingRun

folder, recipe_of = checkpointed_runs.folder, checkpointed_runs.recipe_of  # fixtures


def content(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in Path(root).rglob("*") if path.is_file()}


def test_a_copy_in_the_place_of_a_lost_run_goes_on_like_it(recipe_of, folder, tmp_path):
    recipe = recipe_of(backup=str(tmp_path / "far"))
    with closing(TrainingRun(recipe, folder)) as run:
        for _ in range(4):
            next(run)
    copy = tmp_path / "far" / folder.root.name
    assert content(copy) == content(folder.root)
    again = TrainingRun(recipe, TrialLayout(copy))
    assert [report.epoch for report in again] == [5, 6]
    again.close()


def test_trials_are_copied_below_their_search(tmp_path):
    assert TrialLayout(tmp_path / "digits" / "trials" / "0007").place == Path("digits/trials/0007")
    assert TrialLayout(tmp_path / "small-1").place == Path("small-1")


def test_a_run_is_copied_to_an_object_store(recipe_of, folder):
    recipe = recipe_of(backup="memory://bucket/backups")
    with closing(TrainingRun(recipe, folder)) as run:
        list(run)
    system = fsspec.filesystem("memory")
    root = f"/bucket/backups/{folder.root.name}/"
    assert {path.removeprefix(root): system.cat_file(path) for path in system.find(root)} == content(folder.root)


def test_a_backup_that_fails_is_warned_of_and_made_up_for(recipe_of, folder, tmp_path, caplog):
    (tmp_path / "far").write_text("a file is in the way")
    recipe = recipe_of(backup=str(tmp_path / "far"))
    with closing(TrainingRun(recipe, folder)) as run:
        for _ in range(3):
            next(run)
        run._checkpoints._backup._last.result()
        assert "the backup failed" in caplog.text
        (tmp_path / "far").unlink()
        list(run)
    assert content(tmp_path / "far" / folder.root.name) == content(folder.root)


def test_the_copy_of_another_run_is_not_written_over(recipe_of, folder, tmp_path):
    list(TrainingRun(recipe_of(), folder))
    back_up(folder, str(tmp_path / "far"))
    there = content(tmp_path / "far")
    folder.recipe.write_text("another")
    with pytest.raises(BackupError, match="is the backup of a run with another recipe"):
        back_up(folder, str(tmp_path / "far"))
    assert content(tmp_path / "far") == there


def test_a_copy_that_breaks_off_leaves_no_half_file(recipe_of, folder, tmp_path, monkeypatch):
    list(TrainingRun(recipe_of(), folder))
    monkeypatch.setattr(local.LocalFileSystem, "mv", no_space)
    with pytest.raises(BackupError, match="the backup failed: no space left"):
        back_up(folder, str(tmp_path / "far"))
    assert content(tmp_path / "far") == {}
