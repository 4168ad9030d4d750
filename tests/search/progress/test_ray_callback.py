"""What a driver shows of its search, and that it stops when it is asked to."""

import io
import json
import signal
from types import SimpleNamespace

import pytest
from rich.console import Console

from search.progress import ray_callback
from search.progress.ray_callback import ProgressCallback
from search.run_folder.status_file import Attempt, RunStatus, ask_to_stop, read_status
from tests.search.progress.test_search_state import FAILED, FINISHED, PRUNED, STARTED, report, state_of
from tests.support.ray_trials import ray_trial
from trainables.core.vocabulary import TrialStatus
from trainables.run_folder.layout import RunLayout
from trainables.run_folder.trial_record import TrialRecord


@pytest.fixture
def clock(monkeypatch):
    """`clock.now` is what both clocks say, in seconds; it stands still unless it is set."""
    held = SimpleNamespace(now=STARTED + 80)
    fake = SimpleNamespace(time=lambda: held.now, monotonic=lambda: held.now)
    monkeypatch.setattr(ray_callback, "time", fake)
    monkeypatch.setattr(ray_callback, "usage", lambda: "CPU 1/2")
    return held


@pytest.fixture
def show(tmp_path, monkeypatch, clock):
    """`show(width, terminal=...)`: a callback of a run in tmp_path, and what it has shown so far."""

    def make(width, *, terminal, search_state=None, name="digits"):
        screen = io.StringIO()
        console = Console(file=screen, width=width, height=40, force_terminal=terminal, color_system=None)
        monkeypatch.setattr(ray_callback, "Console", lambda: console)
        attempt = Attempt(RunLayout(tmp_path), RunStatus(attempt=1, trials=16))
        callback = ProgressCallback(name, search_state or state_of(), attempt)
        callback.setup()
        return callback, screen

    return make


@pytest.fixture
def trial(tmp_path):
    """`trial(number, status, reason)`: a trial as Ray shows it, with its record."""

    def make(number, status=TrialStatus.RUNNING, reason=None):
        known = {"number": number, "params": {}, "status": status, "reason": reason}
        TrialRecord(started="2025-01-01T00:00:00+00:00", **known).write(RunLayout(tmp_path).trial(number))
        return ray_trial(number, run=tmp_path)

    return make


def test_elsewhere_each_ended_trial_is_a_line_and_the_headline_another(show, trial):
    callback, screen = show(80, terminal=False)
    callback.on_trial_result(trial=trial(0), result={"reports": [report(epoch=4, best=0.75)]})
    callback.on_trial_complete(trial=trial(0, FINISHED))
    callback.on_trial_error(trial=trial(1, FAILED, "RuntimeError: out of memory"))
    callback.on_experiment_end()
    assert screen.getvalue().splitlines() == [
        "digits  0/16 trials",
        "trial 0: finished in stage top after 4 epochs",
        "digits  1/16 trials · 1 finished · best 0.7500 (trial 0) · about 20 min left",
        "trial 1: failed (RuntimeError: out of memory)",
        "digits  2/16 trials · 1 finished · 1 failed · best 0.7500 (trial 0) · about 9 min left",
    ]


def test_of_a_thousand_trials_only_the_best_and_the_failed_are_lines(show, trial):
    callback, screen = show(80, terminal=False, search_state=state_of(1000))
    for number in range(1000):
        status = FAILED if number == 500 else PRUNED
        best = 0.9 if number == 300 else 0.5 + number / 10_000 if number < 3 else 0.1
        callback.on_trial_result(trial=trial(number), result={"reports": [report(best=best)]})
        callback.on_trial_complete(trial=trial(number, status))
    callback.on_experiment_end()
    lines = screen.getvalue().splitlines()
    told = [int(line.split()[1].rstrip(":")) for line in lines if line.startswith("trial")]
    assert told == [0, 1, 2, 300, 500]
    heads = [int(line.split()[1].partition("/")[0]) for line in lines if line.startswith("digits")]
    assert heads[:3] == [0, 20, 40]
    assert len(heads) <= 51
    assert heads[-1] == 1000


def test_no_minute_of_a_large_search_goes_by_without_a_headline(show, trial, clock):
    callback, screen = show(80, terminal=False, search_state=state_of(1000))
    for number in range(3):
        clock.now += 61
        callback.on_trial_complete(trial=trial(number, PRUNED))
    assert [line.split()[1] for line in screen.getvalue().splitlines()] == [f"{n}/1000" for n in range(4)]


def test_plain_lines_are_neither_wrapped_nor_read_as_markup(show, trial):
    reason = "not trained: train.stages[head].unfreeze_from: [/tmp/x] is not a block" + " of many" * 20
    callback, screen = show(40, terminal=False)
    callback.on_trial_complete(trial=trial(0, FAILED, reason))
    assert f"trial 0: failed ({reason})" in screen.getvalue().splitlines()


def test_a_terminal_shows_a_trial_from_its_start_on_and_the_machine_in_use(show, trial):
    callback, screen = show(80, terminal=True)
    try:
        callback.on_trial_start(trial=trial(3))
        callback.on_step_end()
        console = Console(width=80, file=io.StringIO(), color_system=None)
        console.print(callback._render())
    finally:
        callback.on_experiment_end()
    shown = console.file.getvalue().splitlines()
    assert shown[1].rstrip() == "1 running · CPU 1/2"
    assert shown[-1].split() == ["3", "starts", "–", "–", "–", "–"]
    assert screen.getvalue().endswith("\x1b[?25h")  # the cursor is back


def test_an_interrupted_search_leaves_the_terminal_in_order(show):
    callback, screen = show(80, terminal=True)
    callback.on_experiment_end()
    assert "digits  0/16 trials" in screen.getvalue()
    assert screen.getvalue().endswith("\x1b[?25h")


def test_what_is_computed_for_the_cache_is_told_now_and_then(show, trial, tmp_path, clock):
    callback, screen = show(80, terminal=False)
    callback.on_trial_start(trial=trial(0))
    file = RunLayout(tmp_path).trial(0).building
    for done in range(100, 900, 100):
        file.write_text(json.dumps({"what": "computing features", "done": done, "total": 900}))
        clock.now += 10
        callback.on_step_end()
    assert [line for line in screen.getvalue().splitlines() if line.startswith("trial")] == [
        f"trial 0: computing features {done}/900" for done in (100, 400, 700)
    ]


def test_who_watches_from_elsewhere_learns_what_is_in_use(show, tmp_path):
    callback, _ = show(80, terminal=False)
    callback.on_step_end()
    assert read_status(RunLayout(tmp_path)).usage == "CPU 1/2"


def test_a_driver_that_is_asked_to_stop_interrupts_itself_once(show, tmp_path, clock, monkeypatch):
    raised = []
    monkeypatch.setattr(ray_callback.signal, "raise_signal", raised.append)
    callback, _ = show(80, terminal=False)
    callback.on_step_end()
    assert raised == []
    ask_to_stop(RunLayout(tmp_path))
    for _ in range(3):
        clock.now += 2
        callback.on_step_end()
    assert raised == [signal.SIGINT]
    assert not RunLayout(tmp_path).stop.exists()


def test_between_two_looks_a_step_costs_nothing(show, tmp_path, clock, monkeypatch):
    callback, _ = show(80, terminal=False)
    callback.on_step_end()
    monkeypatch.setattr(ray_callback, "read_cache_progress", None)
    callback._search_state.begin(0)
    for _ in range(5):
        clock.now += 0.1
        callback.on_step_end()
