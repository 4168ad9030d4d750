"""Trials that fail: how often they are tried, and whose fault it was. The trainable in this process, as Ray drives it."""

import errno
from dataclasses import asdict

import pytest

from search.tuning.study import repair_journal
from trainables.core.rungs import Rungs
from trainables.run_folder.layout import RunLayout
from trainables.run_folder.trial_failures import is_final, last_failure, mark_if_repeated, refusal_in
from trainables.trial import training_run as runs
from trainables.trial.tune_trainable import StagedUnfreezing


@pytest.fixture
def attempt(tmp_path, make_recipe):
    """`attempt(errors)`: as often as Ray would try it, a new worker each time, the n-th of which fails with the n-th error."""
    layout = RunLayout(tmp_path / "run")
    layout.root.mkdir()
    layout.attempt.write_text("1")
    assignment = {
        "run": str(layout.root),
        "number": 0,
        "attempt": 1,
        "trials": 1000,
        "rungs": asdict(Rungs("epochs", (1,))),
        "reads_test": False,
        "objectives": ["score"],
        "recipe": make_recipe().model_dump_json(),
    }

    def tell(errors, monkeypatch):
        told = []
        for error in errors:
            worker = StagedUnfreezing(dict(assignment))
            with monkeypatch.context() as patched:
                if error:
                    patched.setattr(runs.TrainingRun, "_store", _raising(error))
                try:
                    told.append(worker.step())
                except Exception as raised:
                    told.append(type(raised).__name__)
        return told, layout.trial(0)

    return tell


def _raising(error):
    def store(*_):
        raise error

    return store


def test_a_trial_that_failed_twice_in_the_same_way_is_not_tried_a_third_time(attempt, monkeypatch):
    told, folder = attempt([ValueError("no such block"), ValueError("no such block"), None], monkeypatch)
    assert told[:2] == ["ValueError", "ValueError"]
    assert told[2]["done"]
    assert not told[2]["finished"]
    assert told[2]["given_up"] == "ValueError: no such block (twice in the same way: not tried again)"
    assert told[2]["reports"] == []
    assert not folder.epochs.read_text()


def test_a_trial_that_fails_in_another_way_or_not_again_is_tried_on(attempt, monkeypatch):
    errors = [ValueError("a"), ValueError("b"), ValueError("a"), None]
    told, folder = attempt(errors, monkeypatch)
    assert told[:3] == ["ValueError"] * 3
    assert told[3]["epoch"] == 1
    assert "given_up" not in told[3]
    assert last_failure(folder) is None


def test_storage_that_takes_nothing_stops_the_search_and_not_the_trial(attempt, monkeypatch):
    full = OSError(errno.ENOSPC, "No space left on device", "epochs.jsonl")
    told, _ = attempt([full, full, full, None], monkeypatch)
    assert [each["refused"] for each in told[:3]] == ["[Errno 28] No space left on device: 'epochs.jsonl'"] * 3
    assert told[3]["epoch"] == 1


def test_a_refusal_is_seen_through_what_others_made_of_it():
    told = RuntimeError("on node 3: cannot write")
    told.__cause__ = OSError(errno.EROFS, "Read-only file system")
    assert refusal_in(told).errno == errno.EROFS
    assert refusal_in(OSError(errno.ENOENT, "no such file")) is None
    assert refusal_in(ValueError("no")) is None


@pytest.mark.parametrize(
    ("before", "now", "final"),
    [
        ("ValueError: a", "ValueError: a", True),
        ("ValueError: b", "ValueError: a", False),
        (None, "ValueError: a", False),
        (None, "", False),
    ],
)
def test_only_what_repeats_itself_is_final(tmp_path, before, now, final):
    folder = RunLayout(tmp_path).trial(0)
    folder.root.mkdir(parents=True)
    folder.error.write_text(f"Traceback\n{now}\n" if now else "")
    mark_if_repeated(folder, before)
    assert is_final(last_failure(folder)) is final


@pytest.mark.parametrize(
    ("left", "kept"),
    [(b'{"op":0}\n{"op":1}\n', b'{"op":0}\n{"op":1}\n'), (b'{"op":0}\n{"o', b'{"op":0}\n'), (b'{"o', b""), (b"", b"")],
)
def test_half_a_line_and_the_lock_of_a_dead_driver_leave_the_journal(tmp_path, left, kept):
    layout = RunLayout(tmp_path)
    layout.study.write_bytes(left)
    lock = tmp_path / "study.journal.lock"
    lock.symlink_to(layout.study)
    repair_journal(layout)
    assert layout.study.read_bytes() == kept
    assert not lock.is_symlink()
    repair_journal(RunLayout(tmp_path / "new"))  # before the first start
