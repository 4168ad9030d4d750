"""The searcher as Ray calls it, on a real study: what the study and the trials' records say afterwards."""

import contextlib
import json
import math
import pickle
import sqlite3

import optuna
import pytest
from optuna.trial import TrialState

from search.config.search_config import SearchConfig
from search.tuning.study import report_recorded_ends
from search.tuning.study_searcher import StudySearcher
from search.tuning.study_storage import open_study
from spaces import FunctionSpace, parse_space
from tests.support import driven_search
from tests.support.driven_search import SPACE, Search, result, write_epochs
from trainables.core.vocabulary import TrialStatus
from trainables.recipe.recipe import parse_recipe
from trainables.run_folder.layout import RunLayout

make_config, search = driven_search.make_config, driven_search.search  # fixtures


# --- how a trial ends -----------------------------------------------------------------------------------------------


def test_a_trials_end_is_recorded_with_its_epochs_in_short_and_anew_when_it_was_taken_up_again(search):
    search.suggest("a")
    write_epochs(search.layout.trial(0), [0.25])
    assert search.record(0).summary is None
    search.take_up()
    search.suggest("a")
    write_epochs(search.layout.trial(0), [0.25, 0.5])
    search.run("a", [0.25, 0.5])
    summary = search.record(0).summary
    assert (summary.score, summary.epochs, summary.train_s) == (0.5, 2, 2.0)


def test_damaged_epochs_end_a_trial_without_a_summary(search):
    search.suggest("a")
    search.layout.trial(0).epochs.write_text("{}\n{}\n")
    search.run("a", [0.25])
    assert (search.record(0).status.value, search.record(0).summary) == ("finished", None)


def test_a_trial_is_told_where_to_run_and_with_what(search):
    assignment = search.suggest("a")
    params = search.record(0).params
    assert assignment == {
        "run": str(search.layout.root),
        "number": 0,
        "attempt": 1,
        "trials": search.config.settings.trials,
        "rungs": {"unit": "epochs", "positions": ()},
        "objectives": ["score"],
        "reads_test": False,
        "parent": None,
        "recipe": search.config.recipe_of(params).model_dump_json(),
    }
    assert parse_recipe(json.loads(assignment["recipe"])) == search.config.recipe_of(params)
    assert set(params) <= set(SPACE)
    assert search.record(0).status is TrialStatus.RUNNING


def test_a_trial_that_came_to_its_own_end_is_complete_with_its_best_score(search):
    search.suggest("a")
    search.run("a", [0.5, 0.7, 0.7])
    (trial,) = search.trials
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 0.7)
    assert trial.intermediate_values == {1: 0.5, 2: 0.7, 3: 0.7}
    record = search.record(0)
    assert (record.status, record.reason) == (TrialStatus.FINISHED, None)
    assert record.started <= record.ended


def test_a_trial_that_was_stopped_is_pruned_with_its_curve(search):
    search.suggest("a")
    search.run("a", [0.5, 0.625], finished=False)
    (trial,) = search.trials
    assert trial.state is TrialState.PRUNED
    assert trial.intermediate_values == {1: 0.5, 2: 0.625}
    record = search.record(0)
    assert (record.status, record.reason) == (TrialStatus.PRUNED, "0.625 at epoch 2 was not among the best there")


@pytest.mark.parametrize("flag", ["nan", "collapse"])
def test_a_trial_that_ended_itself_for_a_flag_is_no_success(search, flag):
    search.suggest("a")
    search.run("a", [0.5, 0.625], stopped_for=flag)
    (trial,) = search.trials
    assert (trial.state, trial.intermediate_values) == (TrialState.PRUNED, {1: 0.5, 2: 0.625})
    assert (search.record(0).status, search.record(0).reason) == (TrialStatus.PRUNED, f"stopped for {flag} in epoch 2")
    with pytest.raises(ValueError, match="No trials are completed yet"):
        _ = search.study.best_trial


def test_an_end_for_a_flag_that_was_recorded_but_not_told_is_told_later(search):
    search.suggest("a")
    write_epochs(search.layout.trial(0), [0.5, 0.625])
    record = search.record(0)
    record.model_copy(update={"status": TrialStatus.PRUNED, "reason": "stopped for gap in epoch 2"}).write(
        search.layout.trial(0)
    )
    report_recorded_ends(search.study, search.layout, search.config)
    assert (search.trials[0].state, search.trials[0].intermediate_values) == (TrialState.PRUNED, {1: 0.5, 2: 0.625})


