"""Trials that no other beats."""

import itertools

import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from results_analysis.runs.run import load
from results_analysis.tables.pareto import pareto_front
from results_analysis.tables.results_table import results_table
from tests.results_analysis.runs.test_run import write_run
from trainables.core.vocabulary import Metric
from trainables.run_folder.layout import RunLayout

MIN, MAX = "min", "max"


def front(rows, *modes):
    names = [f"x{i}" for i in range(len(modes))]
    table = pd.DataFrame(rows, columns=names)
    return pareto_front(table, dict(zip(names, modes, strict=True))).index.tolist()


@pytest.mark.parametrize(
    ("rows", "modes", "kept"),
    [
        ([(1, 1), (2, 2), (3, 3)], (MIN, MIN), [0]),
        ([(1, 1), (2, 2), (3, 3)], (MAX, MIN), [0, 1, 2]),
        ([(1, 1), (1, 2), (2, 1)], (MIN, MIN), [0]),
        ([(0, 3), (1, 1), (3, 0), (2, 2)], (MIN, MIN), [0, 1, 2]),
        ([(5, 5), (5, 5)], (MAX, MAX), [0, 1]),
        ([(1, None), (2, 2), (None, 9)], (MAX, MAX), [1]),
        ([(0.5, 3, 1), (0.5, 3, 2), (0.4, 2, 9), (0.3, 2, 9)], (MAX, MIN, MIN), [0, 2]),
        ([(3,), (1,), (2,), (1,)], (MIN,), [1, 3]),
        ([], (MIN, MAX), []),
    ],
)
def test_a_row_stays_that_no_other_beats(rows, modes, kept):
    assert front(rows, *modes) == kept


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 4)), max_size=12))
def test_the_front_is_what_comparing_all_pairs_gives(rows):
    def beats(a, b):
        a, b = (a[0], -a[1], a[2]), (b[0], -b[1], b[2])
        return all(x <= y for x, y in zip(a, b, strict=True)) and a != b

    beaten = {j for (_, a), (j, b) in itertools.permutations(enumerate(rows), 2) if beats(a, b)}
    assert front(rows, MIN, MAX, MIN) == [n for n in range(len(rows)) if n not in beaten]


# --- of a search ----------------------------------------------------------------------------------------------------


def trial(score, seconds, status="finished", **objectives):
    return {"scores": [score], "status": status, "epoch": {"train_s": seconds}, "objectives": objectives}


def with_objectives(root, *names):
    layout = RunLayout(root)
    config = yaml.safe_load(layout.config.read_text())
    config["search"]["objectives"] = list(names)
    layout.config.write_text(yaml.safe_dump(config))
    return load(root)


def test_without_objectives_the_front_is_of_score_and_training_time(tmp_path):
    trials = [trial(0.5, 1.0), trial(0.9, 9.0), trial(0.4, 2.0), trial(0.8, 3.0), trial(0.7, 3.0)]
    table = results_table(load(write_run(tmp_path / "r", trials)), pareto=True)
    assert table["trial"].tolist() == [1, 3, 0]


def test_a_loss_is_best_low(tmp_path):
    trials = [trial(0.5, 1.0), trial(0.9, 9.0), trial(0.4, 2.0)]
    table = results_table(load(write_run(tmp_path / "r", trials, metric=Metric.VAL_LOSS)), pareto=True)
    assert table["trial"].tolist() == [2, 0]


def test_the_front_is_of_the_objectives_that_the_search_weighed(tmp_path):
    trials = [trial(0.5, 1.0, macs=10), trial(0.9, 9.0, macs=99), trial(0.4, 0.1, macs=20), trial(0.9, 0.1)]
    root = write_run(tmp_path / "r", trials)
    table = results_table(with_objectives(root, "score", "macs"), pareto=True)
    assert table["trial"].tolist() == [1, 0]
    assert table["macs"].tolist() == [99, 10]


@pytest.mark.parametrize(
    ("statuses", "kept"),
    [
        (("finished", "pruned", "failed"), [0]),
        (("pruned", "running", "failed"), [1, 0]),
        (("failed", "failed", "failed"), []),
    ],
)
def test_what_was_cut_off_is_in_the_front_only_where_nothing_finished(tmp_path, statuses, kept):
    trials = [trial(0.2 + 0.1 * n, 1.0 + n, status) for n, status in enumerate(statuses)]
    assert results_table(load(write_run(tmp_path / "r", trials)), pareto=True)["trial"].tolist() == kept


def test_objectives_that_no_trial_has_yet_give_an_empty_front(tmp_path):
    run = with_objectives(write_run(tmp_path / "r", [trial(0.5, 1.0)]), "score", "macs")
    assert results_table(run, pareto=True).empty
