"""Tables of numbers: every cell is read exactly or refused with its row, and both sides of a split cover the same range."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import trainables.data.store.decoded_images
from trainables.core.config_errors import ConfigError
from trainables.data.dataset import open_dataset
from trainables.data.sources.tables.numeric_labels import number_in
from trainables.data.splits.by_number import folds_by_number, quantile_bins, set_aside_by_number
from trainables.recipe.data_config import DataConfig

N = 40


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("THAW_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def photos(tmp_path) -> pd.DataFrame:
    """Forty images of brightness 5 · i whose score is that and a half; five of one photographer each."""
    for i in range(N):
        Image.new("L", (12, 12), 5 * i).save(tmp_path / f"{i:02}.png")
    return pd.DataFrame(
        {
            "path": [f"{i:02}.png" for i in range(N)],
            "label": [5 * i + 0.5 for i in range(N)],
            "by": [f"p{i % 8}" for i in range(N)],
            "part": ["train", "train", "val", "test"] * (N // 4),
        }
    )


@pytest.fixture
def write(tmp_path):
    """Writes a table and gives the config that names it."""

    def write_table(frame: pd.DataFrame, kind: str = "csv", **config: object) -> DataConfig:
        file = tmp_path / f"table.{kind}"
        if kind == "csv":
            frame.to_csv(file, index=False)
        else:
            frame.to_parquet(file, index=False)
        fields = {"source": "table", "path": str(file), "task": "regression", "image_size": 8, **config}
        return DataConfig.model_validate(fields)

    return write_table


def problems(config: DataConfig) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        open_dataset(config)
    return {".".join(map(str, p.path)): p.message for p in caught.value.problems}


# --- what is read ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("3", 3.0),
        ("-3", -3.0),
        ("+2.50", 2.5),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e-3", 0.001),
        ("6.02E+23", 6.02e23),
        ("0.1", 0.1),
        ("0.30000000000000004", 0.30000000000000004),
        ("-0.0", 0.0),
        *((text, None) for text in ("", "nan", "NaN", "inf", "-inf", "Infinity", "1e999", "high", "1,5", "1_000")),
        *((text, None) for text in ("0x10", "1 2", "true", "٣", "e5", ".", "1e")),
    ],
)
def test_a_cell_says_a_number_to_the_last_bit_or_none(text, number):
    assert number_in(text) == number
    if number == 0:
        assert math.copysign(1, number_in(text)) == 1


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_images_and_numbers_belong_together_in_every_format(photos, write, kind):
    dataset = open_dataset(write(photos.sample(frac=1, random_state=0), kind))
    assert dataset.targets.dtype == np.float64
    assert dataset.targets.tolist() == [value + 0.5 for value in dataset.images.mean(axis=(1, 2, 3))]
    assert dataset.truth is dataset.targets
    assert dataset.classes == ()


def test_numbers_survive_csv_and_parquet_bit_for_bit(photos, write):
    photos["label"] = np.random.RandomState(0).standard_normal(N) * 10.0 ** np.arange(-20, 20)
    by_kind = [open_dataset(write(photos, kind)).targets.tolist() for kind in ("csv", "parquet")]
    assert by_kind == [photos["label"].tolist()] * 2


def test_whole_numbers_are_numbers(photos, write):
    photos["label"] = range(N)
    assert open_dataset(write(photos, "parquet")).targets.tolist() == list(range(N))


def test_an_image_whose_rows_say_one_number_in_two_ways_is_one_image(photos, write):
    photos["label"] = photos["label"].map(repr)
    twice = pd.concat([photos, photos.head(1).assign(label="5e-1")])
    assert len(open_dataset(write(twice)).images) == N
    config = write(pd.concat([photos, photos.head(1).assign(label="0.25")]))
    assert problems(config) == {
        "data.columns.label": "1 image has rows that differ: '00.png' ('0.25', '0.5')"
        "; correct them, or leave these images out with data.on_conflict: drop"
    }


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({3: "high"}, "1 row has no finite number (row numbers count from 1 below the header): 4 ('high')"),
        (
            {0: "", 1: "NaN", 5: "inf", 9: "1,5", 10: "-Infinity"},
            "5 rows have no finite number (row numbers count from 1 below the header): "
            "1 (empty), 2 (empty), 6 ('inf'), 10 ('1,5'), 11 ('-Infinity')",
        ),
        (
            dict.fromkeys(range(12), "n/a"),
            "12 rows have no finite number (row numbers count from 1 below the header): "
            + ", ".join(f"{i} ('n/a')" for i in range(1, 11))
            + ", … and 2 more",
        ),
        (dict.fromkeys(range(N), "7"), "holds only one label (7.0); at least 2 are needed"),
    ],
)
def test_cells_without_a_number_are_listed_by_their_rows(photos, write, cells, message):
    photos["label"] = [cells.get(i, str(label)) for i, label in enumerate(photos["label"])]
    assert problems(write(photos)) == {"data.columns.label": message}


def test_rows_of_the_test_split_may_lack_their_number_and_do_not_shift_the_rows_that_are_named(photos, write):
    photos["label"] = [str(v) for v in photos["label"]]
    photos.loc[photos["part"] == "test", "label"] = "secret"
    config = write(photos, columns={"split": "part"})
    assert len(open_dataset(config).images) == 30
    photos.loc[4, "label"] = "?"
    assert problems(write(photos, columns={"split": "part"})) == {
        "data.columns.label": "1 row has no finite number (row numbers count from 1 below the header): 5 ('?')"
    }


# --- what is kept ---------------------------------------------------------------------------------------------------


def test_other_numbers_for_the_same_images_decode_nothing_again(photos, write, cache, monkeypatch):
    before = open_dataset(write(photos))
    monkeypatch.setattr(trainables.data.store.decoded_images, "Builder", None)
    after = open_dataset(write(photos.assign(label=-photos["label"])))
    assert after.targets.tolist() == (-before.targets).tolist()
    assert after.fingerprint != before.fingerprint
    assert len(list(cache.glob("*.npy"))) == 1


def test_the_fingerprint_does_not_depend_on_the_split(photos, write):
    assert open_dataset(write(photos)).fingerprint == open_dataset(write(photos, folds=4, seed=3)).fingerprint


def test_a_process_keeps_it_open(photos, write):
    assert open_dataset(write(photos)) is open_dataset(write(photos))


# --- who trains and who judges --------------------------------------------------------------------------------------

SKEWED = np.random.RandomState(1).pareto(1.0, 1003)


def test_bins_are_tenths_by_rank_whatever_the_distribution():
    bins = quantile_bins(SKEWED, 10)
    assert sorted(np.bincount(bins).tolist()) == [100] * 7 + [101] * 3
    assert all(SKEWED[bins == j].max() <= SKEWED[bins == j + 1].min() for j in range(9))
    assert quantile_bins(np.array([5.0, 5.0, 1.0]), 10).max() < 10


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("images", [10, 37, 1003])
def test_each_tenth_gives_its_share(share, images):
    chosen = set_aside_by_number(SKEWED[:images], share, seed=0)
    assert chosen.sum() == int(images * share + 0.5), "rounding is carried on: all together are exact"
    bins = quantile_bins(SKEWED[:images], 10)
    for j in range(10):
        assert abs(chosen[bins == j].sum() - share * (bins == j).sum()) <= 1


@pytest.mark.parametrize("folds", [2, 3, 5, 10])
def test_each_fold_gets_its_part_of_each_tenth(folds):
    fold, bins = folds_by_number(SKEWED, folds, seed=0), quantile_bins(SKEWED, 10)
    for j in range(10):
        counts = np.bincount(fold[bins == j], minlength=folds)
        assert counts.max() - counts.min() <= 1
    assert np.ptp(np.bincount(fold)) <= 1


@pytest.mark.parametrize("split", [set_aside_by_number, folds_by_number])
def test_the_seed_decides_who(split):
    argument = 0.2 if split is set_aside_by_number else 5
    first, again, other = (split(SKEWED, argument, seed) for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()


def test_folds_take_turns_at_judging(photos, write):
    judged = [set(open_dataset(write(photos, folds=4, fold=k)).validation.tolist()) for k in range(4)]
    assert set.union(*judged) == set(range(N))
    assert [len(part) for part in judged] == [10] * 4


@pytest.mark.parametrize("config", [{}, {"validation": 0.5}, {"folds": 4, "fold": 1}, {"folds": 8}])
def test_groups_stay_whole_and_numbers_spread(photos, write, config):
    dataset = open_dataset(write(photos, columns={"group": "by"}, **config))
    by = photos["by"].to_numpy()
    assert not set(by[dataset.train]) & set(by[dataset.validation])
    assert len(dataset.train) + len(dataset.validation) == N
    share = 1 / config["folds"] if "folds" in config else config.get("validation", 0.2)
    assert len(dataset.validation) == pytest.approx(share * N, abs=5)
    assert np.ptp(dataset.targets[dataset.validation]) > 100, "every photographer has bright images and dark ones"


def test_groups_of_like_numbers_are_parted_as_well_as_whole_groups_allow(photos, write):
    photos["by"] = [f"p{i // 10}" for i in range(N)]  # each photographer has a quarter of the range alone
    dataset = open_dataset(write(photos, columns={"group": "by"}, validation=0.25))
    assert len(dataset.validation) == 10


def test_a_given_split_is_taken_as_it_is(photos, write):
    dataset = open_dataset(write(photos, columns={"split": "part"}))
    assert (len(dataset.train), len(dataset.validation)) == (20, 10)
    assert set(dataset.targets[dataset.validation]) == set(photos.loc[photos["part"] == "val", "label"])


@pytest.mark.parametrize(
    ("changes", "config", "place", "message"),
    [
        ({}, {"validation": 0.01}, "validation", "leaves no image to validate with"),
        ({}, {"validation": 0.99}, "validation", "leaves no image to train with"),
        (
            {},
            {"folds": 40},
            "folds",
            "the one image to validate with has the number",
        ),
        (
            {"label": [1.0] * 20 + list(range(20)), "part": ["val"] * 20 + ["train"] * 20},
            {"columns": {"split": "part"}},
            "columns.split",
            "the 20 images to validate with all have the number 1; at least 2 different numbers are needed",
        ),
        (
            {"by": ["one"] * N},
            {"columns": {"group": "by"}},
            "validation",
            "groups are not split, and there is 1 group for 2 sides",
        ),
        (
            {"by": ["one", "other"] * 20},
            {"columns": {"group": "by"}, "folds": 3},
            "folds",
            "groups are not split, and there are 2 groups for 3 sides",
        ),
        (
            {"label": [1e300, -1e300] * 20},
            {},
            "validation",
            "the numbers to validate with have a standard deviation of inf; rescale them",
        ),
    ],
)
def test_a_split_that_cannot_be_is_refused_at_the_field_that_asks_for_it(
    photos, write, cache, changes, config, place, message
):
    found = problems(write(photos.assign(**changes), **config))
    assert found[f"data.{place}"].startswith(message)
    assert not cache.exists(), "before anything is decoded"


@pytest.mark.parametrize(
    ("transform", "shift", "message"),
    [
        ("log", 0.5, "'log' needs targets above 0, but 1 of 40 images have none: 00.png (0); use log1p for counts from 0, or rank"),
        ("log1p", 6.5, "'log1p' needs targets above -1, but 2 of 40 images have none: 00.png (-6), 01.png (-1); use rank"),
    ],
)  # fmt: skip
def test_a_target_without_a_logarithm_is_named_before_anything_is_decoded(
    photos, write, transform, shift, message, cache
):
    config = write(photos.assign(label=photos["label"] - shift), target={"transform": transform})
    assert problems(config) == {"data.target.transform": message}
    assert not cache.exists()
