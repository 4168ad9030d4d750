"""What those do otherwise that go on from others, and the recipes that say so."""

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search.tuning.pbt_children import changing_paths, child_recipe, explored
from spaces import parse_space
from trainables.core.config_errors import ConfigError
from trainables.core.seeding import random_state

HEAD_LR, SECOND_LR = "train.stages[*].head_lr", "train.stages[1].head_lr"


@pytest.mark.parametrize(
    ("space", "train", "stage", "changing"),
    [
        pytest.param({HEAD_LR: {"log": [0.001, 0.1]}}, {}, 0, [HEAD_LR], id="a learning rate"),
        pytest.param({HEAD_LR: {"log": [0.001, 0.1]}}, {}, 1, [HEAD_LR], id="of all stages, in the last one"),
        pytest.param({"train.stages[0].head_lr": {"log": [0.001, 0.1]}}, {}, 1, [], id="of a stage that is over"),
        pytest.param({SECOND_LR: {"log": [0.001, 0.1]}}, {}, 1, [SECOND_LR], id="of the stage that goes on"),
        pytest.param({"train.stages[head].dropout": {"float": [0, 0.5]}}, {}, 1, [], id="of a stage by name"),
        pytest.param({"train.batch_size": {"int": [8, 16]}}, {}, 0, [], id="what a run cannot change"),
        pytest.param({"train.ema.decay": {"float": [0.9, 0.99]}}, {}, 0, [], id="of what this run does not have"),
        pytest.param({"train.ema.decay": {"float": [0.9, 0.99]}}, {"ema": {"decay": 0.9}}, 0, ["train.ema.decay"], id="ema"),
        pytest.param({"train.clip_norm": {"choice": [1.0]}}, {}, 0, [], id="a single choice"),
        pytest.param({"train.clip_norm": {"choice": [1.0, None]}}, {}, 0, ["train.clip_norm"], id="a choice"),
        pytest.param(
            {"train.clip_norm": {"choice": [1.0, None]}, "train.batch_size": {"int": [8, 16], "when": {"train.clip_norm": 1.0}}},
            {}, 0, [], id="what others depend on",
        ),
    ],
)  # fmt: skip
def test_what_can_change_on_the_way_and_still_counts(make_recipe, space, train, stage, changing):
    parsed = parse_space(space)
    values = next(iter(parsed.corner_points()))
    assert changing_paths(parsed, values, make_recipe(**train), stage=stage) == changing


def test_a_value_that_the_trial_does_not_have_cannot_change(make_recipe):
    conditional = {"float": [0.5, 4.0], "when": {"train.loss.kind": "focal"}}
    space = parse_space({"train.loss.kind": {"choice": ["cross_entropy", "focal"]}, "train.loss.gamma": conditional})
    focal = {"train.loss.kind": "focal", "train.loss.gamma": 2.0}
    assert changing_paths(space, focal, make_recipe(loss={"kind": "focal"})) == ["train.loss.gamma"]
    assert changing_paths(space, {"train.loss.kind": "cross_entropy"}, make_recipe()) == []


# --- values -----------------------------------------------------------------------------------------------------------

FLOAT, LOG = FloatDistribution(0.1, 1.0), FloatDistribution(1e-4, 1.0, log=True)
STEPPED, INT = FloatDistribution(0.0, 1.0, step=0.1), IntDistribution(1, 20)
CHOICE = CategoricalDistribution(["a", "b", "c"])


def children(params, distributions, changing=None, resample=0.0, count=60):
    names = set(params) if changing is None else changing
    return [
        explored(params, distributions, changing=names, resample=resample, random=random_state(0, "child", number))
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("distribution", "value", "values"),
    [
        pytest.param(FLOAT, 0.5, {0.4, 0.6}, id="a factor"),
        pytest.param(LOG, 0.01, {0.008, 0.012}, id="of a logarithmic one"),
        pytest.param(STEPPED, 0.5, {0.4, 0.6}, id="to the nearest step"),
        pytest.param(STEPPED, 0.1, {0.0, 0.2}, id="a step at least"),
        pytest.param(INT, 10, {8, 12}, id="a whole number"),
        pytest.param(INT, 2, {1, 3}, id="one at least"),
    ],
)
def test_a_number_is_multiplied(distribution, value, values):
    found = {child["x"] for child in children({"x": value}, {"x": distribution})}
    assert sorted(found) == pytest.approx(sorted(values))
    assert {type(one) for one in found} == {type(value)}


@pytest.mark.parametrize(
    ("distribution", "value"),
    [(FLOAT, 1.0), (FLOAT, 0.1), (FloatDistribution(0.0, 1.0), 0.0), (INT, 20), (INT, 1), (CHOICE, "b")],
)
def test_a_child_is_no_copy_and_stays_within_the_bounds(distribution, value):
    for resample in (0.0, 0.25, 1.0):
        for child in children({"x": value}, {"x": distribution}, resample=resample):
            assert child["x"] != value
            assert distribution._contains(distribution.to_internal_repr(child["x"]))


def test_choices_stay_where_something_else_changes_and_nothing_is_drawn_anew():
    params, distributions = {"c": "b", "x": 0.5}, {"c": CHOICE, "x": FLOAT}
    assert {child["c"] for child in children(params, distributions)} == {"b"}
    assert {child["c"] for child in children(params, distributions, resample=1.0)} == {"a", "b", "c"}


def test_what_cannot_change_stays():
    params, distributions = {"c": "b", "x": 0.5, "n": 7}, {"c": CHOICE, "x": FLOAT, "n": INT}
    for child in children(params, distributions, changing={"x"}, resample=0.5):
        assert child == {**params, "x": child["x"]}


def test_values_are_drawn_anew_with_the_probability_of_resample():
    anew = [child["x"] not in {0.4, 0.6} for child in children({"x": 0.5}, {"x": FLOAT}, resample=0.25, count=400)]
    assert 0.18 < sum(anew) / len(anew) < 0.32


# --- recipes ----------------------------------------------------------------------------------------------------------


def changes(recipe):
    return [(change.after_epoch, change.set) for change in recipe.train.changes]


def test_a_child_of_a_child_has_both_changes(make_recipe):
    child = child_recipe(make_recipe(), 1, {HEAD_LR: 0.1})
    grandchild = child_recipe(child, 3, {HEAD_LR: 0.2})
    assert changes(grandchild) == [(1, {HEAD_LR: 0.1}), (3, {HEAD_LR: 0.2})]
    assert [grandchild.in_epoch(epoch).train.stages[1].head_lr for epoch in (1, 2, 3, 4)] == [0.05, 0.1, 0.1, 0.2]
    assert grandchild.in_epoch(3) == child.in_epoch(3)


def test_a_change_joins_those_that_the_file_itself_makes(make_recipe):
    own = [
        {"after_epoch": 3, "set": {"train.clip_norm": 1.0, HEAD_LR: 0.3}},
        {"after_epoch": 1, "set": {HEAD_LR: 0.01}},
    ]
    child = child_recipe(make_recipe(changes=sorted(own, key=lambda change: change["after_epoch"])), 3, {HEAD_LR: 0.2})
    assert changes(child) == [(1, {HEAD_LR: 0.01}), (3, {"train.clip_norm": 1.0, HEAD_LR: 0.2})]


def test_values_that_do_not_go_together_are_a_mistake(make_recipe):
    with pytest.raises(ConfigError, match="head_lr"):
        child_recipe(make_recipe(), 1, {HEAD_LR: -1.0})
