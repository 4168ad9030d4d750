"""What a search shows while it runs: its tally, and how it is drawn in a terminal and elsewhere."""

import io
import json
from types import SimpleNamespace

import pytest
from rich.console import Console

from search import progress
from search.progress import ProgressCallback, Tally, duration, headline
from trainables.layout import Metric, RunLayout, TrialStatus
from trainables.record import TrialRecord

FINISHED, PRUNED, FAILED = TrialStatus.FINISHED, TrialStatus.PRUNED, TrialStatus.FAILED


def report(epoch=3, best=0.5, stage="top", **changes):
    return {"epoch": epoch, "stage": stage, "val_loss": 1.25, "score": best, "best_score": best, "flags": [], **changes}


def tally_of(total=16, metric=Metric.KAPPA, *, ended=(), running=(), earlier=None, started=0.0):
    tally = Tally(total, metric, counts=dict(earlier or {}), started=started)
    for number, status in enumerate(ended):
        tally.end(number, status)
    for number, best in running:
        tally.reported(number, report(best=best))
    return tally


# --- tally ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "scores", "best"),
    [
        (Metric.KAPPA, [(0, 0.5), (1, 0.7), (2, 0.6)], (0.7, 1)),
        (Metric.KAPPA, [(0, 0.5), (1, 0.5)], (0.5, 0)),
        (Metric.KAPPA, [(0, None), (1, -0.5)], (-0.5, 1)),
        (Metric.VAL_LOSS, [(0, 0.5), (1, 0.7), (2, 0.4)], (0.4, 2)),
        (Metric.KAPPA, [(0, None)], None),
        (Metric.KAPPA, [], None),
    ],
)
def test_the_best_trial_so_far_is_kept_the_first_of_equals(metric, scores, best):
    assert tally_of(metric=metric, running=scores).best == best


def test_a_trial_that_ended_runs_no_more_but_stays_the_best():
    tally = tally_of(running=[(0, 0.5), (1, 0.7)])
    tally.end(1, PRUNED)
    assert (set(tally.running), tally.counts, tally.ended, tally.best) == ({0}, {PRUNED: 1}, 1, (0.7, 1))


def test_a_resumed_search_counts_what_earlier_attempts_ended_and_passes_over_a_trial_cut_off_at_its_birth(tmp_path):
    layout = RunLayout(tmp_path)
    for number, status in enumerate((FINISHED, PRUNED, PRUNED, TrialStatus.RUNNING)):
        TrialRecord(number=number, params={}, status=status, started="2026-01-01T00:00:00+00:00").write(
            layout.trial(number)
        )
    needed = {"stage_index": 0, "best_epoch": 1, "train_s": 1.0, "time": "2026-01-01T00:00:00+00:00"}
    layout.trial(1).epochs.write_text(json.dumps(report(epoch=1, best=0.625) | needed) + "\n")
    layout.trial(4).root.mkdir()  # killed between making the folder and its trial.json
    tally = Tally.of_run(layout, 16, Metric.KAPPA)
    assert (tally.counts, tally.ended, tally.best) == ({FINISHED: 1, PRUNED: 2}, 3, (0.625, 1))
    assert tally.ended_here == 0


@pytest.mark.parametrize(
    ("tally", "now", "left"),
    [
        pytest.param(tally_of(10), 100, None, id="unknown at first"),
        pytest.param(tally_of(10, running=[(0, 0.5)]), 100, None, id="unknown before one has ended"),
        pytest.param(tally_of(10, ended=[FINISHED] * 2), 100, 400, id="eight more at the pace of two"),
        pytest.param(
            tally_of(10, ended=[FINISHED] * 2, running=[(2, 0.5), (3, 0.5)]), 90, 210, id="running ones half done"
        ),
        pytest.param(
            tally_of(10, ended=[PRUNED] * 2, earlier={FINISHED: 4}), 100, 200, id="earlier ones do not count as pace"
        ),
        pytest.param(tally_of(2, ended=[FINISHED] * 2), 100, 0, id="none is left"),
        pytest.param(tally_of(2, ended=[FINISHED] * 3), 100, 0, id="never negative"),
    ],
)
def test_the_time_left_follows_the_pace_of_this_attempt(tally, now, left):
    assert tally.seconds_left(now=now) == left


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (45.4, "45 s"),
        (89, "89 s"),
        (90, "2 min"),
        (720, "12 min"),
        (5340, "89 min"),
        (5400, "1 h 30 min"),
        (12000, "3 h 20 min"),
        (90000, "25 h 0 min"),
    ],
)
def test_durations_are_as_exact_as_people_need(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("tally", "text"),
    [
        (tally_of(), "digits  0/16 trials"),
        (tally_of(running=[(0, None)]), "digits  0/16 trials · 1 running"),
        (tally_of(running=[(3, 0.93124)]), "digits  0/16 trials · 1 running · best 0.9312 (trial 3)"),
        (
            tally_of(ended=[FAILED, PRUNED, FINISHED, PRUNED], running=[(7, 0.5)], earlier={FINISHED: 2}),
            "digits  6/16 trials · 3 finished · 2 pruned · 1 failed · 1 running · best 0.5000 (trial 7) · about 3 min left",
        ),
        (tally_of(1, ended=[FINISHED]), "digits  1/1 trials · 1 finished"),
    ],
)
def test_the_headline_says_how_far_the_search_is(tally, text):
    assert headline("digits", tally, now=80.0) == text


