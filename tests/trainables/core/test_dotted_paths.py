"""Dotted paths: which places they stand for, and what becomes of the data when values are put there."""

import contextlib
import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.core.dotted_paths import PathError, resolve, value_at, with_values

DATA = {
    "train": {
        "batch_size": 32,
        "loss": {"kind": "ldam", "scale": 30.0},
        "ema": None,
        "stages": [{"name": "head", "lr": 1}, {"name": "top", "lr": 2}, {"name": "deep"}],
    }
}


@pytest.mark.parametrize(
    ("path", "places"),
    [
        ("train", [("train",)]),
        ("train.batch_size", [("train", "batch_size")]),
        ("train.stages[0].lr", [("train", "stages", 0, "lr")]),
        ("train.stages[-1].lr", [("train", "stages", 2, "lr")]),
        ("train.stages[-3].lr", [("train", "stages", 0, "lr")]),
        ("train.stages[top].lr", [("train", "stages", 1, "lr")]),
        ("train.stages[*].lr", [("train", "stages", i, "lr") for i in range(3)]),
        ("train.stages[1]", [("train", "stages", 1)]),
        ("train.ema.decay", [("train", "ema", "decay")]),
        ("model.weights", [("model", "weights")]),
        ("a-b._c.d1", [("a-b", "_c", "d1")]),
    ],
)
def test_a_path_stands_for_its_places(path, places):
    assert resolve(path, DATA) == places


@pytest.mark.parametrize(
    "path", ["", ".", ".train", "train.", "train..loss", "train.a b", "[0].lr", "1", "train.1", "a[]"]
)
def test_what_is_no_path_is_refused_with_an_example(path):
    with pytest.raises(PathError, match=r"is not a path; a path looks like train\.stages\[0\]\.head_lr"):
        resolve(path, DATA)


@pytest.mark.parametrize("path", ["train.stages[0]lr", "train.stages[0", "train.stages]0[", "train.stages[[0]]"])
def test_brackets_belong_in_their_places(path):
    with pytest.raises(PathError, match="is not a path"):
        resolve(path, DATA)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("train.stages[3].lr", r"^train\.stages has no item \[3\]; it has 3 items$"),
        ("train.stages[-4].lr", r"^train\.stages has no item \[-4\]; it has 3 items$"),
        ("train.stages[tpo].lr", r"^train\.stages has no item named 'tpo' \(head, top, deep\)$"),
        ("train.loss[0]", r"^train\.loss is not a list, so it has no \[0\]$"),
        ("train.nothing[0]", r"^train\.nothing is not a list, so it has no \[0\]$"),
        ("train.batch_size.x", r"^train\.batch_size has no keys, so it has no 'x'$"),
        ("train.stages.lr", r"^train\.stages has no keys, so it has no 'lr'$"),
    ],
)
def test_a_path_that_leads_nowhere_says_where_it_ends(path, message):
    with pytest.raises(PathError, match=message):
        with_values(DATA, {path: 1})


@pytest.mark.parametrize(
    ("data", "values", "changed"),
    [
        pytest.param({"a": 1}, {"a": 2}, {"a": 2}, id="replaced"),
        pytest.param({"a": 1}, {"b": 2}, {"a": 1, "b": 2}, id="added"),
        pytest.param({}, {"a.b.c": 1}, {"a": {"b": {"c": 1}}}, id="mappings that are missing are made"),
        pytest.param({"a": None}, {"a.b": 1}, {"a": {"b": 1}}, id="null becomes a mapping"),
        pytest.param({"a": {"b": 1}}, {"a": None}, {"a": None}, id="a mapping becomes null"),
        pytest.param({"a": [{"b": 1}, {}]}, {"a[*].b": 2}, {"a": [{"b": 2}, {"b": 2}]}, id="all items"),
        pytest.param({"a": [{"b": None}]}, {"a[0].b.c": 2}, {"a": [{"b": {"c": 2}}]}, id="a mapping made in an item"),
        pytest.param({"a": [1, 2]}, {"a[-1]": 3}, {"a": [1, 3]}, id="the last item"),
        pytest.param({"a": []}, {"a[*].b": 2}, {"a": []}, id="all items of none"),
        pytest.param(
            {"a": {"kind": "x", "p": 1}}, {"a.kind": "y"}, {"a": {"kind": "y"}}, id="another kind starts anew"
        ),
        pytest.param(
            {"a": {"kind": "x", "p": 1}}, {"a.kind": "x"}, {"a": {"kind": "x", "p": 1}}, id="the same kind stays"
        ),
        pytest.param(
            {"a": {"kind": "x", "p": 1}},
            {"a.b": 2, "a.kind": "y"},
            {"a": {"kind": "y", "b": 2}},
            id="the kind is set before what belongs to it",
        ),
        pytest.param(
            {"a": None},
            {"a.kind": "y", "a": {"kind": "x", "p": 1}},
            {"a": {"kind": "y"}},
            id="a section is set before the kind in it",
        ),
        pytest.param({"a": None}, {"a.q": 2, "a.kind": "y"}, {"a": {"kind": "y", "q": 2}}, id="a kind where null was"),
        pytest.param(
            {"a": [{"kind": "x", "p": 1}, {"kind": "y", "p": 1}]},
            {"a[*].kind": "y"},
            {"a": [{"kind": "y"}, {"kind": "y", "p": 1}]},
            id="only items of another kind start anew",
        ),
    ],
)
def test_values_are_put_in_place(data, values, changed):
    assert with_values(data, values) == changed


PATHS = ["train.stages[*].lr", "train.ema.decay", "train.loss.kind", "train.loss.scale", "train", "train[0]", "x.y"]


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(PATHS), st.sampled_from([1, "ldam", None])))
def test_the_data_given_is_never_touched(values):
    before = copy.deepcopy(DATA)
    with contextlib.suppress(PathError):
        with_values(DATA, values)
    assert before == DATA


@pytest.mark.parametrize(
    ("path", "value"),
    [("train.stages[-1].epochs", 4), ("train.stages[*].lr", 0.1), ("train.ema.decay", None), ("train.none.x", None)],
)
def test_the_value_at_a_path(path, value):
    stages = [{"name": "a", "epochs": 2, "lr": 0.1}, {"name": "b", "epochs": 4, "lr": 0.1}]
    assert value_at(path, {"train": {"stages": stages, "none": None}}) == value


@pytest.mark.parametrize(
    ("path", "stages", "message"),
    [
        (
            "train.stages[*].epochs",
            [{"epochs": 2}, {"epochs": 4}],
            r"train\.stages\[\*\]\.epochs has several values there: 2, 4",
        ),
        ("train.stages[*].epochs", [], r"train\.stages\[\*\]\.epochs leads to an empty list"),
        ("train.stages[1].epochs", [{}], "has no item"),
    ],
)
def test_a_path_without_one_value_is_an_error(path, stages, message):
    with pytest.raises(PathError, match=message):
        value_at(path, {"train": {"stages": stages}})


def test_a_tuple_is_a_list():
    assert resolve("a[*].b", {"a": ({"b": 1}, {"b": 2})}) == [("a", 0, "b"), ("a", 1, "b")]
