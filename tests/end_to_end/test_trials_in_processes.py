"""A search whose trials train in two processes each: some are pruned, and of one the second process is killed."""

import os
import signal
from pathlib import Path

import pytest

from tests.support.searches import (
    assert_whole,
    braked,
    command_line,
    epochs_done,
    search_file,
    start,
    thaw,
    trial_workers,
    wait_for,
)
from trainables.run_folder.layout import RunLayout
from trainables.run_folder.trial_record import read_record

pytestmark = pytest.mark.slow


def test_trials_in_two_processes_are_pruned_and_resumed(tmp_path):
    layout = RunLayout(tmp_path / "runs" / "small")
    file = search_file(tmp_path, train={"workers": 2, "device": "cpu"}, trials=4)
    brake = braked(file, 0.05)
    driver = start("search", "small.yaml", folder=tmp_path)
    wait_for(lambda: epochs_done(layout) >= 2, "two epochs", driver)
    (second,) = other_processes()
    os.kill(second, signal.SIGKILL)
    brake.unlink()
    out, _ = driver.communicate()
    assert driver.returncode == 0, out
    assert_whole(layout, trials=4)
    assert {read_record(trial).status for trial in layout.all_trials()} == {"finished", "pruned"}
    assert not trial_workers(layout)
    wait_for(lambda: not other_processes(), "the end of all processes")


def test_a_trial_of_which_only_the_second_process_fails_ends_with_its_reason(tmp_path):
    file = search_file(tmp_path, train={"workers": 2, "device": "cpu"}, trials=1, max_retries=0)
    braked(file, 0).unlink()
    network = tmp_path / "braked_network.py"
    fails = """        if self.training and len(x) > 2 and b"OtherProcess" in Path("/proc/self/cmdline").read_bytes():
            raise RuntimeError("only here")
"""
    network.write_text(network.read_text().replace("        return x\n", f"{fails}        return x\n"))
    done = thaw("search", "small.yaml", folder=tmp_path)
    assert "failed in stage head after 4 epochs" in done.stdout + done.stderr
    assert "(RuntimeError: only here)" in done.stdout + done.stderr
    wait_for(lambda: not other_processes(), "the end of all processes")


def other_processes() -> list[int]:
    pids = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    return [pid for pid in pids if b"ray::OtherProcess" in command_line(pid)]
