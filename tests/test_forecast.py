"""The length of a search, reckoned; Ray's own scheduler says what pruning leaves."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

from search.forecast import _seconds_run, elapsed, forecast, memory, share_left, trials_at_once
from search.machine import Machine, this_machine
from search.resources_config import Resources
from search.rungs import rungs
from search.scheduler_config import Asha, NoPruning
from trainables.dry_run import DryRun, StageCost

GIB = 2**30


def cost(cut, epoch_s):
    return StageCost(
        stage="s", unfreeze_from="?", cut=cut, epochs=1, batch=(1,), features=(1,), logits=(1,), trained_parameters=1,
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
    assert elapsed(recipe, [cost(9, 1.0), cost(7, 3.0)]) == pytest.approx(seconds)


# --- pruning ----------------------------------------------------------------------------------------------------------

SCHEDULERS = [
    (Asha(grace_epochs=1, reduction=2), 10),
    (Asha(grace_epochs=4, reduction=3), 14),
    (Asha(grace_epochs=4, reduction=2), 40),
    (Asha(grace_epochs=7, reduction=2.5), 7),
    (Asha(grace_epochs=22, reduction=2), 36),
]


def of_ray(scheduler, longest):
    return AsyncHyperBandScheduler(
        time_attr="epoch", metric="score", mode="max", max_t=longest + 1,
        grace_period=scheduler.grace_epochs, reduction_factor=scheduler.reduction,
    )  # fmt: skip


@pytest.mark.parametrize(("scheduler", "longest"), SCHEDULERS)
def test_rungs_are_those_of_ray(scheduler, longest):
    (bracket,) = of_ray(scheduler, longest)._brackets
    assert rungs(scheduler, max_epochs=longest) == sorted(milestone for milestone, _ in bracket._rungs)


@pytest.mark.parametrize(("scheduler", "longest"), SCHEDULERS)
def test_a_search_that_is_played_through_runs_as_long_as_with_ray(scheduler, longest):
    qualities = np.random.default_rng(3).permutation(40).tolist()
    real, epochs = of_ray(scheduler, longest), 0
    for quality in qualities:
        trial = SimpleNamespace(trial_id=f"t{quality}")
        real.on_trial_add(None, trial)
        for epoch in range(1, longest + 1):
            epochs += 1
            if real.on_trial_result(None, trial, {"epoch": epoch, "score": quality}) == TrialScheduler.STOP:
                break
    curve = list(range(1, longest + 1))
    assert _seconds_run([curve] * 40, qualities, rungs(scheduler, max_epochs=longest), scheduler) == epochs


def test_without_pruning_everything_runs():
    assert share_left([[1, 2, 3]], trials=9, scheduler=NoPruning(kind="none"), longest_epochs=3) == 1


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
    share = share_left(
        curves, trials=trials, scheduler=Asha(grace_epochs=4, reduction=3), longest_epochs=len(curves[0]) + 3
    )
    assert low <= share <= high


# --- a search ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trials", "at_once", "most", "expected"),
    [(10, 1, 100, 75), (10, 2, 50, 37.5), (10, 3, 40, 25), (1, 8, 10, 7.5), (3, 8, 10, 7.5)],
)
def test_the_length_of_a_search(make_recipe, trials, at_once, most, expected):
    draws = [make_recipe(stages=stages(("head", epochs))) for epochs in (5, 10)]
    found = forecast(
        draws, [cost(9, 1.0)], trials=trials, scheduler=NoPruning(kind="none"), longest_epochs=10, at_once=at_once
    )
    assert (found.most_s, found.expected_s) == (pytest.approx(most), pytest.approx(expected))
    assert (found.mean_epochs, found.mean_trial_s, found.share) == (7.5, 7.5, 1)


def test_pruning_makes_a_search_shorter(make_recipe):
    draws = [make_recipe(stages=stages(("head", 30)))]
    asked = {"trials": 40, "longest_epochs": 30, "at_once": 2}
    pruned = forecast(draws, [cost(9, 1.0)], scheduler=Asha(grace_epochs=3, reduction=3), **asked)
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
