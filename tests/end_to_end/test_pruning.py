"""Pruning as a user runs it: a real Ray asks the schedulers, and a killed search prunes as one that was left alone."""

import os
import signal

import pytest

from tests.support.searches import EPOCHS, assert_whole, epochs_done, search_file, start, thaw, wait_for
from trainables.run_folder.epoch_report import OF_THE_MACHINE, read_epochs
from trainables.run_folder.layout import RunLayout
from trainables.run_folder.trial_record import read_record

pytestmark = pytest.mark.slow

SERIAL = {"trials": 8, "max_concurrent": 1}


def run_of(folder):
    return RunLayout(folder / "runs" / "small")


def story_of(layout):
    """All that happened, but for what depends on the machine."""
    return [
        (
            (record := read_record(folder)).params,
            record.status,
            record.reason,
            [{k: v for k, v in line.items() if k not in OF_THE_MACHINE} for line in read_epochs(folder.epochs)],
        )
        for folder in layout.all_trials()
    ]


def test_a_killed_search_prunes_as_one_that_was_left_alone(tmp_path):
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
        search_file(tmp_path / name, **SERIAL, scheduler={"kind": "asha", "rungs": "stages"})
    assert thaw("search", "small.yaml", folder=tmp_path / "whole").returncode == 0
    layout = run_of(tmp_path / "cut")
    driver = start("search", "small.yaml", folder=tmp_path / "cut")
    wait_for(lambda: epochs_done(layout) > 2 * EPOCHS, "some trials")
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    assert thaw("resume", "small", folder=tmp_path / "cut").returncode == 0
    assert_whole(layout, trials=SERIAL["trials"])
    story = story_of(layout)
    assert story == story_of(run_of(tmp_path / "whole"))
    lengths = [len(epochs) for _, status, _, epochs in story if status == "pruned"]
    assert lengths
    assert set(lengths) == {EPOCHS // 2}  # the end of the first stage


@pytest.mark.parametrize(
    "scheduler",
    [
        {"kind": "hyperband", "grace_epochs": 1, "reduction": 2, "before_drw": "score"},
        {"kind": "median", "grace_epochs": 2, "before_drw": "score"},
    ],
    ids=lambda scheduler: scheduler["kind"],
)
def test_other_kinds_prune_too(tmp_path, scheduler):
    search_file(tmp_path, trials=10, scheduler=scheduler)
    assert thaw("search", "small.yaml", folder=tmp_path).returncode == 0
    assert_whole(run_of(tmp_path), trials=10)
    statuses = [read_record(folder).status for folder in run_of(tmp_path).all_trials()]
    assert set(statuses) == {"pruned", "finished"}
