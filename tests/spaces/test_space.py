"""Spaces: from what a user writes to what a trial gets."""

import pickle
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
import yaml

import spaces
from spaces import FunctionSpace, Space, SpaceError, SpaceProblem, parse_space

KIND = {"choice": ["cross_entropy", "ldam", "focal"]}
MARGIN = {"float": [0.2, 0.8], "when": {"train.loss.kind": "ldam"}}
IMBALANCE = set(parse_space("imbalance").parameters)


def problems(data: object) -> list[tuple[tuple, str]]:
    with pytest.raises(SpaceError, match="space") as caught:
        parse_space(data)
    return [tuple(problem) for problem in caught.value.problems]


def draws(space: Space, count: int = 100) -> list[dict]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [space.suggest(study.ask()) for _ in range(count)]


# --- what a user may write ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "paths"),
    [
        ({"train.a": {"int": [1, 2]}}, {"train.a"}),
        ("ema", {"train.ema.decay"}),
        (["ema"], {"train.ema.decay"}),
        ({"preset": "ema"}, {"train.ema.decay"}),
        ({"preset": ["ema"], "train.a": {"int": [1, 2]}}, {"train.ema.decay", "train.a"}),
        (["ema", "imbalance"], {"train.ema.decay", *IMBALANCE}),
        ({"preset": [], "train.a": {"int": [1, 2]}}, {"train.a"}),
        ({"preset": ["imbalance", "ema"], "train.ema.decay": None}, IMBALANCE),
        ({"preset": "imbalance", "train.drw.start_fraction": None}, IMBALANCE - {"train.drw.start_fraction"}),
    ],
)
def test_a_space_searches_its_own_paths_and_its_presets(data: object, paths: set) -> None:
    assert set(parse_space(data).parameters) == paths


def test_an_own_path_replaces_the_presets() -> None:
    space = parse_space({"preset": "ema", "train.ema.decay": {"one_minus_log": [0.99, 0.999]}})
    assert space.parameters["train.ema.decay"].extremes() == (0.99, 0.999)


@pytest.mark.parametrize(
    ("losses", "left"),
    [
        (["cross_entropy", "ldam"], {"balance", "loss.max_margin", "loss.scale", "drw.start_fraction"}),
        (["focal", "balanced_softmax"], {"balance", "loss.gamma", "loss.tau"}),
        (["balanced_softmax"], {"loss.tau"}),
    ],
)
def test_narrowing_a_presets_choice_takes_what_depends_on_it_along(losses: list, left: set) -> None:
    space = parse_space({"preset": "imbalance", "train.loss.kind": {"choice": losses}})
    assert set(space.parameters) == {"train.loss.kind", *(f"train.{path}" for path in left)}
    for parameter in space.parameters.values():
        assert set(parameter.when.get("train.loss.kind", losses)) <= set(losses)
    assert parse_space(space.to_data()) == space


@pytest.mark.parametrize(
    "data",
    [
        "full",
        {"train.loss.max_margin": MARGIN, "train.loss.kind": KIND},
        {"preset": "imbalance", "train.loss.kind": {"choice": ["ldam"]}},
        {"train.a": {"choice": [None, True, 1.5, 2, "x"]}, "train.b": {"float": [0, 1], "step": 0.1}},
    ],
)
def test_the_resolved_space_survives_a_yaml_file(data: object) -> None:
    space = parse_space(data)
    again = parse_space(yaml.safe_load(yaml.safe_dump(space.to_data(), sort_keys=False)))
    assert again == space
    assert list(again.parameters) == list(space.parameters)
    assert [repr(parameter) for parameter in again.parameters.values()] == [
        repr(parameter) for parameter in space.parameters.values()
    ]


