"""Targets of different times are made comparable, by the training images alone."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from trainables.core.config_errors import ConfigError
from trainables.data.dataset import open_dataset, open_test
from trainables.data.sources.tables.time_levels import fitted_levels
from trainables.data.sources.tables.times import time_in
from trainables.recipe.data_config import DataConfig
from trainables.recipe.data_settings.target_settings import TimeAdjustment

N = 60


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2014", 2014),
        ("2014.25", 2014.25),
        ("2014-01-01", 2014),
        ("2014-07-02T12:00:00", 2014.5),
        ("2012-12-31", 2012 + 365 / 366),
        ("2014-07", 2014 + 181 / 365),
        ("May 2014", None),
        ("", None),
    ],
)
def test_a_time_is_a_number_or_a_date(text, time):
    assert time_in(text) == (None if time is None else pytest.approx(time, abs=1e-9))


def test_a_target_is_compared_with_those_nearest_in_time():
    """Prices that double in ten years, with a tenth of outliers: the adjusted ones have no trend."""
    random = np.random.default_rng(0)
    times = np.sort(random.uniform(1990, 2020, 2000))
    own = np.exp(random.normal(0, 0.2, 2000)) * np.where(random.random(2000) < 0.1, 50, 1)
    targets = own * 2 ** ((times - 1990) / 10)
    adjusted = fitted_levels(targets, times, TimeAdjustment(span=0.05)).adjusted(targets, times)
    assert np.corrcoef(np.log(adjusted), times)[0, 1] == pytest.approx(0, abs=0.03)
    assert np.median(adjusted) == pytest.approx(8, rel=0.08)  # as in 2020
    assert np.corrcoef(np.log(adjusted), np.log(own))[0, 1] > 0.99


def test_differences_have_the_latest_median():
    times, targets = np.repeat([1.0, 2.0, 3.0], 5), np.repeat([-4.0, 0.0, 7.0], 5)
    levels = fitted_levels(targets, times, TimeAdjustment(by="difference", span=0.2))
    assert levels.levels == (-4, 0, 7)
    assert levels.adjusted(targets + 1, times) == pytest.approx(np.full(15, 8.0))
    assert levels.adjusted(np.array([1.0, 1.0]), np.array([1.5, 99.0])) == pytest.approx([10, 1])
    with pytest.raises(ConfigError, match=r"adjust_time.by: .*the median target around 1 is -4; use difference"):
        fitted_levels(targets, times, TimeAdjustment(span=0.2))


@pytest.fixture
def table(tmp_path, monkeypatch):
    """`table(frame_changes, **data)`: the config of sixty pictures, of which later ones have ten times the score."""
    monkeypatch.setenv("THAW_CACHE", str(tmp_path / "cache"))
    for i in range(N):
        Image.new("L", (8, 8), 4 * i).save(tmp_path / f"{i:02}.png")
    frame = pd.DataFrame(
        {
            "path": [f"{i:02}.png" for i in range(N)],
            "label": [(i % 7 + 1) * (1, 10)[i % 2] for i in range(N)],
            "shown": [("1999-05-01", "2020-05-01")[i % 2] for i in range(N)],
            "part": [("train", "val", "test")[i // 4 % 3] for i in range(N)],
        }
    )

    def write(changes=None, kind="csv", **data):
        file = tmp_path / f"table.{kind}"
        changed = frame.assign(**(changes or {}))
        changed.to_csv(file, index=False) if kind == "csv" else changed.to_parquet(file, index=False)
        reading = {"task": "regression", "image_size": 8, "columns": {"split": "part", "time": "shown"}}
        return DataConfig.model_validate({"source": "table", "path": str(file), **reading, "adjust_time": {}, **data})

    return write


def test_the_levels_are_those_of_the_training_images(table):
    dataset = open_dataset(table())
    assert dataset.time_levels.levels == pytest.approx(
        [np.median(dataset.unadjusted[dataset.train][k::2]) for k in range(2)]
    )
    early = np.arange(len(dataset.targets)) % 2 == 0
    ratio = dataset.time_levels.levels[1] / dataset.time_levels.levels[0]
    assert dataset.targets[early] == pytest.approx(dataset.unadjusted[early] * ratio)
    assert dataset.targets[~early] == pytest.approx(dataset.unadjusted[~early])
    test = open_test(table(), dataset)
    assert test.targets == pytest.approx(test.unadjusted * np.where(np.arange(len(test.targets)) % 2, 1, ratio))
    other = open_dataset(table({"shown": ["1999-05-02", "2020-05-01"] * (N // 2)}))
    assert other.fingerprint != dataset.fingerprint


@pytest.mark.parametrize(
    ("changes", "data", "message"),
    [
        (
            {"shown": ["long ago", *["2020"] * (N - 1)]},
            {},
            r"data.columns.time: 1 row has neither .*: 1 \('long ago'\)",
        ),
        ({"shown": [None, *["2020"] * (N - 1)]}, {}, "data.columns.time: 1 row has no value"),
        ({}, {"columns": {"split": "part"}}, "adjust_time needs the times of the images; name their column"),
        ({}, {"adjust_time": None}, "columns.time is used by adjust_time alone"),
        ({}, {"adjust_time": {"by": "difference"}, "target": {"transform": "log"}}, "may be negative, without a log"),
    ],
)
def test_what_is_not_a_time_or_has_no_use_is_refused(table, changes, data, message):
    with pytest.raises((ConfigError, ValueError), match=message):
        open_dataset(table(changes, **data))
