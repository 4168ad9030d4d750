"""What a searcher finds in the folder that a killed driver left, and goes on with."""

import pytest

from search.tuning.study import end_stopped_at_rungs
from tests.support import driven_search
from tests.support.driven_search import Search, result, write_epochs
from trainables.core.vocabulary import TrialStatus
from trainables.run_folder.trial_record import TrialRecord

make_config, search = driven_search.make_config, driven_search.search  # fixtures


def test_interrupted_trials_are_handed_out_first_with_the_values_they_had(search):
    before = [search.suggest(trial_id) for trial_id in "abc"]
    started = search.record(0).started
    search.run("b", [0.5])
    search.searcher.on_trial_result("c", result(1, 0.25))
    search.take_up()
    again = [search.suggest(trial_id) for trial_id in "xyz"]
    assert [assignment["number"] for assignment in again] == [0, 2, 3]
    assert [assignment["recipe"] for assignment in again[:2]] == [before[0]["recipe"], before[2]["recipe"]]
    assert {assignment["attempt"] for assignment in again} == {2}
    assert search.record(0).started == started
    assert search.suggest("w") == "FINISHED"
    for trial_id in "xyz":
        search.run(trial_id, [0.25, 0.75])
    assert search.states == ["COMPLETE"] * 4
    assert search.trials[2].intermediate_values == {1: 0.25, 2: 0.75}


def test_trials_that_ran_when_the_last_was_handed_out_come_back(search):
    for trial_id in "abcd":
        search.suggest(trial_id)
    search.run("a", [0.5])
    search.take_up()
    assert [search.suggest(trial_id)["number"] for trial_id in "xyz"] == [1, 2, 3]
    assert search.suggest("w") == "FINISHED"


def test_a_kill_does_not_change_the_limit_of_trials_at_once(tmp_path, make_config):
    search = Search(tmp_path / "run", make_config(max_concurrent=1))
    search.suggest("a")
    search.take_up()
    assert search.suggest("x")["number"] == 0
    assert search.suggest("y") is None


def test_a_trial_cut_off_before_its_values_were_drawn_gets_those_it_would_have_had(tmp_path, make_config):
    whole, cut = Search(tmp_path / "whole", make_config()), Search(tmp_path / "cut", make_config())
    cut.study.ask()  # killed here
    cut.take_up()
    assert cut.suggest("a")["recipe"] == whole.suggest("a")["recipe"]


@pytest.mark.parametrize(
    ("status", "reason", "state", "value"),
    [
        (TrialStatus.FINISHED, None, "COMPLETE", 0.75),
        (TrialStatus.PRUNED, "not among the best", "PRUNED", 0.75),  # Optuna's: the last intermediate value
        (TrialStatus.FAILED, "RuntimeError: x", "FAIL", None),
        (TrialStatus.RUNNING, None, "RUNNING", None),
    ],
)
def test_an_end_that_was_recorded_but_not_told_is_told_later(search, status, reason, state, value):
    search.suggest("a")
    search.searcher.on_trial_result("a", result(1, 0.75))
    folder = search.layout.trial(0)
    write_epochs(folder, [0.75, 0.75])
    search.record(0).model_copy(update={"status": status, "reason": reason, "objectives": {"score": 0.75}}).write(
        folder
    )
    search.take_up()
    (trial,) = search.trials
    assert (trial.state.name, trial.value) == (state, value)
    if state != "RUNNING":
        assert trial.intermediate_values == {1: 0.75, 2: 0.75}  # the second was on disk only
    assert search.suggest("x")["number"] == (0 if state == "RUNNING" else 1)


@pytest.mark.parametrize(
    ("scores", "stopped", "state", "reason"),
    [
        ([0.25, 0.5], {0: 2}, "PRUNED", "0.5 at epoch 2 was not among the best there"),
        ([0.25, None], {0: 2}, "PRUNED", "no score at epoch 2 was not among the best there"),
        ([0.25, 0.5, 0.75], {0: 2}, "RUNNING", None),  # it went on: trials of one moment have no order on disk
        ([0.25, 0.5], {1: 2}, "RUNNING", None),
        ([], {0: 2}, "RUNNING", None),
    ],
)
def test_a_trial_that_had_failed_at_its_rung_is_not_taken_up_again(search, scores, stopped, state, reason):
    search.suggest("a")
    write_epochs(search.layout.trial(0), scores)
    end_stopped_at_rungs(search.study, search.layout, search.config, stopped)
    assert (search.states, search.record(0).reason) == ([state], reason)
    if state == "PRUNED":
        assert search.trials[0].intermediate_values == {n: s for n, s in enumerate(scores, start=1) if s is not None}


def test_epochs_whose_results_died_with_the_driver_are_told_from_disk(search):
    search.suggest("a")
    search.searcher.on_trial_result("a", result(1, 0.25))
    write_epochs(search.layout.trial(0), [0.25, None, 0.5])
    search.take_up()
    search.suggest("x")
    search.searcher.on_trial_result("x", result(4, 0.75))
    assert search.trials[0].intermediate_values == {1: 0.25, 3: 0.5, 4: 0.75}


def test_a_trial_that_was_asked_for_but_never_recorded_goes_on(search):
    search.study.ask()
    search.take_up()
    assert search.states == ["RUNNING"]
    assert search.suggest("a")["number"] == 0
    assert isinstance(search.record(0), TrialRecord)
