"""The length of a search, reckoned; Ray's own scheduler says what pruning leaves."""

import math

import numpy as np
import pytest
from ray.tune.schedulers import TrialScheduler

from search.config.resources import Resources
from search.config.scheduler import Asha, Hyperband, Median, NoPruning, Pbt
from search.preflight.forecast import Timeline, _seconds_run, forecast, memory, share_left, timeline_of, trials_at_once
from search.preflight.local_machine import Machine, this_machine
from search.tuning.schedulers import build_scheduler
from tests.support.ray_trials import ray_trial
from trainables.core.rungs import Rungs
from trainables.core.vocabulary import Metric
from trainables.trial.dry_run import DryRun, StageCost

GIB = 2**30


def cost(cut, epoch_s, parameters=1):
    return StageCost(
        block_bytes=(),
        stage="s", unfreeze_from="?", depth=cut, epochs=1, batch=(1,), features=(1,), logits=(1,), trained_parameters=parameters,
        train_loss=1.0, val_loss=1.0, train_s=0.75 * epoch_s, val_s=0.25 * epoch_s, cache_s=0.0, cache_bytes=0, images=1,
    )  # fmt: skip


def machine(cpus=4, gpus=0, ram=16 * GIB, gpu=None):
    return Machine(cpus=cpus, load=0, ram_bytes=ram, gpus=gpus, gpu_bytes=gpu)


def stages(*plan):
    names = ({"name": f"s{i}", "unfreeze_from": at, "epochs": epochs} for i, (at, epochs) in enumerate(plan))
    return list(names)


# --- one run ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plan", "seconds"),
    [
        ([("head", 2)], [1, 2]),
        ([("head", 2), ("last:2", 2)], [1, 2, 5, 8]),
        ([("last:1", 2)], [2, 4]),  # between the head's 1 s and the 3 s of two blocks
        ([("all", 1)], [3]),  # deeper than what is known costs as the deepest
    ],
)
def test_epochs_cost_what_stages_were_measured_to(make_recipe, plan, seconds):
    recipe = make_recipe(stages=stages(*plan))
    assert timeline_of(recipe, [cost(9, 1.0), cost(7, 3.0)], NO_PRUNING, Rungs()).elapsed == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("rungs", "compared"),
    [
        (Rungs("epochs", (1, 2.5, 4)), [(0, 1), (1, 3)]),  # not after the last
        (Rungs("stages", (1, 2)), [(0, 2)]),
        (Rungs("compute", (0.02, 0.1, 0.6)), [(1, 3)]),  # 1, 2, 52, 102 of 102: an epoch comes to two at once
    ],
)
def test_a_run_is_judged_where_its_rungs_are(make_recipe, rungs, compared):
    recipe = make_recipe(stages=stages(("head", 2), ("last:2", 2)))
    costs = [cost(9, 1.0, parameters=1), cost(7, 3.0, parameters=50)]
    assert timeline_of(recipe, costs, Asha(), rungs).compared == compared


@pytest.mark.parametrize(("before_drw", "compared"), [("score", [2, 4, 6, 8]), ("wait", [8])])
def test_a_run_that_waits_for_re_weighting_is_judged_after_it(make_recipe, before_drw, compared):
    plan = stages(("head", 9))
    recipe = make_recipe(stages=plan, loss={"kind": "ldam"}, drw={"start_epoch": 5})
    timeline = timeline_of(recipe, [cost(9, 1.0)], Asha(before_drw=before_drw), Rungs("epochs", (2, 4, 6, 8)))
    assert [epoch for _, epoch in timeline.compared] == compared


# --- pruning ----------------------------------------------------------------------------------------------------------

NO_PRUNING = NoPruning(kind="none")
SCHEDULERS = [
    (Asha(rungs="epochs", grace_epochs=1, reduction=2), 10),
    (Asha(rungs="epochs", grace_epochs=4, reduction=3), 14),
    (Asha(rungs="epochs", grace_epochs=7, reduction=2.5), 7),
    (Asha(rungs="epochs", grace_epochs=22, reduction=2), 36),
    (Median(kind="median", grace_epochs=3), 12),
]


