"""What is known about a search's trials, kept up by events; and the same from a run's folder."""

import json

import pytest

from search.progress.folder_watcher import Follower
from search.progress.search_state import EVENTS, TOP, SearchState
from trainables.core.rungs import Rungs
from trainables.core.vocabulary import Metric, TrialStatus
from trainables.run_folder.layout import RunFileError, RunLayout
from trainables.run_folder.trial_record import Parent, TrialRecord

FINISHED, PRUNED, FAILED = TrialStatus.FINISHED, TrialStatus.PRUNED, TrialStatus.FAILED
STARTED = 1767225600.0
"""2026-01-01, in seconds since 1970."""


def report(epoch=3, best=0.5, stage="top", **changes):
    return {"epoch": epoch, "stage": stage, "val_loss": 1.25, "score": best, "best_score": best, "flags": [], **changes}


def state_of(total=16, metric=Metric.KAPPA, *, ended=(), running=(), earlier=(), rungs=(), started=STARTED):
    """Trials that ended in earlier attempts, in this one, and that run with their best score so far; numbered in this order."""
    search_state = SearchState(total, metric, started=started, rungs=Rungs("epochs", rungs))
    for number, status in enumerate([*earlier, *ended]):
        search_state.end(number, status, None, at=started - 1 if number < len(earlier) else started)
    for number, best in running:
        search_state.reported(number, report(best=best), at=started)
    return search_state


@pytest.mark.parametrize(
    ("metric", "scores", "order"),
    [
        (Metric.KAPPA, [(0, 0.5), (1, 0.7), (2, 0.6)], [1, 2, 0]),
        (Metric.KAPPA, [(0, 0.5), (1, 0.5)], [0, 1]),
        (Metric.KAPPA, [(0, None), (1, -0.5)], [1]),
        (Metric.VAL_LOSS, [(0, 0.5), (1, 0.7), (2, 0.4)], [2, 0, 1]),
        (Metric.KAPPA, [(0, 0.5), (1, 0.7), (0, 0.8)], [0, 1]),
        (Metric.KAPPA, [(0, 0.5), (1, 0.5), (0, 0.5)], [0, 1]),
        (Metric.KAPPA, [(0, 0.5), (1, 0.6), (0, 0.6)], [0, 1]),
        (Metric.KAPPA, [(0, None)], []),
    ],
)
def test_the_best_trials_stand_in_order_of_equals_the_one_of_the_lowest_number_first(metric, scores, order):
    assert [row.number for row in state_of(metric=metric, running=scores).top] == order


def test_only_the_best_of_many_are_kept_in_order():
    search_state = state_of(total=1000, running=[(n, (n * 37 % 1000) / 1000) for n in range(1000)])
    assert [row.best for row in search_state.top] == [n / 1000 for n in range(999, 999 - TOP, -1)]


def test_a_trial_that_ended_runs_no_more_but_stays_the_best():
    search_state = state_of(running=[(0, 0.5), (1, 0.7)])
    search_state.end(1, PRUNED, "why", at=STARTED)
    assert (set(search_state.running), search_state.counts, search_state.ended, search_state.best.number) == (
        {0},
        {PRUNED: 1},
        1,
        1,
    )


@pytest.mark.parametrize("status", [FAILED, TrialStatus.INFEASIBLE])
def test_a_trial_that_is_ruled_out_is_not_among_the_best_and_the_next_one_moves_up(status):
    search_state = state_of(total=1000, running=[(n, n / 1000) for n in range(TOP + 3)])
    search_state.end(TOP + 2, status, "why", at=STARTED)
    search_state.end(TOP, status, "why", at=STARTED)
    assert [row.number for row in search_state.top] == [TOP + 1, *range(TOP - 1, 0, -1)]


def test_nothing_is_the_best_where_all_are_ruled_out():
    search_state = state_of(running=[(0, 0.5)])
    search_state.end(0, TrialStatus.INFEASIBLE, "why", at=STARTED)
    assert search_state.best is None


