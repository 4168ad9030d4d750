"""Importance: what mattered in made-up searches is found, with spread, and nothing is found in noise."""

import numpy as np
import pytest

from results_analysis import load
from results_analysis.statistics import importance
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


# --- what a search may be, and once stopped a report -------------------------------------------------------------------

CLIP, OTHER = "train.clip_norm", "train.other"


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(importance, "RESAMPLES", {"ped_anova": 4, "fanova": 1})


def finished(count, value_of, score_of):
    rng = np.random.default_rng(1)
    made = [value_of(number, rng) for number in range(count)]
    return [{"params": params, "scores": [score_of(params) + float(rng.normal(0, 0.01))]} for params in made]


def test_a_null_is_a_value_and_not_a_missing_one(tmp_path):
    space = {CLIP: {"choice": [None, 0.001]}, OTHER: {"float": [0, 1]}}
    trials = finished(
        24,
        lambda n, rng: {CLIP: [None, 0.001][n % 2], OTHER: float(rng.random())},
        lambda p: 0.5 + 0.3 * (p[CLIP] is None),
    )
    frame = found(tmp_path / "r", trials, space=space).groupby("evaluator").first()
    assert set(frame["path"]) == {CLIP}
    assert (frame["importance"] > frame["chance"]).all()


def test_a_value_that_is_alone_has_nothing_to_share_with(tmp_path):
    trials = finished(24, lambda n, rng: {OTHER: float(rng.random()), CLIP: 1.0}, lambda p: p[OTHER])
    assert found(tmp_path / "r", trials, space={}).empty


def test_a_value_that_few_trials_have_takes_no_part(tmp_path):
    names = ["train.a", "train.b", "train.c"]
    trials = finished(
        24,
        lambda n, rng: {name: float(rng.random()) for name in names[: 3 if n < FEWEST - 1 else 2]},
        lambda p: p["train.a"],
    )
    assert set(found(tmp_path / "r", trials, space={})["path"]) == {"train.a", "train.b"}


def test_resamples_may_lack_a_value_that_enough_trials_have(tmp_path, monkeypatch):
    monkeypatch.setattr(importance, "FEWEST", 1)
    monkeypatch.setattr(importance, "RESAMPLES", {"ped_anova": 20, "fanova": 1})
    few = [{"params": {OTHER: n, **({CLIP: n} if n < 2 else {})}, "scores": [n / 20]} for n in range(12)]
    assert set(found(tmp_path / "r", few, space={})["path"]) == {CLIP, OTHER}


@pytest.mark.parametrize("ends", [(1e-300, 1e300), (0.0, 1e300), (1e-320, 1e-310)])
@pytest.mark.usefixtures("quick")
def test_ranges_are_as_wide_as_numbers_go(tmp_path, ends):
    kind = "float" if ends[0] == 0 or ends[1] < 1 else "log"
    space = {CLIP: {kind: list(ends)}, OTHER: {"float": [0, 1]}}
    trials = finished(16, lambda n, rng: {CLIP: ends[n % 2], OTHER: float(rng.random())}, lambda p: p[CLIP] == ends[1])
    frame = found(tmp_path / "r", trials, space=space)
    assert set(frame["path"]) == {CLIP, OTHER}
    assert np.isfinite(frame[["importance", "low", "high"]].to_numpy()).all()


@pytest.mark.usefixtures("quick")
def test_equal_trials_differ_by_their_numbers_alone(tmp_path):
    trials = [{"params": {CLIP: n % 2, OTHER: n // 4}, "scores": [0.5]} for n in range(8)]
    assert np.isfinite(found(tmp_path / "r", trials, space={})["importance"]).all()


@pytest.mark.usefixtures("quick")
def test_trials_on_other_data_are_not_compared(tmp_path):
    other = [{**trial, "environment": {"data_fingerprint": "b"}} for trial in searched_trials(12, seed=1)]
    known = [{**trial, "environment": {"data_fingerprint": "a"}} for trial in searched_trials(24, prune=False)]
    best = [{**known[0], "scores": [0.99]}, *known[1:]]
    mixed, alone = found(tmp_path / "mixed", [*best, *other]), found(tmp_path / "alone", best)
    assert mixed.equals(alone)