@pytest.mark.parametrize(
    ("traceback", "reason"),
    [
        (
            "Traceback (most recent call last):\n  ...\nRuntimeError: CUDA out of memory\n",
            "RuntimeError: CUDA out of memory",
        ),
        ("", "its worker died"),
        (None, "its worker died"),
    ],
)
def test_a_trial_that_failed_says_why(search, traceback, reason):
    search.suggest("a")
    search.searcher.on_trial_result("a", result(1, 0.5))
    if traceback is not None:
        search.layout.trial(0).error.write_text(traceback)
    search.searcher.on_trial_complete("a", error=True)
    assert search.trials[0].state is TrialState.FAIL
    assert (search.record(0).status, search.record(0).reason) == (TrialStatus.FAILED, reason)


def test_a_trial_that_is_given_up_failed_for_what_it_failed_of(search):
    search.suggest("a")
    search.layout.trial(0).error.write_text("Traceback\nValueError: no (twice in the same way: not tried again)\n")
    search.searcher.on_trial_complete("a", {**result(0, None), "given_up": "…"})
    assert search.states == ["FAIL"]
    assert search.record(0).reason == "ValueError: no (twice in the same way: not tried again)"
    assert search.suggest("b")["number"] == 1


def test_a_trial_whose_storage_refused_is_taken_up_again(search):
    search.suggest("a")
    with pytest.raises(OSError, match="No space left"):
        search.searcher.on_trial_complete("a", {**result(0, None), "refused": "[Errno 28] No space left on device"})
    assert search.states == ["RUNNING"]
    search.take_up()
    assert search.suggest("b")["number"] == 0


@pytest.mark.parametrize(("metric", "worst"), [("balanced_accuracy", -math.inf), ("val_loss", math.inf)])
def test_a_trial_without_a_score_is_no_result_but_teaches_the_sampler_if_a_flag_ended_it(
    tmp_path, make_config, metric, worst
):
    search = Search(tmp_path / "run", make_config(metric))
    search.suggest("a")
    search.run("a", [worst, worst], stopped_for="nan")
    search.suggest("b")
    search.run("b", [worst, worst])
    assert search.states == ["PRUNED", "FAIL"]
    assert search.record(0).reason == "stopped for nan in epoch 2: no epoch had a score"
    assert search.record(1).reason == "no epoch had a score: training diverged"


def test_a_trial_may_have_no_score_at_first(search):
    search.suggest("a")
    search.run("a", [-math.inf, 0.5])
    assert (search.trials[0].state, search.trials[0].value) == (TrialState.COMPLETE, 0.5)


@pytest.mark.parametrize("finished", [True, False])
def test_an_epoch_done_again_after_a_crash_is_told_once(search, finished, recwarn):
    search.suggest("a")
    for epoch, score in [(1, 0.5), (2, 0.6), (2, 0.61), (1, 0.4)]:
        search.searcher.on_trial_result("a", result(epoch, score))
    search.run("a", [0.5, 0.6, 0.65], finished=finished)
    assert search.trials[0].intermediate_values == {1: 0.5, 2: 0.6, 3: 0.65}
    assert [str(warning.message) for warning in recwarn if "already reported" in str(warning.message)] == []


def test_an_end_is_told_once(search):
    search.suggest("a")
    search.run("a", [0.5])
    search.searcher.on_trial_complete("a", result(1, 0.9, finished=True))
    search.searcher.on_trial_complete("never seen", error=True)
    assert [trial.value for trial in search.trials] == [0.5]


def test_a_loss_is_minimised(tmp_path, make_config):
    search = Search(tmp_path / "run", make_config("val_loss"))
    assert search.study.direction is optuna.study.StudyDirection.MINIMIZE
    assert (search.searcher.metric, search.searcher.mode) == ("best_score", "min")
    for trial_id, scores in (("a", [2.0, 1.5]), ("b", [0.9, 0.8]), ("c", [1.0])):
        search.suggest(trial_id)
        search.run(trial_id, scores)
    assert search.study.best_value == 0.8


# --- how many -------------------------------------------------------------------------------------------------------


def test_as_many_trials_are_handed_out_as_were_asked_for(search):
    assert [search.suggest(str(i))["number"] for i in range(4)] == [0, 1, 2, 3]
    assert search.suggest("e") == "FINISHED"
    search.run("0", [0.5])
    assert search.suggest("e") == "FINISHED"
    assert len(search.trials) == 4


def test_no_more_run_at_once_than_is_allowed(tmp_path, make_config):
    search = Search(tmp_path / "run", make_config(max_concurrent=2))
    search.suggest("a")
    search.suggest("b")
    assert search.suggest("c") is None
    search.run("a", [0.5])
    assert search.suggest("c")["number"] == 2
    search.searcher.on_trial_complete("b", error=True)
    assert search.suggest("d")["number"] == 3
    assert search.suggest("e") is None  # not FINISHED yet: two are running