# --- callback -------------------------------------------------------------------------------------------------------


@pytest.fixture
def show(tmp_path, monkeypatch):
    """`show(width, terminal=...)`: a callback of a run in tmp_path, and what it has shown so far."""
    monkeypatch.setattr(progress.time, "monotonic", lambda: 80.0)

    def make(width, *, terminal, tally=None, name="digits"):
        screen = io.StringIO()
        console = Console(file=screen, width=width, force_terminal=terminal, color_system=None)
        monkeypatch.setattr(progress, "Console", lambda: console)
        callback = ProgressCallback(name, tally or tally_of())
        callback.setup()
        return callback, screen

    return make


@pytest.fixture
def trial(tmp_path):
    """`trial(number, status, reason)`: a trial as Ray shows it, with its record."""

    def make(number, status=TrialStatus.RUNNING, reason=None):
        record = TrialRecord(
            number=number, params={}, status=status, reason=reason, started="2025-01-01T00:00:00+00:00"
        )
        record.write(RunLayout(tmp_path).trial(number))
        return SimpleNamespace(trial_id=f"id{number}", config={"run": str(tmp_path), "number": number})

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


def test_plain_lines_are_neither_wrapped_nor_read_as_markup(show, trial):
    reason = "not trained: train.stages[head].unfreeze_from: [/tmp/x] is no block" + " of many" * 20
    callback, screen = show(40, terminal=False)
    callback.on_trial_complete(trial=trial(0, FAILED, reason))
    assert f"trial 0: failed ({reason})" in screen.getvalue().splitlines()


def test_a_terminal_shows_the_running_trials_and_forgets_those_that_ended(show, trial):
    callback, _ = show(80, terminal=True)
    try:
        for number in (0, 1):
            callback.on_trial_result(trial=trial(number), result={"reports": [report(best=0.5 + number / 10)]})
        callback.on_trial_complete(trial=trial(0, PRUNED, "not among the best"))
        lines = drawn(callback, 80)
    finally:
        callback.on_experiment_end()
    assert lines == [
        "digits  1/16 trials · best 0.6000 (trial 1) · about 13 min left",
        "1 pruned · 1 running",
        "trial  stage  epoch    loss   kappa    best",
        "    1  top        3  1.2500  0.6000  0.6000",
    ]


def drawn(callback, width):
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(callback._render())
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_the_terminal_and_keeps_its_numbers_whole(show, width):
    tally = tally_of(total=64, metric=Metric.ADJUSTED_BALANCED_ACCURACY)
    for number in range(14):
        tally.reported(number, report(best=0.5, stage="a_stage_with_a_rather_long_name_" + "x" * 8))
    tally.reported(20, report(best=None, score=None, val_loss=None))
    callback, _ = show(width, terminal=False, tally=tally)
    lines = drawn(callback, width)
    assert max(map(len, lines)) <= width
    assert lines[2].split() == ["trial", "stage", "epoch", "loss", "adjusted_balanced_accuracy", "best"]
    assert all(line.split()[2:] == ["3", "1.2500", "0.5000", "0.5000"] for line in lines[3:13])
    assert lines[13:] == ["and 5 more"]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_flags_stand_beside_the_trial_that_has_them(show, width):
    tally = tally_of(running=[(0, 0.5)])
    tally.reported(1, report(flags=["spike", "gap"]))
    tally.begin(2)
    callback, _ = show(width, terminal=False, tally=tally)
    assert [line.split()[6:] for line in drawn(callback, width)[2:]] == [["flags"], [], ["spike,", "gap"], []]


def test_what_has_no_value_is_a_dash(show):
    callback, _ = show(80, terminal=False, tally=tally_of(running=[(0, None)]))
    callback._tally.running[0] = report(best=None, val_loss=None)
    assert drawn(callback, 80)[-1].split() == ["0", "top", "3", "–", "–", "–"]


def test_a_trial_is_shown_from_its_start_on(show, trial):
    callback, _ = show(80, terminal=False)
    callback.on_trial_start(trial=trial(3))
    assert drawn(callback, 80)[1] == "1 running"
    assert drawn(callback, 80)[-1].split() == ["3", "starts", "–", "–", "–", "–"]


def test_before_the_first_trial_there_is_no_table(show):
    callback, _ = show(80, terminal=False)
    assert drawn(callback, 80) == ["digits  0/16 trials", ""]


def test_an_interrupted_search_leaves_the_terminal_in_order(show):
    callback, screen = show(80, terminal=True)
    callback.on_experiment_end()
    assert "digits  0/16 trials" in screen.getvalue()
    assert screen.getvalue().endswith("\x1b[?25h")  # the cursor is back
