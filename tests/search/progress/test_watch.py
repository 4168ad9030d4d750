"""`thaw watch` and `thaw stop` on folders as drivers leave them; the real ones are in test_watch_end_to_end.py."""

import io
import os
import subprocess
import sys

import pytest
import yaml
from rich.console import Console

from search.cli import main
from search.progress.watch import Watcher, watch
from search.run_folder.status_file import Attempt, RunStatus, ask_to_stop, read_status
from tests.search.progress.test_search_state import FINISHED, PRUNED, add, record, report
from tests.search.run_folder.test_run_lock import HOLD
from tests.support.recipes import RECIPE
from trainables.core.rungs import Rungs
from trainables.run_folder.layout import RunLayout


@pytest.fixture
def layout(tmp_path, monkeypatch):
    """A run with a trial that has finished and one that has not."""
    monkeypatch.chdir(tmp_path)
    layout = RunLayout(tmp_path / "runs" / "digits")
    layout.root.mkdir(parents=True)
    layout.config.write_text(yaml.safe_dump({**RECIPE, "space": "ema", "search": {"trials": 4}}))
    record(layout, 0, FINISHED, ended="2026-01-01T00:00:07+00:00")
    record(layout, 1)
    for number in (0, 1):
        add(layout, number, report(4, best=0.5))
    return layout


@pytest.fixture
def driver(layout):
    """Holds the run's lock, as a driver does."""
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(layout.root)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    yield holder
    holder.kill()
    holder.wait()


def status(layout, **changes):
    RunStatus(attempt=1, trials=4, host="node7", pid=4711, rungs=Rungs("epochs", (2, 4)), **changes).write(layout)


def shown(layout):
    console = Console(width=120, file=io.StringIO(), color_system=None)
    watch(layout.root, console, once=True)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"state": "running"}, "its driver was killed (process 4711 on node7); resume with thaw resume digits"),
        ({"state": "stopped"}, "stopped; resume with thaw resume digits"),
        ({"state": "failed"}, "its driver failed; resume with thaw resume digits"),
        ({"state": "complete"}, "complete"),
        (None, "not running; resume with thaw resume digits"),
    ],
)
def test_a_run_without_a_driver_says_how_it_ended(layout, changes, line):
    if changes is not None:
        status(layout, **changes)
    lines = shown(layout)
    assert lines[0] == "digits  1/4 trials · best 0.5000 (trial 0)"
    assert lines[1:3] == ["1 finished · 1 cut off", line]


def test_a_damaged_status_is_none(layout):
    layout.status.write_text("{")
    assert shown(layout)[2] == "not running; resume with thaw resume digits"


def test_a_run_that_runs_shows_what_its_driver_does(layout, driver):
    status(layout, usage="CPU 2/2", started="2026-01-01T00:00:00+00:00")
    lines = shown(layout)
    assert lines[0].startswith("digits  1/4 trials · best 0.5000 (trial 0) · about ")
    assert lines[1:3] == ["1 finished · 1 running · CPU 2/2", "continued after epoch 2: 2 of 2 · 4: 1 of 2"]
    ask_to_stop(layout)
    assert shown(layout)[2] == "stopping"


def test_a_driver_that_has_just_begun_has_said_nothing_yet(layout, driver):
    status(layout, state="stopped")
    assert "starting" in shown(layout)


def test_a_watcher_sees_trials_end_and_the_search_resumed(layout):
    status(layout)
    watcher = Watcher(layout.root)
    assert watcher.update().search_state.ended == 1
    record(layout, 1, PRUNED, ended="2026-01-01T00:00:08+00:00")
    assert watcher.update().search_state.ended == 2
    RunStatus(attempt=2, trials=8).write(layout)
    search_state = watcher.update().search_state
    assert (search_state.total, search_state.ended, search_state.ended_here) == (8, 2, 0)


def test_looking_does_not_disturb_who_wants_the_run(layout):
    """The lock is held for the moment of a look."""
    looking = "import sys; from search.run_folder.run_lock import is_owned; from trainables.run_folder.layout import RunLayout\n"
    looking += "while True: assert not is_owned(RunLayout(sys.argv[1]))"
    own = (
        "import sys; from search.run_folder.run_lock import owned; from trainables.run_folder.layout import RunLayout\n"
    )
    own += "for _ in range(200):\n with owned(RunLayout(sys.argv[1])): pass"
    layout.lock.touch()
    process = subprocess.Popen([sys.executable, "-c", looking.replace("assert not ", ""), str(layout.root)])
    try:
        done = subprocess.run([sys.executable, "-c", own, str(layout.root)], capture_output=True, text=True)
    finally:
        process.kill()
        process.wait()
    assert done.returncode == 0, done.stderr


def test_a_driver_says_how_it_ended(layout):
    for end, state in ((None, "stopped"), (True, "complete"), (ValueError("no"), "failed")):
        attempt = Attempt(layout, RunStatus(attempt=1, trials=4))
        try:
            with attempt.recorded():
                assert (read_status(layout).state, read_status(layout).pid) == ("running", os.getpid())
                if isinstance(end, Exception):
                    raise end
                attempt.complete = bool(end)
        except ValueError:
            pass
        told = read_status(layout)
        assert (told.state, told.ended is not None) == (state, True)


@pytest.fixture
def thaw(monkeypatch, capsys):
    def run(*words, code=0):
        monkeypatch.setattr(sys, "argv", ["thaw", *words])
        with pytest.raises(SystemExit, match=rf"^{code}$"):
            main()
        return capsys.readouterr()

    return run


def test_watch_without_a_terminal_is_one_picture(layout, thaw):
    status(layout, state="stopped")
    assert thaw("watch", "digits").out == thaw("watch", "digits", "--once").out != ""


@pytest.mark.parametrize("command", ["watch", "stop"])
def test_an_unknown_run_is_answered_with_the_nearest(layout, thaw, command):
    assert "did you mean 'digits'?" in thaw(command, "digit", code=2).err


def test_stop_says_that_nothing_runs_and_leaves_nothing_behind(layout, thaw):
    assert thaw("stop", "digits").out == "digits is not running\n"
    assert not layout.stop.exists()
