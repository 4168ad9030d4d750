"""Several runs in one table."""

import pytest
from rich.console import Console

from results_analysis.runs.run import RunError, load_all
from results_analysis.tables.results_table import results_table
from results_analysis.tables.terminal_table import render
from tests.results_analysis.runs.test_run import write_run
from trainables.core.vocabulary import Metric

A = [{"scores": [0.2, 0.6], "params": {"train.x": 1}}, {"status": "failed", "reason": "bad"}]
B = [{"scores": [0.7], "params": {"train.y": "k"}}]


@pytest.fixture
def both(tmp_path):
    return load_all([write_run(tmp_path / "a", A), write_run(tmp_path / "b", B)])


@pytest.fixture
def unlike(tmp_path):
    places = [write_run(tmp_path / "a", A), write_run(tmp_path / "b", B, metric=Metric.VAL_LOSS)]
    return load_all(places)


def keys(table):
    return table[["run", "trial"]].to_numpy().tolist()


def test_trials_of_all_stand_by_score_with_their_run_and_the_values_of_each(both):
    table = results_table(both)
    assert keys(table) == [["b", 0], ["a", 0], ["a", 1]]
    assert list(table.columns)[:2] == ["run", "trial"]
    assert table["train.x"].isna().tolist() == [True, False, True]
    assert table["train.y"].isna().tolist() == [False, True, True]


def test_frames_of_epochs_have_the_run_first(both):
    assert both.curves(["score"]).to_numpy().tolist() == [["a", 0, 1, 0.2], ["a", 0, 2, 0.6], ["b", 0, 1, 0.7]]
    assert keys(both.epochs()) == [["a", 0], ["a", 0], ["b", 0]]
    assert both.per_class()[["run", "trial", "epoch", "class", "recall"]].to_numpy().tolist() == [
        ["a", 0, 2, 0, 0.5],
        ["a", 0, 2, 1, 1.0],
        ["b", 0, 1, 0, 0.5],
        ["b", 0, 1, 1, 1.0],
    ]


def test_runs_that_score_alike_have_one_metric_and_one_best(both):
    assert both.metric is Metric.KAPPA
    console = Console(width=100)
    with console.capture() as capture:
        console.print(render(results_table(both), both.metric))
    (best,) = (line for line in capture.get().splitlines() if "★" in line)
    assert best.split()[:3] == ["b", "★", "0"]
    assert "trial a/1 failed: bad" in capture.get()


@pytest.mark.parametrize("choice", [{"sort": "score"}, {"sort": "-score"}, {"pareto": True}])
def test_scores_of_different_metrics_are_not_compared(unlike, choice):
    with pytest.raises(RunError, match=r"score means kappa in 'a' and val_loss in 'b'; .* --sort val_loss$"):
        results_table(unlike, **choice)


def test_runs_that_score_differently_stand_by_run_or_by_what_they_share(unlike):
    assert unlike.metric is None
    assert keys(results_table(unlike)) == [["a", 0], ["a", 1], ["b", 0]]
    assert keys(results_table(unlike, sort="val_loss")) == [["b", 0], ["a", 0], ["a", 1]]
    console = Console(width=100)
    with console.capture() as capture:
        console.print(render(results_table(unlike), unlike.metric))
    assert "★" not in capture.get()
    assert "score: each run's own metric" in capture.get()


def test_runs_of_one_name_are_told_apart_by_their_folders(tmp_path):
    places = [write_run(tmp_path / "x" / "a", A), write_run(tmp_path / "y" / "a", B)]
    assert [*load_all(places).runs] == [str(place) for place in places]


def test_a_run_that_is_named_twice_or_none_at_all_is_refused(tmp_path):
    place = write_run(tmp_path / "a", A)
    with pytest.raises(RunError, match="a run is given twice"):
        load_all([place, place / ".." / "a"])
    with pytest.raises(RunError, match="no runs to load"):
        load_all([])


def test_several_runs_without_trials_are_an_empty_table_with_its_columns(tmp_path):
    table = results_table(load_all([write_run(tmp_path / "a"), write_run(tmp_path / "b")]))
    assert table.empty
    assert list(table.columns)[:3] == ["run", "trial", "status"]