# Rungs at 2 and 4: each trial's epochs as they are told, and how it ended.
@pytest.mark.parametrize(
    ("trials", "reached", "passed"),
    [
        ([([1], None)], [0, 0], [0, 0]),
        ([([2], None)], [1, 0], [0, 0]),
        ([([2], PRUNED)], [1, 0], [0, 0]),
        ([([2, 3], None)], [1, 0], [1, 0]),
        ([([5], None)], [1, 1], [1, 1]),
        ([([2, 4], FINISHED)], [1, 1], [1, 1]),
        ([([2, 4], FAILED)], [1, 1], [1, 0]),
        ([([2, 1, 2, 3], None)], [1, 0], [1, 0]),
        ([([2], PRUNED), ([2, 4], PRUNED), ([2, 4, 6], FINISHED)], [3, 2], [2, 1]),
    ],
)
def test_each_rung_counts_the_trials_that_came_to_it_and_that_went_on(trials, reached, passed):
    search_state = state_of(rungs=(2, 4))
    for number, (epochs, status) in enumerate(trials):
        for epoch in epochs:
            search_state.reported(number, report(epoch=epoch), at=STARTED)
        if status:
            search_state.end(number, status, None, at=STARTED)
    assert (search_state.reached, search_state.passed) == (reached, passed)


# Rungs at 2, 4 and 6; trial 1 goes on from the other one after epoch 4.
@pytest.mark.parametrize(
    ("epochs", "reached", "passed"),
    [
        ([], [1, 1, 0], [1, 0, 0]),
        ([4], [1, 1, 0], [1, 0, 0]),  # told of once more when it begins
        ([5], [1, 1, 0], [1, 0, 0]),
        ([6], [1, 1, 1], [1, 0, 0]),
        ([4, 7], [1, 1, 1], [1, 0, 1]),
    ],
)
def test_rungs_on_the_way_of_its_parent_do_not_count_for_a_trial(epochs, reached, passed):
    search_state = state_of(rungs=(2, 4, 6))
    search_state.reported(0, report(4), at=STARTED)
    for _ in range(2):  # taken up after a failure, say
        search_state.fork(1, Parent(trial=0, epoch=4, stage=1), at=STARTED)
    for epoch in epochs:
        search_state.reported(1, report(epoch), at=STARTED)
    assert (search_state.reached, search_state.passed) == (reached, passed)
    assert [what for _, what in search_state.events] == ["trial 1: starts from trial 0 after epoch 4"]


def test_events_tell_ends_with_their_reasons_stages_and_builds():
    search_state = state_of()
    search_state.begin(0)
    search_state.set_activity(0, "computing features 12/300", at=1)
    search_state.set_activity(0, "computing features 24/300", at=2)
    search_state.reported(0, report(1, stage="head"), at=3)
    search_state.reported(0, report(2, stage="head"), at=4)
    search_state.reported(0, report(3, stage="top"), at=5)
    search_state.end(0, PRUNED, "0.5 at epoch 4 was not among the best there", at=6)
    search_state.end(1, FAILED, "not trained: no block", at=5.5)
    assert search_state.events == [
        (1, "trial 0: computing features"),
        (5, "trial 0: enters stage top after 2 epochs"),
        (5.5, "trial 1: failed (not trained: no block)"),
        (6, "trial 0: pruned in stage top after 3 epochs (0.5 at epoch 4 was not among the best there)"),
    ]


def test_only_the_newest_events_are_kept():
    search_state = state_of(ended=[FINISHED] * 20)
    assert [text for _, text in search_state.events] == [f"trial {n}: finished" for n in range(20 - EVENTS, 20)]


@pytest.mark.parametrize(
    ("search_state", "after_s", "left"),
    [
        pytest.param(state_of(10), 100, None, id="unknown at first"),
        pytest.param(state_of(10, running=[(0, 0.5)]), 100, None, id="unknown before one has ended"),
        pytest.param(state_of(10, ended=[FINISHED] * 2), 100, 400, id="eight more at the pace of two"),
        pytest.param(
            state_of(10, ended=[FINISHED] * 2, running=[(2, 0.5), (3, 0.5)]), 90, 210, id="running: half done"
        ),
        pytest.param(
            state_of(10, ended=[PRUNED] * 2, earlier=[FINISHED] * 4), 100, 200, id="earlier ones do not count as pace"
        ),
        pytest.param(state_of(2, ended=[FINISHED] * 2), 100, 0, id="none is left"),
        pytest.param(state_of(2, ended=[FINISHED] * 3), 100, 0, id="never negative"),
    ],
)
def test_the_time_left_follows_the_pace_of_this_attempt(search_state, after_s, left):
    assert search_state.seconds_left(now=STARTED + after_s) == left


# --- from a folder --------------------------------------------------------------------------------------------------


@pytest.fixture
def layout(tmp_path):
    return RunLayout(tmp_path)


