"""A table's column says how much each image counts; what is no weight is told with its rows."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pydantic import ValidationError

from trainables.core.config_errors import ConfigError
from trainables.data.dataset import open_dataset
from trainables.recipe.data_config import DataConfig


@pytest.fixture
def open_with(tmp_path, monkeypatch):
    """`open_with(weights, **config)`: twelve images of brightness 10 · i and of two labels in turn."""
    monkeypatch.setenv("THAW_CACHE", str(tmp_path / "cache"))

    def write(weights: list, kind: str = "csv", progress=None, kinds: int = 2, **config):
        for i in range(12):
            Image.new("L", (8, 8), 10 * i).save(tmp_path / f"{i:02}.png")
        names = [f"{i % 12:02}.png" for i in range(len(weights))]
        labels, parts = (
            [i % 12 % kinds for i in range(len(weights))],
            ["train", "train", "val", "val", "test", "test"] * 2,
        )
        frame = pd.DataFrame({"path": names, "label": labels, "w": weights})
        if len(weights) == 12:
            frame["part"] = parts
        file = tmp_path / f"t.{kind}"
        frame.to_csv(file, index=False) if kind == "csv" else frame.to_parquet(file, index=False)
        columns = {"weight": "w"} | config.pop("columns", {})
        config = {"source": "table", "path": str(file), "image_size": 8, "columns": columns} | config
        return open_dataset(DataConfig.model_validate(config), progress=progress)

    return write


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_each_image_has_its_weight(open_with, kind):
    dataset = open_with([i / 4 for i in range(12)], kind)
    assert dataset.weights.dtype == np.float64
    assert dataset.weights.tolist() == [i / 4 for i in range(12)]
    assert (dataset.images.mean(axis=(1, 2, 3)) == 40 * dataset.weights).all()


def test_without_the_column_all_count_alike(open_with):
    assert open_with([1] * 12, columns={"weight": None}).weights is None


def test_weights_follow_images_that_are_dropped(open_with):
    parts = open_with([float(i) for i in range(12)], columns={"split": "part"})
    assert parts.weights.tolist() == [0, 1, 2, 3, 6, 7, 8, 9]
    weights = [*range(12), *range(12)]  # each row stands twice
    assert open_with([float(w) for w in weights]).weights.tolist() == list(range(12))


def test_weights_of_test_rows_are_not_looked_at(open_with):
    weights = ["1", "1", "1", "1", "heavy", "", *["2"] * 6]
    assert open_with(weights, columns={"split": "part"}).weights.tolist() == [1, 1, 1, 1, 2, 2, 2, 2]


def test_labels_that_are_mapped_take_their_weights_along(open_with):
    dataset = open_with([1, 2, 3] * 4, kinds=3, labels={0: "a", 1: None, 2: "b"})
    assert dataset.weights.tolist() == [1, 3] * 4


def test_one_number_written_in_two_ways_is_one_weight(open_with):
    assert open_with(["1.0", "2"] * 6 + ["1", "2.00"] * 6).weights.tolist() == [1, 2] * 6


def test_other_weights_are_another_data_set_of_the_same_images(open_with):
    calls: list[tuple[int, ...]] = []
    first = open_with([1.0] * 11 + [2.0])
    stored = first.fingerprint
    second = open_with([1.0] * 11 + [3.0], progress=lambda *count: calls.append(count))
    assert (first.weights[-1], second.weights[-1]) == (2, 3)
    assert second.fingerprint == stored


ONES = ["1"] * 12


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {2: "heavy", 3: "-0.5", 5: "inf"},
            "3 rows have no number of at least 0 (row numbers count from 1 below the header): 3 ('heavy'), 4 ('-0.5'), 6 ('inf')",
        ),
        ({7: "-1"}, "1 row has no number of at least 0 (row numbers count from 1 below the header): 8 ('-1')"),
        ({7: "-inf"}, "1 row has no number of at least 0 (row numbers count from 1 below the header): 8 ('-inf')"),
        ({7: ""}, "1 row has no value (row numbers count from 1 below the header): 8"),
        ({7: "nan", 8: "NaN"}, "2 rows have no value (row numbers count from 1 below the header): 8, 9"),
        (dict.fromkeys(range(12), "0"), "all weights are 0: no image would count"),
        (
            {12: "2"},
            "1 image has rows that differ: '00.png' ('1.0', '2.0')"
            "; correct them, or leave these images out with data.on_conflict: drop",
        ),
    ],
)
def test_what_is_no_weight_is_told_with_its_rows(open_with, changed, message):
    weights = ONES + ["1"] * (max(changed) - 11)
    for row, value in changed.items():
        weights[row] = value
    with pytest.raises(ConfigError) as caught:
        open_with(weights)
    (problem,) = caught.value.problems
    assert problem == (("data", "columns", "weight"), message)


def test_a_column_that_is_not_there_and_one_of_no_numbers(open_with):
    with pytest.raises(ConfigError, match=r"^data.columns.weight: the table has no column 'W'"):
        open_with(ONES, columns={"weight": "W"})
    with pytest.raises(ValidationError, match="a column can have only one role; named more than once: 'w'"):
        DataConfig.model_validate({"source": "table", "path": "t.csv", "columns": {"weight": "w", "group": "w"}})


def test_a_class_whose_images_all_weigh_nothing_is_an_error(open_with):
    with pytest.raises(
        ConfigError, match=r"data\.columns\.weight: all images of '1' weigh 0; drop them in data\.labels instead"
    ):
        open_with([1, 0] * 6)