# --- mistakes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "place", "message"),
    [
        (None, (), "nothing is searched; give recipe paths and their distributions, or a preset"),
        ({}, (), "nothing is searched; give recipe paths and their distributions, or a preset"),
        ([], (), "nothing is searched; give recipe paths and their distributions, or a preset"),
        (
            {"preset": "ema", "train.ema.decay": None},
            (),
            "nothing is searched; give recipe paths and their distributions, or a preset",
        ),
        (5, (), "5: needs the name of a preset, or a list of them"),
        ("unfrezing", (), "unknown preset 'unfrezing'; did you mean 'unfreezing'?"),
        (
            ["ema", "zzz"],
            (1,),
            "unknown preset 'zzz'; valid: augment, ema, full, imbalance, mammography, progressive, thumbnails, unfreezing, volumes",
        ),
        ({"preset": "../ema"}, ("preset",), "unknown preset '../ema'; did you mean 'ema'?"),
        (
            {"preset": ["ema", 3]},
            ("preset", 1),
            "unknown preset 3; valid: augment, ema, full, imbalance, mammography, progressive, thumbnails, unfreezing, volumes",
        ),
        ({"preset": None}, ("preset",), "None: needs the name of a preset, or a list of them"),
        ({"presets": "ema"}, ("presets",), "unknown key; did you mean 'preset'?"),
        (
            {7: KIND},
            ("7",),
            "unknown key; valid: preset, python, a recipe path such as train.batch_size",
        ),
        ({"train.a": {"lgo": [1, 2]}}, ("train.a", "lgo"), "unknown kind 'lgo'; did you mean 'log'?"),
        (
            {"train.a": {"normal": [1, 2]}},
            ("train.a", "normal"),
            "unknown kind 'normal'; valid: float, log, one_minus_log, int, int_log, choice, when, step",
        ),
        (
            {"train.a": {"when": {}}},
            ("train.a",),
            "needs a distribution: one of float, log, one_minus_log, int, int_log, choice",
        ),
        (
            {"train.a": {"int": [1, 2], "log": [1, 2]}},
            ("train.a",),
            "has several distributions, int and log; keep one",
        ),
        (
            {"train.a": 5},
            ("train.a",),
            "5: needs a distribution such as {int: [2, 8]}; a fixed value belongs in the recipe",
        ),
        (
            {"preset": "ema", "train.ema.decy": None},
            ("train.ema.decy",),
            "null removes a path that a preset searches, but no preset searches this one; did you mean 'train.ema.decay'?",
        ),
        (
            {"preset": "imbalance", "train.balance": None, "train.loss.kind": None},
            ("train.loss.kind",),
            "the preset's train.loss.tau, train.loss.gamma, train.loss.max_margin, train.loss.scale, "
            "train.drw.start_fraction depend on it: remove them too, or narrow this instead",
        ),
    ],
)
def test_a_mistake_is_reported_with_its_place_and_what_would_be_right(data: object, place: tuple, message: str) -> None:
    assert problems(data) == [(place, message)]


WHEN_KIND = ("train.loss.max_margin", "when", "train.loss.kind")
NEVER = "is never exactly {}: it is choice of cross_entropy, ldam, focal"


@pytest.mark.parametrize(
    ("data", "place", "message"),
    [
        ({"train.loss.max_margin": MARGIN}, WHEN_KIND, "is not searched; valid: none"),
        (
            {"preset": "imbalance"} | dict.fromkeys(IMBALANCE) | {"train.loss.max_margin": MARGIN},
            WHEN_KIND,
            "is not searched; valid: none",
        ),
        (
            {"train.loss.kid": KIND, "train.loss.max_margin": MARGIN},
            WHEN_KIND,
            "is not searched; did you mean 'train.loss.kid'?",
        ),
        (
            {"train.loss.kind": KIND, "train.loss.max_margin": MARGIN | {"when": {"train.loss.kind": "lda"}}},
            WHEN_KIND,
            NEVER.format("'lda'"),
        ),
        (
            {"train.loss.kind": KIND, "train.loss.max_margin": MARGIN | {"when": {"train.loss.kind": ["ldam", 1]}}},
            WHEN_KIND,
            NEVER.format("1"),
        ),
        (
            {"train.lr": {"log": [0.1, 1]}, "train.a": {"int": [1, 2], "when": {"train.lr": 0.5}}},
            ("train.a", "when", "train.lr"),
            "is never exactly 0.5: it is log 0.1 … 1",
        ),
        (
            {"train.a": {"int": [1, 2], "when": {"train.a": 1}}},
            ("train.a", "when"),
            "the parameter depends on itself",
        ),
        (
            # b needs ldam, c needs b and focal.
            {
                "train.loss.kind": KIND,
                "train.b": {"int": [1, 2], "when": {"train.loss.kind": "ldam"}},
                "train.c": {"int": [1, 2], "when": {"train.b": 1, "train.loss.kind": ["focal"]}},
            },
            ("train.c", "when"),
            "these conditions never hold together",
        ),
        (
            # What it depends on leaves with the preset's other losses.
            {
                "preset": "imbalance",
                "train.loss.scale": {"choice": [10, 30]},
                "train.balance": {"choice": ["none", "sampler"], "when": {"train.loss.kind": "focal"}},
                "train.loss.kind": {"choice": ["ldam", "focal"]},
                "train.a": {"int": [1, 2], "when": {"train.balance": "none", "train.loss.kind": "ldam"}},
            },
            ("train.a", "when"),
            "these conditions never hold together",
        ),
    ],
)
def test_a_condition_that_cannot_hold_is_reported(data: dict, place: tuple, message: str) -> None:
    assert problems(data) == [(place, message)]


