"""Images for the test neither train nor judge, and are read by nobody before they are asked for."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from trainables.core.config_errors import ConfigError
from trainables.data.dataset import open_dataset, open_test
from trainables.data.sources.open_source import open_test_source
from trainables.recipe.data_config import DataConfig
from trainables.storage.cache_folder import entries

DIGITS = {"source": "digits", "image_size": 8}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("THAW_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def config(**values) -> DataConfig:
    return DataConfig.model_validate(DIGITS | values)


@pytest.fixture
def table(tmp_path):
    """A table of 24 grey images of brightness 10 · i and two classes, the last six of the test."""
    for i in range(24):
        Image.new("L", (12, 12), 10 * i).save(tmp_path / f"{i:02}.png")
    rows = pd.DataFrame(
        {
            "path": [f"{i:02}.png" for i in range(24)],
            "label": ["ab"[i % 2] for i in range(24)],
            "part": ["train"] * 12 + ["val"] * 6 + ["test"] * 6,
        }
    )

    def write(part=rows["part"], label=rows["label"], **values) -> DataConfig:
        rows.assign(part=part, label=label).to_csv(tmp_path / "t.csv", index=False)
        columns = {"columns": {"split": "part"}}
        given = {"source": "table", "path": str(tmp_path / "t.csv"), "image_size": 8, **columns, **values}
        return DataConfig.model_validate(given)

    return write


# --- a share --------------------------------------------------------------------------------------------------------


def test_a_share_of_each_class_is_set_aside():
    dataset = open_dataset(config(test=0.25))
    counts = np.bincount(dataset.labels)
    assert np.bincount(dataset.labels[dataset.test]).tolist() == np.floor(counts * 0.25 + 0.5).astype(int).tolist()
    sides = [dataset.train, dataset.validation, dataset.test]
    assert sorted(np.concatenate(sides).tolist()) == list(range(len(dataset.labels)))


@pytest.mark.parametrize("how", [{"validation": 0.25}, {"folds": 4, "fold": 1}])
def test_it_is_the_same_whatever_the_rest_is_split_into(how):
    assert open_dataset(config(test=0.2, **how)).test.tolist() == open_dataset(config(test=0.2)).test.tolist()


def test_it_is_another_one_than_validation_of_the_same_share():
    assert open_dataset(config(test=0.2)).test.tolist() != open_dataset(config(validation=0.2)).validation.tolist()


def test_the_long_tail_leaves_it_alone():
    whole, tailed = (open_dataset(config(test=0.2, long_tail=tail)) for tail in (None, {"imbalance": 10}))
    assert whole.test.tolist() == tailed.test.tolist()
    assert len(tailed.train) < len(whole.train)


def test_groups_stay_whole(table):
    asked = table(columns={"group": "patient"}, test=0.25)
    frame = pd.read_csv(asked.path).assign(patient=[i // 4 for i in range(24)])
    frame.to_csv(asked.path, index=False)
    dataset = open_dataset(asked)
    brightness = (dataset.images.mean(axis=(1, 2, 3)) / 10).round().astype(int)
    patients = [set((brightness[side] // 4).tolist()) for side in (dataset.train, dataset.validation, dataset.test)]
    assert all(patients)
    assert sum(map(len, patients)) == 6


def test_numbers_have_a_test_of_the_same_range(table):
    numbers = table(label=range(24), columns=None, task="regression", test=0.25)
    dataset = open_dataset(numbers)
    assert len(dataset.test) == 6
    assert not set(dataset.test.tolist()) & {*dataset.train.tolist(), *dataset.validation.tolist()}
    assert dataset.targets[dataset.test].max() - dataset.targets[dataset.test].min() > 12


def test_the_test_judges_once_it_is_opened():
    dataset = open_dataset(config(test=0.2))
    test = open_test(config(test=0.2), dataset)
    assert test.validation.tolist() == dataset.test.tolist()
    assert test.fingerprint == dataset.fingerprint


@pytest.mark.parametrize(
    ("values", "place", "message"),
    [
        ({"test": 0.999}, ("data", "test"), "0.999 of each class leaves no training or no validation image for '0'"),
        ({"test": 0.0}, None, "greater than 0"),
        ({"test": 1.0}, None, "less than 1"),
    ],
)
def test_a_share_that_cannot_be_is_an_error(values, place, message):
    with pytest.raises(ValueError, match=message) as caught:
        open_dataset(config(**values))
    assert place is None or caught.value.problems[0].path == place


# --- a split of the source's own ------------------------------------------------------------------------------------


def test_rows_of_the_test_are_decoded_when_it_is_opened_and_not_before(table):
    asked = table()
    dataset = open_dataset(asked)
    decoded = len(entries())
    assert len(dataset.labels) == 18
    assert len(dataset.test) == 0
    test = open_test(asked, dataset, image_sizes=[16])
    assert len(entries()) > decoded
    assert (test.images.mean(axis=(1, 2, 3)) / 10).round().astype(int).tolist() == list(range(18, 24))
    assert test.labels.tolist() == [0, 1] * 3
    assert test.validation.tolist() == list(range(6))
    assert sorted(test.images_at) == [8, 16]
    assert test.fingerprint != dataset.fingerprint


def test_an_npz_file_has_one_of_its_own(tmp_path):
    parts = {"train": 12, "val": 6, "test": 4}
    arrays = {f"{part}_labels": np.arange(n) % 2 for part, n in parts.items()}
    arrays |= {f"{part}_images": np.full((n, 8, 8), 10 * n, np.uint8) for part, n in parts.items()}
    np.savez(tmp_path / "a.npz", **arrays)
    asked = DataConfig.model_validate({"source": "npz", "path": str(tmp_path / "a.npz"), "image_size": 8})
    test = open_test(asked, open_dataset(asked))
    assert (len(test.validation), int(test.images[0, 0, 0, 0])) == (4, 40)
    asked = asked.model_copy(update={"test": 0.2})
    with pytest.raises(ValueError, match=r"data.test: 0.2: the data have test images of their own, .*; remove it"):
        open_dataset(asked)


def test_where_there_is_no_test_there_is_none(table, tmp_path):
    assert open_test(config(), open_dataset(config())) is None
    no_rows = table(part=["train"] * 12 + ["val"] * 12)
    assert open_test_source(no_rows) is None


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["ab"[i % 2] for i in range(18)] + ["a", "c"] * 3, "the test split has no image of 'b'"),
        (["ab"[i % 2] for i in range(18)] + ["a", "b", "c"] * 2, "the test split has images of 'c', unlike training"),
    ],
)
def test_a_test_of_other_classes_is_an_error(table, labels, message):
    asked = table(label=labels)
    with pytest.raises(ConfigError, match=message):
        open_test(asked, open_dataset(asked))


def test_a_share_of_a_table_that_says_its_test_is_an_error(table):
    with pytest.raises(ValueError, match=r"0\.2: the column 'part' \(data.columns.split\) already gives the test rows"):
        table(test=0.2)
