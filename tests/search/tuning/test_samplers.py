"""Samplers on a real study: what they propose, and for which spaces. `test_every_sampler.py` has what holds for all."""

import json
from functools import partial

import pytest

from search.config.yaml_source import InputError
from search.tuning.samplers import qmc_point
from tests.support.driven_search import Search
from tests.support.sampled_searches import (
    CHOICES,
    CONDITIONAL,
    COUNTABLE,
    EXAMPLES,
    NUMBERS,
    load_space,
    proposals,
    score_of,
)

FUNCTION = """
def drawn(trial):
    values = {"train.batch_size": trial.suggest_int("images", 8, 64)}
    if trial.suggest_categorical("margins", [False, True]):
        values |= {"train.loss.kind": "ldam", "train.loss.max_margin": trial.suggest_float("width", 0.2, 0.8)}
    return values


def numbers(trial):
    return {"train.batch_size": trial.suggest_int("images", 8, 64)}
"""


@pytest.fixture
def load(tmp_path):
    """`load(space, **search)`: a search file, read."""
    return partial(load_space, tmp_path)


@pytest.mark.parametrize("kind", ["cma_es", "nsga2", "grid", "qmc"])
def test_trials_side_by_side_are_proposed_alike_after_a_kill_too(tmp_path, load, kind):
    settings, space = EXAMPLES[kind]
    config = load(space, trials=20, sampler={"kind": kind, **settings})
    whole = proposals(tmp_path / "whole", config, at_once=3)
    assert proposals(tmp_path / "cut", config, at_once=3, killed_every=4) == whole


@pytest.mark.parametrize("kind", ["tpe", "cma_es", "nsga2"])
def test_proposals_come_to_lie_where_scores_are_good(tmp_path, load, kind):
    settings, _ = EXAMPLES[kind]
    config = load(NUMBERS, trials=40, sampler={"kind": kind, **settings})
    points = proposals(tmp_path / "run", config)
    early, late = (sum(map(score_of, part)) / len(part) for part in (points[:10], points[-10:]))
    assert late > early + 0.05


def test_the_study_of_cma_es_holds_no_pickles(tmp_path, load):
    config = load(NUMBERS, trials=12, sampler={"kind": "cma_es", "population": 4})
    proposals(tmp_path / "run", config)
    search = Search(tmp_path / "run", config)
    assert [trial.system_attrs for trial in search.trials] == [{}] * 12
    assert sorted({trial.user_attrs["cma_es:generation"] for trial in search.trials}) == [0, 1, 2]


def test_cma_es_ranks_what_was_pruned_below_what_was_not(tmp_path, load):
    config = load(NUMBERS, trials=40, sampler={"kind": "cma_es", "population": 4})
    search = Search(tmp_path / "run", config)
    for number in range(40):
        search.suggest(str(number))
        images = search.record(number).params["train.batch_size"]
        search.run(str(number), [0.9 if images > 36 else 0.1], finished=images <= 36)
    late = [search.record(number).params["train.batch_size"] for number in range(30, 40)]
    assert sum(late) / 10 < 34


# --- points that are not learnt -------------------------------------------------------------------------------------


def test_a_grid_has_each_point_once_conditions_included(tmp_path, load):
    config = load(COUNTABLE, trials=20, sampler={"kind": "grid"})
    points = proposals(tmp_path / "run", config)
    sizes, margins = (16, 32, 48, 64), (0.2, 0.4, 0.6, 0.8)
    plain = [{"train.loss.kind": "cross_entropy", "train.batch_size": size} for size in sizes]
    ldam = [
        {"train.loss.kind": "ldam", "train.loss.max_margin": margin, "train.batch_size": size}
        for margin in margins
        for size in sizes
    ]
    as_text = [json.dumps(point, sort_keys=True) for point in points]
    assert sorted(as_text) == sorted(json.dumps(point, sort_keys=True) for point in plain + ldam)
    assert as_text != sorted(as_text)


@pytest.mark.parametrize("sequence", ["sobol", "halton"])
def test_quasi_random_points_lie_evenly(load, sequence):
    config = load(CONDITIONAL)
    distributions = config.space.distributions()
    points = [qmc_point(distributions, number, sequence=sequence, seed=3) for number in range(32)]
    kinds = [point["train.loss.kind"] for point in points]
    assert 14 <= kinds.count("ldam") <= 18
    eighths = [int((point["train.batch_size"] - 8) / 57 * 8) for point in points]
    assert all(2 <= eighths.count(eighth) <= 6 for eighth in range(8))
    assert points[:2] != [qmc_point(distributions, number, sequence=sequence, seed=4) for number in range(2)]