def test_every_parameter_of_a_circle_is_reported_and_no_other() -> None:
    data = {
        f"train.{path}": {"int": [1, 2], "when": {f"train.{parent}": 1}}
        for path, parent in [("a", "b"), ("b", "c"), ("c", "a"), ("behind", "a")]
    }
    assert [path for path, _ in problems(data)] == [(f"train.{path}", "when") for path in "abc"]


def test_all_mistakes_are_reported_at_once() -> None:
    data = {
        "preset": "ema",
        "trian": {},
        "train.a": {"lgo": [1, 2], "wehn": {}},
        "train.b": {"log": [0, "x"], "step": 2},
        "train.c": {"int": [1, 2], "when": {"train.a": 1, "train.d": 1, "train.ema.decay": 0.9}},
        "train.e": None,
    }
    assert [path for path, _ in problems(data)] == [
        ("trian",),
        ("train.a", "lgo"),
        ("train.a", "wehn"),
        ("train.b", "log", 0),
        ("train.b", "log", 1),
        ("train.b", "step"),
        ("train.e",),
        ("train.c", "when", "train.d"),  # not train.a: it is searched, however wrongly
        ("train.c", "when", "train.ema.decay"),
    ]


def test_a_misspelt_preset_hides_what_may_be_in_it() -> None:
    data = {"preset": "imbalence", "train.balance": None, "train.a": MARGIN, "train.b": {"lgo": [1, 2]}}
    assert [path for path, _ in problems(data)] == [("preset",), ("train.b", "lgo")]


def test_an_error_reads_well_and_crosses_process_borders() -> None:
    error = SpaceError([SpaceProblem(("train.a", "int", 0), "is wrong"), SpaceProblem((), "is empty")])
    assert str(error) == "space.train.a.int.0: is wrong\nspace: is empty"
    assert pickle.loads(pickle.dumps(error)).problems == error.problems


# --- what a trial gets ----------------------------------------------------------------------------------------------


def test_a_parameter_is_drawn_only_where_its_conditions_hold() -> None:
    space = parse_space(
        {
            "train.drw.start_fraction": {"float": [0.1, 0.5], "when": {"train.loss.max_margin": [0.2, 0.4]}},
            "train.loss.max_margin": {"choice": [0.2, 0.3, 0.4], "when": {"train.loss.kind": "ldam"}},
            "train.loss.kind": KIND,
            "train.both": {"int": [1, 2], "when": {"train.loss.kind": ["ldam", "focal"], "train.on": True}},
            "train.on": {"choice": [True, False]},
        }
    )
    trials = draws(space)
    for values in trials:
        ldam, margin = values["train.loss.kind"] == "ldam", values.get("train.loss.max_margin")
        assert (margin is not None) == ldam
        assert ("train.drw.start_fraction" in values) == (margin in {0.2, 0.4})
        assert ("train.both" in values) == (values["train.loss.kind"] in {"ldam", "focal"} and values["train.on"])
    assert {len(values) for values in trials} == {2, 3, 4, 5}


def test_parents_come_before_children_and_all_else_keeps_its_place() -> None:
    data = {
        "train.a": {"int": [1, 2]},
        "train.child": {"int": [1, 2], "when": {"train.b": 1, "train.parent": 1}},
        "train.b": {"int": [1, 2]},
        "train.parent": {"int": [1, 2], "when": {"train.grandparent": 1}},
        "train.c": {"int": [1, 2]},
        "train.grandparent": {"int": [1, 2]},
    }
    paths = [f"train.{name}" for name in ("a", "b", "grandparent", "parent", "child", "c")]
    assert list(parse_space(data).parameters) == paths


def test_a_recorded_trial_gets_its_values_again() -> None:
    """A search that was killed hands its unfinished trials out again."""
    space, study = parse_space("full"), optuna.create_study()
    values = [space.suggest(study.ask()) for _ in range(5)]
    again = [space.suggest(optuna.trial.Trial(study, frozen._trial_id)) for frozen in study.trials]
    assert again == values


# --- corner points --------------------------------------------------------------------------------------------------


def test_corner_points_show_each_extreme_once_with_all_else_at_its_first_value() -> None:
    space = parse_space({"train.a": {"int": [1, 9]}, "train.b": {"choice": ["x", "y", "z"]}})
    assert list(space.corner_points()) == [
        {"train.a": 1, "train.b": "x"},
        {"train.a": 9, "train.b": "x"},
        {"train.a": 1, "train.b": "y"},
        {"train.a": 1, "train.b": "z"},
    ]


