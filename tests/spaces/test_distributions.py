"""Distributions: what they accept, draw, take and say."""

import pickle
import warnings

import optuna
import pytest
from pydantic import ValidationError

from spaces.distributions import KINDS, Distribution
from spaces.parser import parse_space

PATH = "train.x"


def distribution(data: dict) -> Distribution:
    return parse_space({PATH: data}).parameters[PATH]


def draws(data: dict, count: int = 300) -> list[tuple[object, dict]]:
    """Values of `count` trials, each with what the study recorded for it."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    parameter = distribution(data)
    return [(parameter.suggest(trial, PATH), trial.params) for trial in (study.ask() for _ in range(count))]


@pytest.mark.parametrize(
    ("data", "kind", "low", "high"),
    [
        ({"float": [0.1, 0.5]}, float, 0.1, 0.5),
        ({"float": [-2, -1]}, float, -2, -1),
        ({"log": [1e-4, 1e-1]}, float, 1e-4, 1e-1),
        ({"one_minus_log": [0.9, 0.9999]}, float, 0.9, 0.9999),
        ({"one_minus_log": [0.1, 0.3]}, float, 0.1, 0.3),
        ({"one_minus_log": [0.5, 0.999999999999]}, float, 0.5, 0.999999999999),
        ({"int": [2, 8]}, int, 2, 8),
        ({"int_log": [16, 128]}, int, 16, 128),
    ],
)
def test_values_have_their_type_and_stay_between_the_bounds(data: dict, kind: type, low: float, high: float) -> None:
    values = [value for value, _ in draws(data)]
    assert {type(value) for value in values} == {kind}
    assert low <= min(values) < max(values) <= high
    assert distribution(data).extremes() == (low, high)


@pytest.mark.parametrize(
    ("data", "grid"),
    [
        ({"float": [0.1, 0.5], "step": 0.2}, [0.1, 0.3, 0.5]),
        ({"float": [0.1, 0.4], "step": 0.1}, [0.1, 0.2, 0.3, 0.4]),  # 0.4 - 0.1 is no multiple of 0.1 in binary
        ({"int": [16, 48], "step": 16}, [16, 32, 48]),
        ({"int": [2, 4]}, [2, 3, 4]),
    ],
)
def test_a_grid_is_drawn_completely_and_without_a_warning(data: dict, grid: list) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = {value for value, _ in draws(data)}
    assert sorted(values) == pytest.approx(grid)


@pytest.mark.parametrize("choices", [[None, "ldam", True, 3, 0.5], ["only"]])
def test_choices_keep_their_types(choices: list) -> None:
    values = [value for value, _ in draws({"choice": choices})]
    assert {repr(value) for value in values} == {repr(choice) for choice in choices}
    assert distribution({"choice": choices}).extremes() == tuple(choices)


@pytest.mark.parametrize(
    ("data", "middle"),
    [
        ({"float": [0.0, 1.0]}, 0.5),
        ({"log": [1e-4, 1.0]}, 1e-2),
        ({"one_minus_log": [0.9, 0.9999]}, 1 - 10**-2.5),
        ({"int": [0, 100]}, 50),
        ({"int_log": [1, 10_000]}, 100),
    ],
)
def test_half_of_the_draws_lie_below_the_middle_of_the_scale(data: dict, middle: float) -> None:
    below = sum(value < middle for value, _ in draws(data, 400))
    assert 160 < below < 240


def test_a_decay_is_recorded_as_its_distance_from_one() -> None:
    value, recorded = draws({"one_minus_log": [0.9, 0.9999]}, 1)[0]
    assert recorded == {f"1 - {PATH}": pytest.approx(1 - value)}


def test_the_recorded_range_of_a_decay_has_no_rounding_noise() -> None:
    trial = optuna.create_study().ask()
    distribution({"one_minus_log": [0.9, 0.9999]}).suggest(trial, PATH)
    recorded = trial.distributions[f"1 - {PATH}"]
    assert (recorded.low, recorded.high, recorded.log) == (0.0001, 0.1, True)


@pytest.mark.parametrize(("low", "high"), [(0.1, 0.3), (0.9, 0.9999)])
def test_a_decay_at_its_bounds_is_the_bound_as_written(low: float, high: float) -> None:
    """Not 0.09999999999999998, which is 1 - 0.9 and below the bound."""
    parameter = distribution({"one_minus_log": [low, high]})
    trials = [optuna.trial.FixedTrial({f"1 - {PATH}": round(1 - bound, 12)}) for bound in (low, high)]
    assert [parameter.suggest(trial, PATH) for trial in trials] == [low, high]


@pytest.mark.parametrize("data", [{"float": [0, 1]}, {"log": [1, 2]}, {"int": [1, 2]}, {"choice": ["a", "b"]}])
def test_all_others_are_recorded_under_their_path(data: dict) -> None:
    value, recorded = draws(data, 1)[0]
    assert recorded == {PATH: value}


@pytest.mark.parametrize(
    ("data", "place", "message"),
    [
        ({"int": [8, 2]}, ("int",), r"\[8, 2\]: the first number must be below the second"),
        ({"float": [0.5, 0.5]}, ("float",), "must be below the second"),
        ({"int": [2]}, ("int",), r"\[2\]: needs two numbers, \[low, high\]"),
        ({"log": 5}, ("log",), r"5: needs two numbers"),
        ({"int": [True, 8]}, ("int",), "needs two numbers"),
        ({"int": [2, 2.5]}, ("int", 1), r"2\.5: input should be a valid integer"),
        ({"float": ["a", 1]}, ("float", 0), "'a': input should be a valid number"),
        ({"float": [0, float("inf")]}, ("float", 1), "inf: input should be a finite number"),
        ({"log": [0, 1]}, ("log", 0), "0: input should be greater than 0"),
        ({"int_log": [0, 4]}, ("int_log", 0), "greater than or equal to 1"),
        ({"one_minus_log": [0, 0.9]}, ("one_minus_log", 0), "greater than 0"),
        ({"one_minus_log": [0.9, 1]}, ("one_minus_log", 1), "less than 1"),
        (
            {"float": [0, 1], "step": 0.3},
            ("step",),
            r"0\.3: the range from 0\.0 to 1\.0 is not a multiple of this step",
        ),
        ({"int": [2, 8], "step": 4}, ("step",), "4: the range from 2 to 8 is not a multiple"),
        ({"float": [0, 1], "step": 0}, ("step",), "greater than 0"),
        ({"log": [1, 2], "step": 1}, ("step",), "unknown key; valid: when, log"),
        ({"choice": []}, ("choice",), r"\[\]: needs a list of at least one value"),
        ({"choice": "ldam"}, ("choice",), "'ldam': needs a list"),
        ({"choice": ["a", "b", "a"]}, ("choice",), "'a' is listed twice"),
        ({"choice": [1, True]}, ("choice",), "True is listed twice"),
        ({"choice": [[1]]}, ("choice",), r"\[1\] is neither a finite number, nor text, true, false or null"),
        ({"choice": [None, {"decay": 0.9}]}, ("choice",), "to choose between sections or lists, give each a name"),
        ({"choice": {}}, ("choice",), "needs at least one value"),
        ({"choice": {1: None, "on": {}}}, ("choice",), "1: a name of a value is text; put it in quotes"),
        ({"choice": [float("nan")]}, ("choice",), "nan is neither a finite number"),
        ({"int": [2, 8], "wen": {}}, ("wen",), "unknown key; did you mean 'when'?"),
        ({"int": [2, 8], "when": 3}, ("when",), "3: input should be a valid dictionary"),
        ({"int": [2, 8], "when": {"train.y": []}}, ("when", "train.y"), "needs a list of at least one value"),
        ({"int": [2, 8], "when": {"train.y": [1, 1]}}, ("when", "train.y"), "1 is listed twice"),
    ],
)
def test_a_wrong_distribution_is_refused_with_its_place_and_reason(data: dict, place: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        distribution(data)
    assert (PATH, *place) in [problem.path for problem in caught.value.problems]


def test_numbers_that_yaml_reads_as_text_are_numbers() -> None:
    """YAML 1.1 reads `1e-4` as text, for want of a dot."""
    assert distribution({"log": ["1e-4", 0.1]}).extremes() == (1e-4, 0.1)


@pytest.mark.parametrize(
    ("data", "taken", "never"),
    [
        ({"choice": ["a", None, 2]}, ["a", None, 2], ["b", 3]),
        ({"int": [2, 8]}, [2, 5, 8], [1, 9, 2.0, "2", True]),
        ({"int": [2, 8], "step": 3}, [2, 5, 8], [3]),
        ({"int_log": [1, 8]}, [1, 3, 8], [0, 9, True]),
        ({"float": [0, 1]}, [], [0, 0.5]),
        ({"log": [1, 2]}, [], [1]),
        ({"one_minus_log": [0.1, 0.5]}, [], [0.1]),
    ],
)
def test_conditions_can_rest_on_countable_values_only(data: dict, taken: list, never: list) -> None:
    parameter = distribution(data)
    assert [value for value in [*taken, *never] if parameter.can_draw(value)] == taken


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"log": [1e-4, 0.1]}, "log 0.0001 … 0.1"),
        ({"one_minus_log": [0.9, 0.99999999]}, "one_minus_log 0.9 … 0.99999999"),
        ({"float": [0, 1], "step": 0.25}, "float 0 … 1 in steps of 0.25"),
        ({"int": [2, 8]}, "int 2 … 8"),
        ({"int_log": [16, 128]}, "int_log 16 … 128"),
        ({"choice": ["cross_entropy", None]}, "choice of cross_entropy, None"),
    ],
)
def test_a_distribution_describes_itself(data: dict, text: str) -> None:
    assert distribution(data).describe() == text


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_the_key_that_holds_its_values(kind: str) -> None:
    """So that the class chosen by a key reads that key, and an editor's schema knows it."""
    schema = KINDS[kind].model_json_schema(by_alias=True)
    assert schema["required"] == [kind]
    forms = schema["properties"][kind]
    assert "array" in {form["type"] for form in forms.get("anyOf", [forms])}
    assert schema["properties"][kind]["description"]


def test_a_distribution_is_frozen_and_crosses_process_borders() -> None:
    parameter = distribution({"int": [2, 8]})
    with pytest.raises(ValidationError, match="frozen"):
        parameter.step = 2
    assert pickle.loads(pickle.dumps(parameter)) == parameter
