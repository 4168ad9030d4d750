"""Schedulers that are told the past: they decide as if they had never been interrupted. And what trials are judged by."""

import json
import random

import numpy as np
import pytest
from ray.tune.schedulers import AsyncHyperBandScheduler

from search.config.scheduler import Asha, Hyperband, Median, NoPruning, Pbt
from search.tuning.schedulers import (
    HalvingScheduler,
    MedianScheduler,
    PopulationScheduler,
    WarmScheduler,
    build_scheduler,
)
from tests.support.ray_trials import ray_trial
from trainables.core.rungs import Rungs
from trainables.core.vocabulary import Metric

EPOCHS = 12
TRIALS = 24
STAGE_ENDS = (3, 7, 12)
KINDS = {
    "asha in epochs": Asha(rungs="epochs", grace_epochs=2, reduction=2),
    "asha in compute": Asha(rungs="compute", grace_share=0.05, reduction=2),
    "asha in stages": Asha(rungs="stages", reduction=2),
    "asha that waits": Asha(rungs="epochs", grace_epochs=1, reduction=2, before_drw="wait"),
    "hyperband in epochs": Hyperband(kind="hyperband", rungs="epochs", grace_epochs=1, reduction=2),
    "hyperband in compute": Hyperband(kind="hyperband", rungs="compute", grace_share=0.05, reduction=2, brackets=2),
    "median": Median(kind="median", grace_epochs=2),
}


def build(settings, records=None, metric=Metric.BALANCED_ACCURACY):
    where = settings.place_rungs(epochs=EPOCHS, stages=len(STAGE_ENDS))
    return build_scheduler(settings, where, metric=metric, seed=0, records=records or {})


def line(epoch, score, *, corrected=None, pending=False, share=None, time=0):
    """A line of `epochs.jsonl`, as far as schedulers read it."""
    stage = sum(epoch > end for end in STAGE_ENDS)
    return {
        "epoch": epoch, "best_score": score, "best_corrected": score if corrected is None else corrected,
        "drw_pending": pending, "compute_share": (epoch / EPOCHS) ** 2 if share is None else share,
        "stage_index": stage, "stage_over": epoch in STAGE_ENDS, "finished": epoch == EPOCHS, "time": f"{time:06d}",
    }  # fmt: skip


def tell(scheduler, number, report):
    return scheduler.on_trial_result(None, ray_trial(number), {"reports": [report]})


class Driver:
    """Trials that report by turns, two at a time, as Ray tells a scheduler; can be killed and taken up again."""

    def __init__(self, curves, settings, metric=Metric.BALANCED_ACCURACY):
        self.curves, self.settings, self.metric = curves, settings, metric
        self.records, self.ended, self.decisions, self.time = {}, set(), {}, 0
        self.start()

    def start(self):
        """Anew, from what is on disk."""
        on_disk = json.loads(json.dumps(self.records), object_pairs_hook=with_numbers)
        self.scheduler = build(self.settings, on_disk, self.metric)
        for number, epoch in self.scheduler.stopped.items():
            if number not in self.ended and len(self.records[number]) == epoch:
                self.decisions[number, epoch] = "STOP"
                self.ended.add(number)

    def running(self):
        return [number for number in self.curves if number not in self.ended][:2]

    def turn(self, *, killed_before_judging=()):
        """One more epoch of each trial that runs."""
        for number in self.running():
            lines = self.records.setdefault(number, [])
            epoch, self.time = len(lines) + 1, self.time + 1
            score, corrected = self.curves[number][epoch - 1]
            lines.append(line(epoch, score, corrected=corrected, pending=number % 3 == 0 and epoch < 6, time=self.time))
            if lines[-1]["finished"]:
                self.ended.add(number)
            if self.time in killed_before_judging:
                self.start()
            elif lines[-1]["finished"]:
                self.scheduler.on_trial_complete(None, ray_trial(number), {"reports": lines[-1:]})
            else:
                self.decisions[number, epoch] = decision = tell(self.scheduler, number, lines[-1])
                if decision == "STOP":
                    self.scheduler.on_trial_complete(None, ray_trial(number), {"reports": lines[-1:]})
                    self.ended.add(number)


def with_numbers(pairs):
    return {int(key) if key.isdecimal() else key: value for key, value in pairs}


def curves(seed, *, falling=False):
    """Best and best corrected scores so far of trials of different promise."""
    rng = random.Random(seed)
    made = {}
    for number in range(TRIALS):
        best, made[number] = rng.random(), []
        for _ in range(EPOCHS):
            best += rng.random() * 0.2 * (-1 if falling else 1)
            made[number].append((best, best + 0.3 * rng.random()))
    return made


