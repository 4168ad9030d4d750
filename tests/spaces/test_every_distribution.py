"""Contract of distributions, for each in `KINDS`. A new kind needs an example below and is tested with it."""

import math
from typing import get_args

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution

from results_analysis.runs.columns import NULL
from results_analysis.tables import scales
from results_analysis.tables.search_ranges import searched_values
from search.progress.tensorboard_events import _domain
from spaces.distributions import KINDS, Distribution, Scale
from spaces.parser import parse_space

PATH = "train.x"
EXAMPLES = {
    "float": [{"float": [0.1, 0.5]}, {"float": [0.1, 0.5], "step": 0.1}],
    "log": [{"log": [1e-4, 1e-1]}],
    "one_minus_log": [{"one_minus_log": [0.9, 0.999]}],
    "int": [{"int": [2, 9]}, {"int": [2, 8], "step": 3}],
    "int_log": [{"int_log": [16, 128]}],
    "choice": [{"choice": ["a", 2, None, True]}, {"choice": [0.5]}, {"choice": {"off": None, "on": {"decay": 0.99}}}],
}
each_example = pytest.mark.parametrize("data", [data for kind in KINDS for data in EXAMPLES.get(kind, [None])], ids=str)


@pytest.fixture
def parameter(data):
    return parse_space({PATH: data}).parameters[PATH]


@pytest.fixture
def drawn(parameter):
    """200 values, each with the trial that drew it."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trials = [study.ask() for _ in range(200)]
    return [(parameter.suggest(trial, PATH), trial) for trial in trials]


def concrete(kind):
    children = kind.__subclasses__()
    return {kind} if not children else set().union(*map(concrete, children))


def test_every_distribution_is_declared_and_has_an_example():
    assert set(KINDS.values()) == concrete(Distribution)
    assert EXAMPLES.keys() == KINDS.keys()


def test_results_know_the_scale_of_every_kind():
    assert {kind: declared.scale for kind, declared in scales.KINDS.items()} == {k: d.scale for k, d in KINDS.items()}
    assert set(get_args(Scale)) == {*scales.SCALES, "choice"}


@each_example
def test_it_is_read_from_the_data_it_writes(parameter):
    assert parse_space({PATH: parameter.to_data()}).parameters[PATH] == parameter
    assert parameter.describe().startswith(parameter.kind)


@each_example
def test_it_draws_what_it_contains_and_the_study_can_be_given_the_same_value(parameter, drawn):
    name = parameter.parameter(PATH)
    for value, trial in drawn:
        assert parameter.contains(value)
        given = optuna.trial.FixedTrial({name: parameter.as_parameter(value)})
        assert parameter.suggest(given, PATH) == (pytest.approx(value) if isinstance(value, float) else value)
        assert list(trial.params) == [name]
    assert all(parameter.contains(value) for value in parameter.extremes())
    assert not parameter.contains("not in any example")


@each_example
def test_its_grid_is_all_that_it_draws(parameter, drawn):
    values = {value for value, _ in drawn}
    if parameter.grid() is None:
        assert len(values) > 20
    else:
        grid = list(parameter.grid())
        assert all(
            value in grid or value == pytest.approx(min(grid, key=lambda at: abs(at - value))) for value in values
        )
        assert all(map(parameter.contains, grid))
        assert len(grid) == len(set(map(repr, grid)))
        assert {grid[0], grid[-1]} <= set(parameter.extremes())


@each_example
def test_its_values_are_spread_evenly_on_its_scale(parameter, drawn, data):
    (distribution,) = drawn[0][1].distributions.values()
    assert isinstance(distribution, CategoricalDistribution) == (parameter.scale == "choice")
    if parameter.scale == "choice":
        return
    whole = isinstance(distribution, IntDistribution)
    assert scales.KINDS[parameter.kind].whole == whole == all(isinstance(value, int) for value, _ in drawn)
    scale = scales.SCALES[parameter.scale]
    ends = scale.positions(np.array(parameter.extremes()))
    places = scale.positions(np.array([value for value, _ in drawn]))
    shares = (places - ends[0]) / (ends[1] - ends[0])
    assert abs(shares.mean() - 0.5) < 0.1
    assert [scale.value_at(at) for at in ends] == pytest.approx(parameter.extremes())


@each_example
def test_results_show_it_on_its_scale(parameter, drawn, data):
    values = [NULL if value is None else value for value, _ in drawn]  # as tables have them
    (value,) = searched_values({PATH: data}, pd.DataFrame({PATH: values}), [PATH])
    assert (value.scale, value.bounded) == (parameter.scale, True)
    assert all(0 <= share <= 1 for share in value.shares(pd.Series(values, dtype="object")))
    places, texts = value.ticks()
    assert len(places) == len(texts) >= (1 if parameter.scale == "choice" else 2)
    assert all(math.isfinite(place) for place in places)


@each_example
def test_tensorboard_has_a_domain_for_values_of_one_type(parameter):
    kinds = {type(value) for value in parameter.extremes()}
    assert (_domain(parameter) is not None) == (len(kinds) == 1)