def record(layout, number, status=TrialStatus.RUNNING, *, ended=None, reason=None, parent=None):
    known = {"number": number, "params": {}, "status": status, "reason": reason, "ended": ended, "parent": parent}
    TrialRecord(started="2026-01-01T00:00:00+00:00", **known).write(layout.trial(number))


def add(layout, number, *reports, end="\n"):
    needed = {"stage_index": 0, "best_epoch": 1, "train_s": 1.0, "time": "2026-01-01T00:00:05.000+00:00"}
    with layout.trial(number).epochs.open("a") as file:
        file.write("\n".join(json.dumps(one | needed) for one in reports) + end)


def test_a_folder_is_followed_as_it_grows(layout):
    search_state = state_of(rungs=(2,))
    follower = Follower(layout, search_state)
    follower.update()
    assert search_state.rows == {}
    record(layout, 0)
    follower.update()
    assert set(search_state.running) == {0}
    add(layout, 0, report(1, best=0.25, stage="head"), report(2, best=0.5, stage="head"))
    follower.update()
    add(layout, 0, report(3, best=0.75), report(4, best=0.875), end="\n{torn")
    record(layout, 1, FAILED, ended="2026-01-01T00:00:07+00:00", reason="not trained: no block")
    follower.update()
    assert (search_state.running[0].epoch, search_state.running[0].best, search_state.reached, search_state.passed) == (
        4,
        0.875,
        [1],
        [1],
    )
    assert (search_state.counts, search_state.ended_here) == ({FAILED: 1}, 1)
    record(layout, 0, FINISHED, ended="2026-01-01T00:00:09+00:00")
    follower.update()
    follower.update()
    assert (search_state.running, search_state.counts, search_state.best.number) == ({}, {FAILED: 1, FINISHED: 1}, 0)
    assert [(at - STARTED, what) for at, what in search_state.events] == [
        (5, "trial 0: enters stage top after 2 epochs"),
        (7, "trial 1: failed (not trained: no block)"),
        (9, "trial 0: finished in stage top after 4 epochs"),
    ]


def test_a_folder_tells_who_goes_on_from_whom(layout):
    search_state = state_of(rungs=(2, 4))
    follower = Follower(layout, search_state)
    record(layout, 0)
    add(layout, 0, report(3))
    record(layout, 1, parent=Parent(trial=0, epoch=2, stage=0))
    add(layout, 1, report(5))
    follower.update()
    record(layout, 1, FINISHED, parent=Parent(trial=0, epoch=2, stage=0), ended="2026-01-01T00:00:09+00:00")
    follower.update()
    assert (search_state.reached, search_state.passed) == ([1, 1], [1, 1])
    assert (0, "trial 1: starts from trial 0 after epoch 2") in [
        (at - STARTED, what) for at, what in search_state.events
    ]


def test_what_a_worker_computes_for_its_cache_is_seen_while_its_trial_runs(layout):
    search_state = state_of()
    follower = Follower(layout, search_state)
    record(layout, 0)
    layout.trial(0).building.write_text(json.dumps({"what": "computing features", "done": 1200, "total": 3000}))
    follower.update()
    assert search_state.running[0].activity == "computing features 1200/3000"
    layout.trial(0).building.unlink()
    follower.update()
    assert search_state.running[0].activity is None


def test_a_trial_cut_off_at_its_birth_is_passed_over(layout):
    layout.trial(4).root.mkdir(parents=True)  # killed between making the folder and its trial.json
    search_state = state_of()
    Follower(layout, search_state).update()
    assert search_state.rows == {}


def test_ended_trials_are_not_read_again(layout, monkeypatch):
    for number in range(3):
        record(layout, number, FINISHED, ended="2026-01-01T00:00:07+00:00")
        add(layout, number, report(4))
    follower = Follower(layout, state_of())
    follower.update()
    for number in range(3):
        layout.trial(number).trial.write_text("damaged")
    follower.update()


def test_a_damaged_record_is_named(layout):
    layout.trial(0).root.mkdir(parents=True)
    layout.trial(0).trial.write_text("{")
    with pytest.raises(RunFileError, match=r"0000/trial\.json: not valid JSON"):
        Follower(layout, state_of()).update()


def test_trials_of_an_earlier_attempt_are_no_pace_of_this_one(layout):
    record(layout, 0, FINISHED, ended="2025-12-31T23:59:59+00:00")
    record(layout, 1, PRUNED, ended="2026-01-01T00:00:01+00:00")
    search_state = state_of()
    Follower(layout, search_state).update()
    assert (search_state.ended, search_state.ended_here) == (2, 1)