# --- resuming ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", [Metric.BALANCED_ACCURACY, Metric.VAL_LOSS])
@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("killed_every", [1, 7])
def test_an_interrupted_search_prunes_as_an_uninterrupted_one(settings, killed_every, metric):
    of_trials = curves(0, falling=metric is Metric.VAL_LOSS)
    whole, cut = Driver(of_trials, settings, metric), Driver(of_trials, settings, metric)
    turns = 0
    while whole.running():
        whole.turn()
        cut.turn()
        turns += 1
        if turns % killed_every == 0:
            cut.start()
    assert cut.decisions == whole.decisions
    assert cut.records == whole.records
    assert set(whole.decisions.values()) == {"CONTINUE", "STOP"}


@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)
def test_a_trial_that_failed_at_its_rung_ends_there_though_the_driver_died_before_it_was_judged(settings):
    of_trials = curves(1)
    whole, cut = Driver(of_trials, settings), Driver(of_trials, settings)
    while whole.running():
        whole.turn()
    while cut.running():
        cut.turn(killed_before_judging=range(0, 100_000, 5))
    assert cut.records == whole.records


def test_without_a_replay_nobody_would_be_known():
    settings = KINDS["asha in epochs"]
    records = {0: [line(2, 0.9)]}
    assert tell(build(settings), 1, line(2, 0.1)) == "CONTINUE"
    assert tell(build(settings, records), 1, line(2, 0.1)) == "STOP"


def test_epochs_that_are_done_again_change_nothing():
    """Those behind a trial's last checkpoint."""
    records = {7: [line(epoch, epoch / 10, time=epoch) for epoch in range(1, 6)]}
    scheduler = build(KINDS["asha in epochs"], records)
    for epoch in (4, 5, 6):
        assert tell(scheduler, 7, line(epoch, 0.9)) == "CONTINUE"
    assert tell(scheduler, 8, line(4, 0.5)) == "CONTINUE"  # against 0.4, which 7 brought there


def test_trials_of_one_moment_may_have_been_judged_in_another_order_than_they_are_recorded_in():
    """What is on disk looks as if the median rule had stopped trial 3, which went on."""
    best = [line(epoch, 0.9, time=0) for epoch in (2, 3)]
    records = dict.fromkeys((0, 1, 2), best) | {3: [line(epoch, 0.1, time=1) for epoch in (2, 3, 4)]}
    scheduler = build(KINDS["median"], records)
    assert scheduler.stopped[3] != 4
    assert tell(scheduler, 3, line(5, 0.1)) == "CONTINUE"


def test_epochs_without_a_score_were_the_worst():
    for metric, good in ((Metric.BALANCED_ACCURACY, 0.1), (Metric.VAL_LOSS, 9.0)):
        scheduler = build(KINDS["asha in epochs"], {0: [line(2, good)]}, metric)
        assert tell(scheduler, 1, line(2, None, corrected=None)) == "STOP"


# --- judging ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("metric", "worse"), [(Metric.BALANCED_ACCURACY, 0.4), (Metric.VAL_LOSS, 0.6)])
def test_the_metric_says_which_of_two_is_worse(metric, worse):
    scheduler = build(KINDS["asha in epochs"], metric=metric)
    assert tell(scheduler, 0, line(2, 0.5)) == "CONTINUE"
    assert tell(scheduler, 1, line(2, worse)) == "STOP"


@pytest.mark.parametrize(
    ("before_drw", "decision"), [("score", "STOP"), ("corrected", "CONTINUE"), ("wait", "CONTINUE")]
)
def test_a_trial_that_has_still_to_re_weight_is_judged_as_asked(before_drw, decision):
    """The trap: LDAM before re-weighting lies behind cross-entropy, and ends before it."""
    scheduler = build(Asha(rungs="epochs", grace_epochs=2, reduction=2, before_drw=before_drw))
    assert tell(scheduler, 0, line(2, 0.75, corrected=0.9)) == "CONTINUE"
    assert tell(scheduler, 1, line(2, 0.62, corrected=0.76, pending=True)) == decision


def test_nobody_is_compared_with_a_trial_that_waits():
    scheduler = build(Asha(rungs="epochs", grace_epochs=2, reduction=2, before_drw="wait"))
    tell(scheduler, 0, line(2, 0.9, pending=True))
    assert tell(scheduler, 1, line(2, 0.1)) == "CONTINUE"
    # And it enters no earlier rung with what it scores later.
    tell(scheduler, 0, line(3, 0.9))
    assert tell(scheduler, 2, line(2, 0.1)) == "CONTINUE"


def test_a_trial_is_judged_at_each_rung_once():
    scheduler = build(KINDS["asha in epochs"])
    tell(scheduler, 0, line(2, 0.5))
    tell(scheduler, 1, line(2, 0.6))
    assert tell(scheduler, 1, line(3, 0.6)) == "CONTINUE"
    tell(scheduler, 0, line(4, 0.9))
    assert tell(scheduler, 1, line(4, 0.6)) == "STOP"