def timeline(curve, scheduler):
    """Of a run of the given seconds."""
    epochs = scheduler.place_rungs(epochs=len(curve), stages=1).positions
    return Timeline(list(curve), [(i, math.ceil(epoch)) for i, epoch in enumerate(epochs) if epoch < len(curve)])


def epochs_run(scheduler, longest, qualities):
    """By the scheduler that searches use, one trial after the other."""
    where = scheduler.place_rungs(epochs=longest, stages=1)
    real, epochs = build_scheduler(scheduler, where, metric=Metric.ACCURACY, seed=0, records={}), 0
    for number, quality in enumerate(qualities):
        trial = ray_trial(number)
        for epoch in range(1, longest + 1):
            epochs += 1
            report = {"epoch": epoch, "best_score": quality, "drw_pending": False, "finished": epoch == longest}
            if real.on_trial_result(None, trial, {"reports": [report]}) == TrialScheduler.STOP:
                break
    return epochs


@pytest.mark.parametrize(("scheduler", "longest"), SCHEDULERS)
def test_a_search_that_is_played_through_runs_as_long_as_with_ray(scheduler, longest):
    random = np.random.default_rng(3)
    qualities = random.permutation(40).tolist()
    timelines = [timeline(range(1, longest + 1), scheduler)] * 40
    assert _seconds_run(timelines, qualities, scheduler, random) == epochs_run(scheduler, longest, qualities)


def test_brackets_are_drawn_as_often_as_by_ray():
    scheduler, longest = Hyperband(kind="hyperband", rungs="epochs", grace_epochs=1, reduction=3), 27
    random = np.random.default_rng(4)
    qualities = random.permutation(400).tolist()
    played = _seconds_run([timeline(range(1, longest + 1), scheduler)] * 400, qualities, scheduler, random)
    assert played == pytest.approx(epochs_run(scheduler, longest, qualities), rel=0.2)


def test_without_pruning_everything_runs():
    assert share_left([Timeline([1, 2, 3], [])], trials=9, scheduler=NO_PRUNING) == 1


@pytest.mark.parametrize(
    ("curves", "trials", "low", "high"),
    [
        ([range(1, 82)], 500, 0.136, 0.18),  # 11 of 81 epochs when all wait for each other, more when they do not
        ([range(1, 82)], 1, 1, 1),  # nobody to compare with
        ([range(1, 4)], 50, 1, 1),  # over before the first rung
        ([[1, 2, 3, 1000]], 200, 1, 1),  # all of its seconds before the first rung
        ([[*range(1, 5), 100000]], 300, 0.3, 0.5),  # what is pruned is dear: about a third goes on
    ],
)
def test_pruning_leaves_the_seconds_before_rungs(curves, trials, low, high):
    scheduler = Asha(rungs="epochs", grace_epochs=4, reduction=3)
    share = share_left([timeline(curve, scheduler) for curve in curves], trials=trials, scheduler=scheduler)
    assert low <= share <= high


@pytest.mark.parametrize(
    ("trials", "fields", "low", "high"),
    [
        (1, {"population": 2}, 1, 1),
        (3, {"population": 8}, 1, 1),  # a quarter of three is nobody
        (400, {"quantile": 0.25}, 0.63, 0.70),  # one and a half for each whole run: who stops, and who goes on
        (400, {"quantile": 0.5}, 0.47, 0.54),
        (400, {"every_epochs": 6}, 0.77, 0.83),
        (8, {"population": 8}, 0.86, 0.91),  # nobody goes on from another one
    ],
)
def test_what_is_inherited_need_not_be_run(trials, fields, low, high):
    scheduler = Pbt(kind="pbt", **{"every_epochs": 4, **fields})
    timelines = [timeline(range(1, 13), scheduler)]
    assert low <= share_left(timelines, trials=trials, scheduler=scheduler) <= high


