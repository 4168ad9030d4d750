"""Searched values on their scales: positions, ticks, and what a config or the trials tell of them."""

import math

import pandas as pd
import pytest

from results_analysis.tables.search_ranges import Searched, searched_values, value_in
from tests.support.searched_runs import CONFIG


def scale(kind, low=0.0, high=1.0, **changes):
    return Searched("train.x", "x", kind, low, high, **changes)


@pytest.mark.parametrize(
    ("value", "of", "expected"),
    [
        (0.25, scale("linear"), 0.25),
        (0.01, scale("log", 0.001, 0.1), 0.5),
        (0.99, scale("one_minus_log", 0.9, 0.999), 0.5),
        ("b", scale("choice", choices=("a", "b", "c")), 0.5),
        (True, scale("choice", choices=(1, True)), 1.0),
        ("z", scale("choice", choices=("a", "b")), math.nan),
        (None, scale("linear"), math.nan),
    ],
)
def test_a_values_share_of_its_range_is_taken_on_its_scale(value, of, expected):
    (share,) = of.shares(pd.Series([value], dtype="object"))
    assert share == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("of", "texts"),
    [
        (scale("linear", 0.2, 0.8), ["0.2", "0.4", "0.6", "0.8"]),
        (scale("linear", 1, 4, whole=True), ["1", "2", "3", "4"]),
        (scale("log", 0.03, 0.3), ["0.05", "0.1", "0.2"]),
        (scale("log", 1e-4, 1e-1), ["0.0001", "0.001", "0.01", "0.1"]),
        (scale("one_minus_log", 0.9, 0.999), ["0.9", "0.98", "0.99", "0.998", "0.999"]),
        (scale("choice", choices=("a", None)), ["a", "None"]),
        (scale("log", 0.11, 0.14), ["0.11", "0.14"]),
        (scale("log", 16, 128, whole=True), ["20", "50", "100"]),
        (scale("log", 0.1, 10), ["0.1", "0.2", "1", "2", "10"]),
    ],
)
def test_an_axis_has_round_numbers_and_its_bounds_where_there_are_none(of, texts):
    places, said = of.ticks()
    assert sorted(said) == sorted(texts)
    low, high = of.ends
    assert all(low - 1e-6 <= place <= high + 1e-6 for place in places)


def searched(space, **columns):
    return searched_values(space, pd.DataFrame(columns), list(columns))


def test_the_config_tells_scales_and_bounds():
    values = searched(CONFIG["space"], **{path: [None] for path in CONFIG["space"]})
    assert [(v.name, v.scale, v.whole) for v in values] == [
        ("head_lr", "log", False),
        ("loss.kind", "choice", False),
        ("loss.max_margin", "linear", False),
        ("plateau.patience", "linear", True),
        ("ema.decay", "one_minus_log", False),
    ]
    assert (values[0].low, values[0].high) == (0.001, 0.1)
    assert values[1].choices == ("cross_entropy", "ldam")


@pytest.mark.parametrize(
    ("drawn", "kind", "low", "high", "whole"),
    [
        ([0.2, 0.7], "linear", 0.2, 0.7, False),
        ([1e-4, 1e-1], "log", 1e-4, 1e-1, False),
        ([1, 5, 3], "linear", 1, 5, True),
        ([-1.0, 1e3], "linear", -1.0, 1e3, False),
    ],
)
def test_of_a_function_the_trials_tell(drawn, kind, low, high, whole):
    (value,) = searched({"python": "m:f"}, **{"train.x": drawn})
    assert (value.scale, value.low, value.high, value.whole, value.bounded) == (kind, low, high, whole, False)


def test_words_and_truths_are_choices():
    assert searched("m:f", **{"train.x": ["a", "b", "a"]})[0].choices == ("a", "b")
    assert searched("m:f", **{"train.x": [True, False]})[0].scale == "choice"


def test_values_of_before_a_change_of_the_bounds_widen_them():
    (value,) = searched({"train.x": {"float": [0, 1]}}, **{"train.x": [0.5, 3.0]})
    assert (value.low, value.high) == (0, 3)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("train.stages[*].head_lr", 0.01),
        ("train.stages[-1].epochs", 4),
        ("train.stages[head].epochs", 2),
        ("train.stages[*].epochs", None),  # not the same in both
        ("train.loss.kind", "ldam"),
        ("train.nothing.there", None),
        ("train.stages[7].epochs", None),
    ],
)
def test_the_files_own_value_stands_at_its_path(path, value):
    assert value_in(CONFIG, path) == value