def test_the_end_of_a_stage_is_a_rung():
    scheduler = build(KINDS["asha in stages"])
    for number, score in enumerate((0.5, 0.1)):
        for epoch in (1, 2):
            assert tell(scheduler, number, line(epoch, score)) == "CONTINUE"
    assert tell(scheduler, 0, line(3, 0.5)) == "CONTINUE"
    assert tell(scheduler, 1, line(3, 0.1)) == "STOP"


def test_trials_of_several_plans_meet_at_the_same_share_of_their_compute():
    scheduler = build(KINDS["asha in compute"])
    assert tell(scheduler, 0, line(8, 0.5, share=0.06)) == "CONTINUE"
    assert tell(scheduler, 1, line(8, 0.1, share=0.04)) == "CONTINUE"  # still in its cheap head stage
    assert tell(scheduler, 1, line(9, 0.1, share=0.30)) == "CONTINUE"  # nobody has come as far
    assert tell(scheduler, 2, line(2, 0.4, share=0.06)) == "STOP"


def test_brackets_are_drawn_from_the_search_s_seed_and_leave_numpy_alone():
    settings = Hyperband(kind="hyperband", rungs="epochs", grace_epochs=1, reduction=2)

    def decisions():
        scheduler = build(settings)
        return [tell(scheduler, number, line(1, -number)) for number in range(40)]

    np.random.seed(1)
    first, following = decisions(), np.random.random()
    np.random.seed(1)
    assert np.random.random() == following
    np.random.seed(2)
    assert decisions() == first
    stopped = first.count("STOP")
    assert 10 < stopped < 39  # in later brackets trials are not judged yet


# --- rungs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scheduler", "unit", "positions"),
    [
        (Asha(rungs="epochs", grace_epochs=2, reduction=3), "epochs", (2, 6, 18)),
        (Asha(rungs="epochs", grace_epochs=4, reduction=2), "epochs", (4, 8, 16)),
        (Asha(rungs="epochs", grace_epochs=8, reduction=1.5), "epochs", (8, 12, 18)),
        (Asha(rungs="epochs", grace_epochs=20), "epochs", (20,)),
        (Asha(rungs="epochs", grace_epochs=21), "epochs", ()),
        (Asha(rungs="compute", grace_share=0.25, reduction=2), "compute", (0.25, 0.5, 1)),
        (Asha(rungs="compute"), "compute", (0.1, 0.2, 0.4, 0.8)),
        (Asha(rungs="epochs"), "epochs", (4, 8, 16)),
        (Asha(), "stages", (1, 2)),
        (Hyperband(kind="hyperband", rungs="epochs", grace_epochs=9, reduction=2), "epochs", (9, 18)),
        (Median(kind="median", grace_epochs=18), "epochs", (18, 19, 20)),
        (Pbt(kind="pbt", every_epochs=6), "epochs", (6, 12, 18)),
        (Pbt(kind="pbt", every_epochs=5), "epochs", (5, 10, 15)),  # at the end nobody is left to judge
        (NoPruning(kind="none"), "epochs", ()),
    ],
)
def test_where_trials_are_judged(scheduler, unit, positions):
    found = scheduler.place_rungs(epochs=20, stages=3)
    assert (found.unit, found.positions) == (unit, pytest.approx(positions))


@pytest.mark.parametrize(
    ("where", "passed"),
    [
        (Rungs("epochs", (2, 2.5, 9)), [0, 1, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3]),
        (Rungs("stages", (1, 2)), [0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2]),
        (Rungs("compute", (0.25, 0.5)), [0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2]),
        (Rungs(), [0] * 12),
    ],
)
def test_rungs_that_a_trial_has_come_to(where, passed):
    assert [where.reached(line(epoch, 0.5)) for epoch in range(1, 13)] == passed


@pytest.mark.parametrize("reduction", [1.5, 2, 3, 3.7, 4])
def test_rungs_in_epochs_decide_as_ray_s_own(reduction):
    settings = Asha(rungs="epochs", grace_epochs=2, reduction=reduction, before_drw="score")
    ours = build(settings)
    rays = AsyncHyperBandScheduler(
        time_attr="epoch", metric="score", mode="max", max_t=100, grace_period=2, reduction_factor=reduction
    )
    rng, decisions = random.Random(3), set()
    for number in range(60):
        rays.on_trial_add(None, ray_trial(number))
        for epoch in range(1, EPOCHS):
            score = rng.random()
            theirs = rays.on_trial_result(None, ray_trial(number), {"epoch": epoch, "score": score})
            assert tell(ours, number, line(epoch, score)) == theirs
            decisions.add(theirs)
            if theirs == "STOP":
                break
    assert decisions == {"CONTINUE", "STOP"}


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        (NoPruning(kind="none"), WarmScheduler),
        (Pbt(kind="pbt"), PopulationScheduler),
        (KINDS["median"], MedianScheduler),
        *((settings, HalvingScheduler) for settings in KINDS.values() if not isinstance(settings, Median)),
    ],
)
def test_each_kind_has_its_scheduler(settings, kind):
    assert type(build(settings)) is kind