# --- a search ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trials", "at_once", "most", "expected"),
    [(10, 1, 100, 75), (10, 2, 50, 37.5), (10, 3, 40, 25), (1, 8, 10, 7.5), (3, 8, 10, 7.5)],
)
def test_the_length_of_a_search(make_recipe, trials, at_once, most, expected):
    draws = [make_recipe(stages=stages(("head", epochs))) for epochs in (5, 10)]
    found = forecast(
        draws, [cost(9, 1.0)], trials=trials, scheduler=NO_PRUNING, rungs=Rungs(), longest_epochs=10, at_once=at_once
    )
    assert (found.most_s, found.expected_s) == (pytest.approx(most), pytest.approx(expected))
    assert (found.mean_epochs, found.mean_trial_s, found.share) == (7.5, 7.5, 1)


def test_pruning_makes_a_search_shorter(make_recipe):
    draws = [make_recipe(stages=stages(("head", 30)))]
    asked = {"trials": 40, "longest_epochs": 30, "at_once": 2, "rungs": Rungs("epochs", (3, 9, 27))}
    pruned = forecast(draws, [cost(9, 1.0)], scheduler=Asha(rungs="epochs", grace_epochs=3, reduction=3), **asked)
    assert pruned.most_s == 20 * 30
    assert pruned.expected_s == pytest.approx(pruned.share * 20 * 30)
    assert pruned.share < 0.5


# --- machine ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resources", "there", "limit", "at_once"),
    [
        ({}, {"cpus": 2}, None, 2),
        ({"cpus": 0.5}, {"cpus": 2}, None, 4),
        ({"cpus": 0.1}, {"cpus": 1}, None, 10),
        ({"cpus": 3}, {"cpus": 8}, None, 2),
        ({"cpus": 3}, {"cpus": 2}, None, 0),
        ({}, {"cpus": 8}, 3, 3),
        ({}, {"cpus": 8, "gpus": 2}, None, 2),  # a GPU each, where there are any
        ({"gpus": 0.5}, {"cpus": 8, "gpus": 1}, None, 2),
        ({"gpus": 0.4}, {"cpus": 8, "gpus": 2}, None, 4),  # no trial lies on two GPUs
        ({"gpus": 0.6}, {"cpus": 8, "gpus": 3}, None, 3),
        ({"gpus": 1}, {"cpus": 8, "gpus": 0}, None, 0),
        ({"gpus": 0}, {"cpus": 8, "gpus": 1}, None, 8),
    ],
)
def test_trials_at_once_are_what_resources_allow(resources, there, limit, at_once):
    assert trials_at_once(Resources(**resources), machine(**there), limit) == at_once


def test_trials_of_several_processes_take_so_many_times_the_resources():
    there = machine(cpus=9, gpus=4)
    assert [trials_at_once(Resources(cpus=2), there, None, processes=n) for n in (1, 2, 3, 5)] == [4, 2, 1, 0]


@pytest.mark.parametrize(("ram", "fit"), [(0, 40), (600 * 2**20, 16), (4 * GIB - 400 * 2**20, 4), (100 * GIB, 0)])
def test_trials_take_their_process_with_them(ram, fit):
    room = memory(DryRun(stages=(), ram_bytes=ram, gpu_bytes=None), machine())
    assert room.trial_ram_bytes == ram + 400 * 2**20
    assert room.fit_in_ram == fit
    assert room.trial_gpu_bytes is room.fit_on_a_gpu is None


def test_trials_share_a_gpu_by_memory():
    tried = DryRun(stages=(), ram_bytes=0, gpu_bytes=3 * GIB - 500 * 2**20)
    assert memory(tried, machine(gpus=2, gpu=16 * GIB)).fit_on_a_gpu == 5


def test_this_machine_is_looked_at():
    found = this_machine()
    assert found.cpus >= 1
    assert 2**26 < found.ram_bytes < 2**45
    assert (found.gpus == 0) == (found.gpu_bytes is None)
    assert found.load >= 0
    assert math.isfinite(found.load)
