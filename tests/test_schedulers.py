"""ASHA that is told the past: it decides as if it had never been interrupted."""

import copy
import random
from types import SimpleNamespace

import pytest
from conftest import RECIPE
from ray.tune.schedulers import FIFOScheduler

from search.config import SearchConfig, SearchSettings
from search.rungs import rungs as epochs_of_rungs
from search.scheduler_config import Asha, NoPruning
from search.schedulers import ReplayedAsha, build_scheduler
from spaces import parse_space
from trainables.recipe import parse_recipe

EPOCHS = 12
TRIALS = 16


def config(*, metric="balanced_accuracy", scheduler=None):
    data = copy.deepcopy(RECIPE)
    data["train"]["metric"] = metric
    settings = SearchSettings(scheduler=scheduler or Asha(grace_epochs=2, reduction=2))
    return SearchConfig("s", parse_recipe(data), parse_space("ema"), settings)


def build(*, ended=None, interrupted=None, metric="balanced_accuracy", max_epochs=EPOCHS):
    return build_scheduler(
        config(metric=metric), max_epochs=max_epochs, ended=ended or {}, interrupted=interrupted or {}
    )


class Driver:
    """Trials that report by turns, as Ray tells a scheduler; can be killed and taken up again."""

    def __init__(self, curves, metric="balanced_accuracy"):
        self.curves, self.metric = curves, metric
        self.records, self.ended, self.decisions, self.time = {n: [] for n in curves}, {}, {}, 0
        self.start()

    def start(self):
        past = {n: r for n, r in self.records.items() if r}
        self.scheduler = build(
            ended={n: r for n, r in past.items() if n in self.ended},
            interrupted={n: r for n, r in past.items() if n not in self.ended},
            metric=self.metric,
        )
        self.live = {n: trial(n) for n in self.curves if n not in self.ended}
        for each in self.live.values():
            self.scheduler.on_trial_add(None, each)

    def turn(self):
        """One more epoch of each trial that is still running."""
        for number, each in list(self.live.items()):
            epoch = len(self.records[number]) + 1
            self.time += 1
            result = {"epoch": epoch, "best_score": self.curves[number][epoch - 1], "time": f"{self.time:05d}"}
            self.records[number].append(result)
            if epoch == EPOCHS:
                self.scheduler.on_trial_complete(None, each, result)
                decision = "its own end"
            else:
                decision = self.scheduler.on_trial_result(None, each, result)
                if decision == "STOP":
                    self.scheduler.on_trial_complete(None, each, result)
            self.decisions[number, epoch] = decision
            if decision != "CONTINUE":
                self.ended[number] = True
                del self.live[number]

    def rungs(self):
        return rungs(self.scheduler)


def trial(number):
    return SimpleNamespace(trial_id=f"trial-{number}", config={"number": number})


def rungs(scheduler):
    """Milestone -> the scores in its rung, whoever brought them."""
    return {milestone: sorted(scores.values()) for milestone, scores in scheduler._brackets[0]._rungs}


def curves(seed, *, falling=False):
    """Best scores so far of trials of different promise."""
    rng = random.Random(seed)
    made = {}
    for number in range(TRIALS):
        best, made[number] = rng.random(), []
        for _ in range(EPOCHS):
            best += rng.random() * 0.2 * (-1 if falling else 1)
            made[number].append(best)
    return made


@pytest.mark.parametrize("metric", ["balanced_accuracy", "val_loss"])
@pytest.mark.parametrize("killed_after", [[1], [2], [3], [5], [2, 4, 5], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]], ids=str)
def test_an_interrupted_search_prunes_as_an_uninterrupted_one(killed_after, metric):
    whole = Driver(curves(0, falling=metric == "val_loss"), metric)
    cut = Driver(curves(0, falling=metric == "val_loss"), metric)
    for turn in range(1, EPOCHS + 1):
        whole.turn()
        cut.turn()
        if turn in killed_after:
            cut.start()
        assert cut.rungs() == whole.rungs()
    assert cut.decisions == whole.decisions
    assert set(whole.decisions.values()) == {"CONTINUE", "STOP", "its own end"}


@pytest.mark.parametrize(("metric", "worse"), [("balanced_accuracy", 0.4), ("val_loss", 0.6)])
def test_the_metric_says_which_of_two_is_worse(metric, worse):
    scheduler = build(metric=metric)
    for number in (0, 1):
        scheduler.on_trial_add(None, trial(number))
    assert scheduler.on_trial_result(None, trial(0), {"epoch": 2, "best_score": 0.5}) == "CONTINUE"
    assert scheduler.on_trial_result(None, trial(1), {"epoch": 2, "best_score": worse}) == "STOP"