def test_corner_points_hold_the_conditions_of_what_they_show() -> None:
    space = parse_space(
        {
            "train.kind": {"choice": ["a", "b", "c"]},
            "train.n": {"int": [1, 5], "when": {"train.kind": ["b", "c"]}},
            "train.x": {"float": [0, 1], "when": {"train.n": 3, "train.kind": ["a", "c"]}},
        }
    )
    assert list(space.corner_points()) == [
        {"train.kind": "a"},
        {"train.kind": "b", "train.n": 1},
        {"train.kind": "c", "train.n": 1},
        {"train.kind": "b", "train.n": 5},
        {"train.kind": "c", "train.n": 3, "train.x": 0.0},
        {"train.kind": "c", "train.n": 3, "train.x": 1.0},
    ]


@pytest.mark.parametrize("preset", spaces.preset_names())
def test_corner_points_show_every_extreme_of_a_preset(preset: str) -> None:
    space = parse_space(preset)
    shown = {(path, value) for point in space.corner_points() for path, value in point.items()}
    wanted = {(path, value) for path, parameter in space.parameters.items() for value in parameter.extremes()}
    assert shown == wanted


# --- functions ------------------------------------------------------------------------------------------------------

MODULE = """
def suggest(trial):
    return {"train.batch_size": 2 ** trial.suggest_int("log2 batch size", 4, 7)}

def empty(trial):
    return {}

def listed(trial):
    return ["train.batch_size"]

def numbered(trial):
    return {1: 2}

not_a_function = 3
"""


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_space.py").write_text(MODULE)
    (tmp_path / "broken_space.py").write_text("import optuna.nothing_such")
    (tmp_path / "raising_space.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_space", raising=False)


@pytest.mark.usefixtures("user_module")
def test_a_function_is_a_space() -> None:
    space = parse_space({"python": "my_space:suggest"})
    assert isinstance(space, FunctionSpace)
    assert {values["train.batch_size"] for values in draws(space)} == {16, 32, 64, 128}
    assert parse_space(space.to_data()) == space
    assert list(space.corner_points()) == []


@pytest.mark.usefixtures("user_module")
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            {"python": "my_space:suggest", "train.a": KIND, "preset": "ema"},
            [
                (("train.a",), "cannot be combined with python, whose function defines the whole space"),
                (("preset",), "cannot be combined with python, whose function defines the whole space"),
            ],
        ),
        ({"python": "my_space"}, [(("python",), "'my_space': needs module:function")]),
        ({"python": ":suggest"}, [(("python",), "':suggest': needs module:function")]),
        ({"python": 3}, [(("python",), "3: needs module:function")]),
        (
            {"python": "no_such_space:suggest"},
            [
                (
                    ("python",),
                    "cannot import no_such_space: ModuleNotFoundError: No module named 'no_such_space'; "
                    "is its folder on PYTHONPATH?",
                )
            ],
        ),
        (
            {"python": "raising_space:suggest"},
            [(("python",), "cannot import raising_space: ZeroDivisionError: division by zero")],
        ),
        ({"python": "my_space:sugest"}, [(("python",), "my_space has no 'sugest'; did you mean 'suggest'?")]),
        (
            {"python": "my_space:not_a_function"},
            [(("python",), "my_space:not_a_function is not a function but 3")],
        ),
    ],
)
def test_a_function_that_cannot_be_used_is_reported(data: dict, expected: list) -> None:
    assert problems(data) == expected


@pytest.mark.usefixtures("user_module")
@pytest.mark.parametrize("function", ["empty", "listed", "numbered"])
def test_a_function_must_return_paths_and_values(function: str) -> None:
    space = parse_space({"python": f"my_space:{function}"})
    with pytest.raises(SpaceError, match=f"my_space:{function} returned .*; it must return recipe paths"):
        draws(space)


# --- the room -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import spaces", ["optuna", "pydantic", "yaml", "torch", "ray", "trainables"]),
        ("import spaces; spaces.parse_space('full')", ["optuna", "torch", "ray", "trainables"]),
    ],
)
def test_the_room_is_cheap_to_import(statement: str, absent: list) -> None:
    check = f"{statement}; import sys; print([name for name in {absent!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_room_offers_its_names_and_no_others() -> None:
    assert all(getattr(spaces, name) is not None for name in spaces.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'Spaec'"):
        _ = spaces.Spaec
