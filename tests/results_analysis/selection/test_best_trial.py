"""Which trial a rule keeps, and why."""

import json

import pytest

from results_analysis.export.best_config import as_yaml, trial_config
from results_analysis.runs.run import RunError, load
from results_analysis.selection.best_trial import cheapest_within
from results_analysis.statistics.bootstrap import standard_error
from tests.results_analysis.runs.test_run import write_run
from trainables.core.vocabulary import Metric

CONFUSION = [[80, 20], [20, 80]]  # kappa 0.6, standard error about 0.057


def trial(score, seconds, confusion=None, **more):
    epoch = {"train_s": seconds} | ({"confusion": confusion} if confusion is not None else {})
    return {"scores": [score], "epoch": epoch, **more}


TRIALS = [
    trial(0.60, 90.0, CONFUSION),
    trial(0.58, 30.0),
    trial(0.55, 20.0),
    trial(0.40, 1.0),
    trial(0.59, 0.5, status="pruned"),
    trial(0.58, 30.0),
]


@pytest.fixture
def run(tmp_path):
    """Scores are kappa; that of the best is its matrix's."""
    return load(write_run(tmp_path / "digits", TRIALS))


def test_the_cheapest_finished_trial_within_one_standard_error_is_kept(run):
    error = standard_error(CONFUSION, Metric.KAPPA)
    assert 0.05 < error < 0.06
    choice = cheapest_within(run, "1se")
    assert choice.trial == 2
    assert choice.why == (
        f"the cheapest by train_s (20) of 4 finished trials within one standard error ({error:.4f}) of the best score 0.6000; "
        "the best, trial 0, costs 90"
    )


@pytest.mark.parametrize(
    ("within", "kept"),
    [("0.5se", 1), ("4se", 3), ("0", 0), ("0.02", 1), ("0.05", 2), (".2", 3), ("1", 3)],
)
def test_how_near_the_best_is_near_enough_is_said(run, within, kept):
    assert cheapest_within(run, within).trial == kept


def test_of_equal_costs_the_better_score_and_then_the_first_trial_is_kept(tmp_path):
    trials = [trial(0.5, 10.0), trial(0.6, 10.0), trial(0.6, 10.0)]
    assert cheapest_within(load(write_run(tmp_path / "r", trials)), "0.2").trial == 1


def test_the_best_itself_may_be_the_cheapest(run):
    ending = "of 1 finished trial within 0 of the best score 0.6000; it is also the best"
    assert cheapest_within(run, "0").why.endswith(ending)


def test_where_less_is_better_nearness_turns_round(tmp_path):
    trials = [trial(0.30, 90.0), trial(0.31, 10.0), trial(0.40, 1.0)]
    assert cheapest_within(load(write_run(tmp_path / "r", trials, metric=Metric.VAL_LOSS)), "0.02").trial == 1


def test_another_column_may_be_the_cost(run):
    assert cheapest_within(run, "0.05", cost="epochs").trial == 0
    with pytest.raises(RunError, match=r"cost: 'train' is not a numeric column; did you mean 'train_s'\?"):
        cheapest_within(run, "0.05", cost="train")
    with pytest.raises(RunError, match="cost: no trial within that distance has a value for auc"):
        cheapest_within(run, "0.05", cost="auc")


@pytest.mark.parametrize("within", ["se", "1 s", "-1", "x", "1se2", ""])
def test_what_is_no_distance_is_refused(run, within):
    with pytest.raises(RunError, match=r"give standard errors, as in 1se, or a difference of scores, as in 0\.01"):
        cheapest_within(run, within)


def test_an_error_that_reports_do_not_tell_is_said_to_be_missing(tmp_path):
    run = load(write_run(tmp_path / "a", [trial(0.5, 1.0)], metric=Metric.AUC))
    with pytest.raises(
        RunError, match=r"the standard error of auc cannot be computed .*; give a difference of scores instead"
    ):
        cheapest_within(run, "1se")
    assert cheapest_within(run, "0.1").trial == 0


def test_a_score_that_is_not_its_matrixs_has_no_standard_error(tmp_path):
    run = load(write_run(tmp_path / "a", [trial(0.5, 1.0, [])]))
    with pytest.raises(RunError, match="trial 0 has no confusion matrix that matches its score"):
        cheapest_within(run, "1se")


def test_without_a_finished_trial_there_is_nothing_to_choose(tmp_path):
    run = load(write_run(tmp_path / "a", [trial(0.5, 1.0, status="running"), trial(0.5, 1.0, status="failed")]))
    with pytest.raises(RunError, match="run 'a' has no finished trial with a score to choose from"):
        cheapest_within(run, "1se")


def test_why_a_trial_was_kept_stands_in_its_config(run):
    choice = cheapest_within(run, "1se")
    config = trial_config(run, trial=choice)
    assert config["provenance"]["trial"] == 2
    assert config["provenance"]["chosen"] == choice.why
    assert as_yaml(config).splitlines()[1] == f"# Chosen: {choice.why}."
    assert trial_config(run, trial=3)["provenance"]["chosen"] == "by hand"
    assert json.dumps(config)