def test_without_a_replay_the_rungs_would_be_empty():
    driver = Driver(curves(1))
    for _ in range(3):
        driver.turn()
    assert rungs(build()) == {8: [], 4: [], 2: []}
    assert len(driver.rungs()[2]) == TRIALS


def test_an_interrupted_trial_stands_in_its_rungs_once():
    records = {7: [{"epoch": e, "best_score": e / 10, "time": str(e)} for e in range(1, 6)]}
    scheduler = build(interrupted=records)
    assert rungs(scheduler) == {8: [], 4: [], 2: []}  # until it comes back
    scheduler.on_trial_add(None, trial(7))
    assert rungs(scheduler) == {8: [], 4: [0.4], 2: [0.2]}
    for epoch in (4, 5, 6):  # epochs behind its last checkpoint are done again
        assert scheduler.on_trial_result(None, trial(7), {"epoch": epoch, "best_score": 0.9}) == "CONTINUE"
    assert rungs(scheduler) == {8: [], 4: [0.4], 2: [0.2]}


def test_a_trial_that_ended_earlier_stands_in_its_rungs_beside_one_of_the_same_number_now():
    records = {0: [{"epoch": e, "best_score": 0.5, "time": str(e)} for e in (1, 2)]}
    scheduler = build(ended=records)
    scheduler.on_trial_add(None, trial(1))
    assert scheduler.on_trial_result(None, trial(1), {"epoch": 2, "best_score": 0.4}) == "STOP"
    assert rungs(scheduler)[2] == [0.4, 0.5]


@pytest.mark.parametrize(("metric", "worst"), [("balanced_accuracy", -float("inf")), ("val_loss", float("-inf"))])
def test_epochs_without_a_score_were_the_worst(metric, worst):
    records = {0: [{"epoch": e, "best_score": None, "time": str(e)} for e in (1, 2)]}
    assert rungs(build(ended=records, metric=metric))[2] == [worst]  # Ray turns what is minimised round
    scheduler = build(interrupted=records, metric=metric)
    scheduler.on_trial_add(None, trial(0))
    assert rungs(scheduler)[2] == [worst]


@pytest.mark.parametrize("max_epochs", [3, 4, 7, 8, 9, 16])
def test_a_trial_is_never_stopped_for_having_come_to_the_end(max_epochs):
    scheduler = build(max_epochs=max_epochs)
    scheduler.on_trial_add(None, trial(0))
    for epoch in range(1, max_epochs + 1):
        assert scheduler.on_trial_result(None, trial(0), {"epoch": epoch, "best_score": 0.5}) == "CONTINUE"


def test_grace_may_be_as_long_as_the_longest_run():
    asha = Asha(grace_epochs=4, reduction=3)
    scheduler = build_scheduler(config(scheduler=asha), max_epochs=4, ended={}, interrupted={})
    assert rungs(scheduler) == {4: []}


@pytest.mark.parametrize(
    ("asha", "milestones"),
    [
        (Asha(grace_epochs=4, reduction=2), [4, 8, 16]),
        (Asha(grace_epochs=3, reduction=3), [3, 9]),
        (Asha(grace_epochs=10, reduction=4), [10]),
    ],
)
def test_rungs_are_a_factor_apart(asha, milestones):
    scheduler = build_scheduler(config(scheduler=asha), max_epochs=20, ended={}, interrupted={})
    assert isinstance(scheduler, ReplayedAsha)
    assert sorted(rungs(scheduler)) == milestones
    assert epochs_of_rungs(asha, max_epochs=20) == milestones


@pytest.mark.parametrize(
    ("scheduler", "max_epochs", "epochs"),
    [
        (Asha(grace_epochs=2, reduction=2.5), 40, [2, 5, 13, 32]),  # Ray judges at the first epoch from 12.5 on
        (Asha(grace_epochs=8, reduction=2), 7, []),
        (NoPruning(kind="none"), 40, []),
    ],
)
def test_workers_know_the_epochs_at_which_they_are_judged(scheduler, max_epochs, epochs):
    assert epochs_of_rungs(scheduler, max_epochs=max_epochs) == epochs


def test_without_pruning_trials_run_to_their_end():
    scheduler = build_scheduler(config(scheduler=NoPruning(kind="none")), max_epochs=4, ended={}, interrupted={})
    assert type(scheduler) is FIFOScheduler