def test_nobody_is_proposed_before_there_is_room(tmp_path, make_config):
    search, slots = Search(tmp_path / "run", make_config(trials=5)), 2
    search.searcher = StudySearcher(search.config, search.layout, search.study, attempt=1, slots=lambda: slots)
    assert [search.suggest(trial_id) is None for trial_id in "abc"] == [False, False, True]
    search.run("a", [0.5])
    assert [search.suggest(trial_id) is None for trial_id in "de"] == [False, True]
    slots = 3
    assert search.suggest("f")["number"] == 3


def test_another_seed_proposes_other_points(tmp_path, make_config):
    searches = [Search(tmp_path / str(seed), make_config(seed=seed)) for seed in (0, 1)]
    assert len({json.dumps(search.suggest("a")["recipe"]) for search in searches}) == 2


# --- points that cannot be trained ----------------------------------------------------------------------------------


def run_to_the_end(search, *, most=50):
    """Asks as Ray does, again and again."""
    for i in range(most):
        assignment = search.suggest(str(i))
        if assignment == "FINISHED":
            return
        if assignment is not None:
            search.run(str(i), [0.5])
    raise AssertionError("the search does not end")


def test_a_point_that_is_no_valid_recipe_is_a_failed_trial_and_the_search_goes_on(tmp_path, make_config):
    config = make_config(trials=12)
    space = parse_space({"train.batch_size": {"choice": [16, -1]}})
    search = Search(tmp_path / "run", SearchConfig("small", config.recipe, space, config.settings))
    run_to_the_end(search)
    assert len(search.trials) == 12
    assert set(search.states) == {"COMPLETE", "FAIL"}
    for number, state in enumerate(search.states):
        record = search.record(number)
        assert (record.params["train.batch_size"] == -1) == (state == "FAIL")
        if state == "FAIL":
            assert record.status is TrialStatus.FAILED
            assert record.reason == "not trained: train.batch_size: -1: input should be at least 1"


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda trial: {}["x"], "not trained: space.python: mine:f raised KeyError: 'x'"),
        (lambda trial: None, "not trained: space.python: mine:f returned None"),
        (lambda trial: {"train.stages[9].epochs": 1}, "not trained: train.stages has no item [9]"),
    ],
    ids=["raises", "returns nothing", "leads nowhere"],
)
def test_a_function_that_fails_late_costs_its_trial_only(tmp_path, make_config, function, reason):
    config = make_config(trials=3)

    def fails_once(trial):
        return function(trial) if trial.number == 1 else {"train.batch_size": trial.suggest_int("batch", 8, 64)}

    space = FunctionSpace(python="mine:f", function=fails_once)
    search = Search(tmp_path / "run", SearchConfig("small", config.recipe, space, config.settings))
    run_to_the_end(search)
    assert search.states == ["COMPLETE", "FAIL", "COMPLETE"]
    assert search.record(1).reason.startswith(reason)


# --- towards Ray ----------------------------------------------------------------------------------------------------


def test_ray_may_pickle_a_searcher_but_not_restore_one(search):
    assert vars(pickle.loads(pickle.dumps(search.searcher))) == {}
    search.searcher.save("nowhere")
    with pytest.raises(NotImplementedError, match="resumed by `thaw resume`, not by Ray"):
        search.searcher.restore("nowhere")


def test_the_study_is_named_and_opened_again(tmp_path, make_config):
    layout, config = RunLayout(tmp_path), make_config()
    first = open_study(layout, config)
    first.ask()
    assert first.study_name == config.name
    assert len(open_study(layout, config).get_trials()) == 1
    assert first.direction is optuna.study.StudyDirection.MAXIMIZE


def test_a_database_that_takes_nothing_any_more_stops_the_search_and_no_trial_is_told_as_failed(tmp_path, make_config):
    search = Search(tmp_path / "run", make_config(storage="sqlite"))
    search.suggest("a")
    with contextlib.closing(sqlite3.connect(search.layout.study_database)) as database:
        database.execute("drop table trial_intermediate_values")
    said = "search.storage: the database can no longer be written: no such table"
    with pytest.raises(OSError, match=said):
        search.searcher.on_trial_result("a", result(1, 0.5))
    for _ in range(2):  # Ray hears it for a trial's failure first
        with pytest.raises(OSError, match=said):
            search.searcher.on_trial_complete("a", result(2, 0.75))
    assert search.record(0).status == "running"