# --- functions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tpe", "qmc", "random", "nsga2"])
def test_a_function_of_the_users_is_searched_whatever_the_sampler(tmp_path, load, own_module, kind):
    config = load({"python": f"{own_module(FUNCTION)}:drawn"}, trials=16, sampler={"kind": kind, **EXAMPLES[kind][0]})
    points = proposals(tmp_path / "run", config)
    assert {point.get("train.loss.kind") for point in points} == {None, "ldam"}
    assert all(("train.loss.max_margin" in point) == ("train.loss.kind" in point) for point in points)


@pytest.mark.parametrize("kind", ["gp", "cma_es"])
def test_a_function_without_conditions_suits_samplers_that_model_all_parameters(tmp_path, load, own_module, kind):
    config = load({"python": f"{own_module(FUNCTION)}:numbers"}, sampler={"kind": kind, **EXAMPLES[kind][0]})
    assert len(proposals(tmp_path / "run", config)) == 12


# --- what does not go together --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("space", "search", "message"),
    [
        (
            CONDITIONAL,
            {"sampler": {"kind": "gp"}},
            "search.sampler.kind: gp models the same parameters in all trials, and train.loss.max_margin is drawn only in some",
        ),
        (
            CONDITIONAL,
            {"sampler": {"kind": "cma_es"}},
            "search.sampler.kind: cma_es models the same parameters in all trials",
        ),
        (CHOICES, {"sampler": {"kind": "cma_es"}}, "cma_es proposes numbers, and this space has only choices"),
        (
            NUMBERS,
            {"sampler": {"kind": "grid"}, "trials": 4},
            r"space.train.ema.decay: one_minus_log 0.9 … 0.999: the grid needs a finite number of values; give {choice",
        ),
        (
            COUNTABLE,
            {"sampler": {"kind": "grid"}, "trials": 21},
            "search.trials: 21: the grid has 20 points, each tried once; give at most 20",
        ),
        (
            {"train.seed": {"int": [0, 200_000]}},
            {"sampler": {"kind": "grid"}},
            "search.sampler.kind: the grid has more than 100,000 points; use random or qmc",
        ),
        (
            NUMBERS,
            {"sampler": {"kind": "cma_es"}, "objectives": ["score", "macs"]},
            r"search.sampler.kind: cma_es optimizes one objective, and there are 2 \(score, macs\); use nsga2 or tpe",
        ),
        (NUMBERS, {"objectives": ["macs"]}, "search.objectives: 'macs': the first must be score"),
        (
            NUMBERS,
            {"objectives": ["score", "macs", "macs"]},
            "search.objectives: score, macs, macs: one of them is listed twice",
        ),
        (
            NUMBERS,
            {"objectives": ["score", "mac"]},
            r"search.objectives\[1\]: 'mac' is not an objective .*; did you mean 'macs'",
        ),
        (NUMBERS, {"objectives": ["score", "r2"]}, r"search.objectives\[1\]: 'r2' is not a metric of classification"),
        (
            NUMBERS,
            {"objectives": ["score", "balanced_accuracy"]},
            r"'balanced_accuracy' is train.metric, which is the score already",
        ),
        (NUMBERS, {"constraints": {"r2": {"min": 0}}}, "search.constraints.r2: is not a metric of classification"),
        (NUMBERS, {"constraints": {"macs": {}}}, "search.constraints.macs: needs min, max or both"),
        (NUMBERS, {"constraints": {"macs": {"min": 2, "max": 1}}}, "min 2 is above max 1: no trial can satisfy both"),
        (NUMBERS, {"constraints": {"mac": {"max": 1}}}, "'mac' is not an objective or a metric; did you mean"),
        (
            NUMBERS,
            {"warm_start": ["old"], "sampler": {"kind": "random"}},
            "search.warm_start: random does not learn from earlier runs; use tpe, gp or nsga2",
        ),
    ],
)
def test_what_does_not_go_together_is_said_before_anything_starts(load, space, search, message):
    with pytest.raises(InputError, match=message):
        load(space, **search)


@pytest.mark.parametrize(
    ("function", "search", "message"),
    [
        ("drawn", {"sampler": {"kind": "gp"}}, "some values are drawn only in some; use tpe"),
        ("drawn", {"sampler": {"kind": "grid"}}, "those of the function .*drawn are unknown; use tpe or random"),
        ("drawn", {"warm_start": ["old"]}, "is a function, whose values cannot be found in earlier trials"),
        ("drawn", {"enqueue": ["defaults"]}, "is a function, whose values have no paths in a recipe; give the values"),
        ("numbers", {"enqueue": [{"images": 100}]}, "100 of the parameter 'images' is out of the range"),
        ("numbers", {"enqueue": [{"batch": 10}]}, "The value of the parameter 'images' is not found"),
        ("numbers", {"enqueue": [{"images": 10, "x": 1}]}, r"search.enqueue\[0\].x: is not suggested by the function"),
    ],
)
def test_what_a_function_cannot_be_asked_for_is_said(load, own_module, function, search, message):
    with pytest.raises(InputError, match=message):
        load({"python": f"{own_module(FUNCTION)}:{function}"}, **search)
