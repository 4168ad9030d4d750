"""Importance: what mattered in made-up searches is found, with spread, and nothing is found in noise."""

import numpy as np
import pytest

from results_analysis import load
from results_analysis.statistics.importance import FEWEST, importances
from results_analysis.tables.run_snapshot import take_snapshot
from tests.support.searched_runs import searched_trials, write_search


def found(root, trials, **config):
    return importances(take_snapshot(load(write_search(root, trials, **config))))


@pytest.fixture(scope="module")
def frame(tmp_path_factory):
    return found(tmp_path_factory.mktemp("runs") / "r", searched_trials(60))


def test_what_made_the_scores_is_most_important_for_both_evaluators(frame):
    for _, rows in frame.groupby("evaluator"):
        assert rows["name"].iloc[0] == "head_lr"
        assert rows["importance"].iloc[0] > rows["chance"].iloc[0]
        assert rows["importance"].sum() == pytest.approx(1, abs=0.35)  # medians of shares that add up to 1


def test_what_did_not_matter_does_not_rise_above_chance(frame):
    idle = frame[frame["name"].isin(["ema.decay", "plateau.patience"])]
    assert (idle["importance"] < idle["chance"]).all()


def test_the_spread_lies_around_the_importance(frame):
    assert (frame["low"] <= frame["importance"]).all()
    assert (frame["importance"] <= frame["high"]).all()


def test_a_value_that_only_some_trials_have_is_judged_by_ped_anova_alone(frame):
    assert set(frame.loc[frame["name"] == "loss.max_margin", "evaluator"]) == {"ped_anova"}


def test_noise_is_no_effect(tmp_path):
    rng = np.random.default_rng(0)
    trials = [{**trial, "status": "finished", "scores": [float(rng.random())]} for trial in searched_trials(30, seed=3)]
    frame = found(tmp_path / "r", trials)
    assert (frame["importance"] > frame["chance"]).sum() <= 1


@pytest.mark.parametrize("count", [0, 1, FEWEST - 1])
def test_too_few_trials_say_nothing(tmp_path, count):
    assert found(tmp_path / "r", searched_trials(count)).empty


def test_values_that_never_differ_say_nothing(tmp_path):
    trials = [{**trial, "params": {"train.x": 1.0}} for trial in searched_trials(12)]
    assert found(tmp_path / "r", trials).empty
