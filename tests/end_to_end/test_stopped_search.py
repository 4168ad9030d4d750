"""Searches that are stopped, or killed with or without their workers, and gone on with."""

import os
import signal

import pytest

from tests.support.searches import (
    EPOCHS,
    PATIENCE_S,
    assert_whole,
    braked,
    epochs_done,
    search_file,
    start,
    study_of,
    thaw,
    trial_workers,
    wait_for,
)
from trainables.run_folder.epoch_report import read_epochs
from trainables.run_folder.layout import RunLayout
from trainables.run_folder.trial_record import read_record

pytestmark = pytest.mark.slow

UNCHANGED = {
    "metric": "val_loss",
    "stages": [{"name": "head", "unfreeze_from": "head", "epochs": EPOCHS, "head_lr": 1e-30, "plateau": None}],
    "checkpoints": {"save_every_epochs": 1000, "milestones": []},
    "ema": None,
    "early_stop": None,
    "stop_on": [],
}
"""So small a step changes no weight: no epoch is better than the first, and the policy saves none between it and the last."""


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A search whose driver was killed and that was gone on with: its run, what a second driver said meanwhile, and the trials that
    had ended by then, as the study and the epochs' files had them."""
    folder = tmp_path_factory.mktemp("killed")
    layout, file = RunLayout(folder / "runs" / "small"), search_file(folder, max_concurrent=1)
    brake = braked(file)
    driver = start("search", "small.yaml", folder=folder)
    wait_for(lambda: epochs_done(layout) >= 1, "the first epoch", driver)
    second = thaw("resume", "small", "--trust-code", folder=folder)
    wait_for(
        lambda: any(read_record(trial).status != "running" for trial in begun(layout)), "a trial that ends", driver
    )
    wait_for(
        lambda: any(trial.state.is_finished() for trial in study_of(layout).trials), "its end in the study", driver
    )
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate()
    ended = {trial.number: trial for trial in study_of(layout).trials if trial.state.is_finished()}
    before = {number: layout.trial(number).epochs.read_bytes() for number in ended}
    brake.unlink()
    done = thaw("resume", "small", "--trust-code", folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return layout, second, ended, before


def begun(layout):
    """Trials that have a record."""
    return [trial for trial in layout.all_trials() if trial.trial.exists()]


def test_a_second_driver_is_refused_while_the_first_runs(killed):
    _, second, _, _ = killed
    assert second.returncode == 2
    assert "running in another process" in second.stderr


def test_a_killed_search_goes_on_and_loses_no_trial(killed):
    layout, _, ended, before = killed
    assert_whole(layout)
    after = study_of(layout).trials
    assert 0 < len(ended) < len(after)
    assert {number: after[number] for number in ended} == ended
    assert {number: layout.trial(number).epochs.read_bytes() for number in ended} == before


def test_a_stopped_search_keeps_the_last_epoch_of_running_trials_says_how_to_go_on_and_does(tmp_path):
    """By Ctrl+C, and once more by the signal of those who preempt."""
    layout = RunLayout(tmp_path / "runs" / "small")
    file = search_file(tmp_path, train=UNCHANGED, space={"train.seed": {"int": [0, 9]}}, scheduler={"kind": "none"})
    brake = braked(file)
    # So few epochs the second time that no trial comes to its end, even if one alone does them all.
    for words, sent, epochs in (
        (("search", "small.yaml"), signal.SIGINT, 3),
        (("resume", "small", "--trust-code"), signal.SIGTERM, 2),
    ):
        driver, goal = start(*words, folder=tmp_path), epochs_done(layout) + epochs
        wait_for(lambda goal=goal: epochs_done(layout) >= goal, "some epochs", driver)
        os.kill(driver.pid, sent)
        said, _ = driver.communicate(timeout=PATIENCE_S)
        assert driver.returncode == 130, said
        assert "thaw resume small" in said
        assert "Traceback" not in said
        running = [trial for trial in layout.all_trials() if read_epochs(trial.epochs)]
        assert running
        for trial in running:
            last = read_epochs(trial.epochs)[-1]
            assert not last["finished"]
            assert last["best_epoch"] == 1, "else the policy would have saved the last one anyway"
            assert max(int(path.name[:4]) for path in trial.checkpoints.glob("*.pt")) == last["epoch"]
        assert any(len(read_epochs(trial.epochs)) > 1 for trial in running)
    brake.unlink()
    done = thaw("resume", "small", "--trust-code", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_whole(layout)


def test_a_killed_worker_costs_its_trial_an_epoch_at_most(tmp_path):
    file = search_file(tmp_path, trials=2, scheduler={"kind": "none"}, max_concurrent=1)
    brake = braked(file)
    layout = RunLayout(tmp_path / "runs" / "small")
    driver = start("search", "small.yaml", folder=tmp_path)
    wait_for(lambda: epochs_done(layout) >= EPOCHS // 2, "half a trial", driver)
    workers = trial_workers(layout)
    assert workers
    before = [report["time"] for report in read_epochs(layout.trial(0).epochs)]
    assert len(before) < EPOCHS
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    brake.unlink()
    said, _ = driver.communicate(timeout=PATIENCE_S)
    assert driver.returncode == 0, said
    assert_whole(layout, trials=2)
    times = [report["time"] for report in read_epochs(layout.trial(0).epochs)]
    assert times == sorted(times)
    assert times[: len(before) - 1] == before[:-1], "done again"
    assert all(read_record(trial).status == "finished" for trial in layout.all_trials())
