"""`thaw init` on data in the forms in which people publish them: the file that it writes is a search whose check passes."""

import contextlib
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from search.config.yaml_source import InputError, read_source
from search.config_file.load import load_search
from search.config_file.template import starter, table_of
from search.preflight.check import check_search
from tests.support.published_data import PUBLISHED, save_image
from trainables.data.dataset import open_dataset, open_test
from trainables.data.sources.open_source import open_source


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """The working directory, with a cache of its own, and nothing beside it."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("THAW_CACHE", str(tmp_path / "cache"))
    return tmp_path / "here"


def written(path):
    """The search file that was written for a path."""
    file = Path("search.yaml")
    text, table = starter(path, file)
    file.write_text(text)
    if table is not None:
        table_of(file).write_text(table)
    return file


# Number of classes (0: regression), images that train or validate, test images, groups.
FOUND = {
    "cassava of Kaggle": (5, 40, 0, 0),
    "HAM10000": (3, 36, 0, 18),
    "APTOS of Kaggle": (5, 40, 0, 0),
    "RSNA pneumonia": (2, 24, 0, 0),
    "facial expressions": (3, 30, 0, 0),
    "ISIC one column a class": (3, 30, 0, 0),
    "absolute paths of another machine": (2, 24, 0, 0),
    "paths of Windows": (2, 24, 0, 0),
    "semicolons and umlauts": (2, 24, 0, 6),
    "a table without header": (2, 24, 0, 0),
    "numbers to predict": (0, 36, 0, 12),
    "bone ages with ids": (0, 40, 0, 0),
    "a table with everything wrong": (2, 47, 8, 0),
    "train val and test tables": (3, 24, 6, 0),
    "chest Xrays of NIH": (4, 48, 0, 0),
    "CheXpert": (2, 48, 0, 24),
    "a table in Windows 1252": (2, 20, 0, 0),
    "an image folder of Hugging Face": (2, 12, 12, 0),
    "tiny ImageNet": (2, 20, 0, 0),
    "Food 101": (3, 24, 6, 0),
    "CUB 200": (3, 18, 6, 0),
    "Oxford pets": (3, 24, 0, 0),
    "dogs and cats of Kaggle": (2, 20, 0, 0),
    "a list of ImageNet": (4, 24, 0, 0),
    "ImageNet": (3, 33, 0, 0),
    "COCO with one object an image": (2, 20, 0, 0),
    "class folders": (3, 30, 0, 0),
    "class folders one deeper": (3, 30, 0, 0),
    "class folders of a split": (2, 22, 6, 0),
    "class folders and their table": (3, 30, 0, 0),
    "images with a table of other labels": (3, 36, 0, 18),
    "classes of one image and of none": (3, 30, 0, 0),
    "patients in file names": (2, 24, 0, 8),
    "images that Roboflow augmented": (2, 24, 0, 8),
    "persons at the start of file names": (2, 48, 0, 0),
    "DICOM studies": (2, 24, 0, 8),
    "NIfTI folders": (2, 12, 0, 0),
    "NIfTI with a table": (2, 12, 0, 0),
    "animations and broken files": (3, 30, 0, 0),
    "four pixels": (2, 12, 0, 0),
    "two images of each of many classes": (60, 120, 0, 0),
    "very imbalanced": (3, 85, 0, 0),
    "MedMNIST": (3, 30, 6, 0),
    "MedMNIST 3D": (3, 30, 6, 0),
    "Fashion MNIST": (10, 60, 0, 0),
}


def test_every_form_is_known():
    assert set(FOUND) == set(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_newcomer_gets_a_search_of_all_images(here, name):
    file = written(PUBLISHED[name](here / "data").relative_to(here))
    data = load_search(read_source(file)).recipe.data
    dataset, source = open_dataset(data), open_source(data)
    test = open_test(data, dataset)
    groups = 0 if source.groups is None else len(np.unique(source.groups))
    used, tested = len(dataset.train) + len(dataset.validation), 0 if test is None else len(test.validation)
    assert (len(dataset.classes), used, tested, groups) == FOUND[name]
    (said,) = [line for line in file.read_text().splitlines() if "batch_size:" in line]
    assert f"{len(dataset.train):,} training " in said


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["a table with everything wrong", "bone ages with ids", "NIfTI folders", "very imbalanced", "four pixels"],
)
def test_the_check_passes_and_the_forecast_ends(here, monkeypatch, name):
    monkeypatch.setattr("trainables.trial.dry_run._MEASURE_FOR_S", 0.01)
    written(PUBLISHED[name](here / "data").relative_to(here))
    source = read_source(here / "search.yaml", ["data.image_size=32"])  # a quarter of the work
    found, _ = check_search(load_search(source), source, Console(file=io.StringIO()))
    assert all(cost.finite for cost in found.tried.stages)
    assert 0 < found.forecast.most_s < np.inf


# --- any table --------------------------------------------------------------------------------------------------------


def any_table(folder, seed):
    """Table of random columns, with random faults, and its images."""
    random = np.random.default_rng(seed)
    count = int(random.integers(4, 40))
    for i in range(count):
        save_image(folder / "images" / f"{i:03}.png")
    form = random.choice(["images/{:03}.png", "{:03}.png", "{:03}", "IMAGES/{:03}.PNG", "/x/images/{:03}.png"])
    classes = int(random.integers(1, 6))
    columns = {
        "image": [form.format(i) for i in range(count)],
        "label": [f"c{n}" for n in random.integers(0, classes, count)],
        "age": random.integers(20, 90, count).astype(str).tolist(),
        "score": random.normal(size=count).round(3).astype(str).tolist(),
        "patient": [f"p{n}" for n in random.integers(0, max(2, count // 3), count)],
        "split": random.choice(["train", "val", "test"], count, p=[0.6, 0.2, 0.2]).tolist(),
        "video id": [f"v{n}" for n in random.integers(0, 4, count)],
    }
    left = ["image", *random.permutation([*columns][1:])[: int(random.integers(1, 7))]]
    table = pd.DataFrame({name: columns[name] for name in random.permutation(left)})
    repeated = table.sample(int(random.integers(0, 4)), random_state=seed)
    table = pd.concat([table, repeated.assign(**{name: table[name].iloc[0] for name in left[1:]})])
    for _ in range(int(random.integers(0, 4))):
        table.iloc[int(random.integers(len(table))), int(random.integers(len(left)))] = random.choice(["", "NA", "odd"])
    table.to_csv(folder / "any.csv", index=False, sep=str(random.choice([",", ";", "\t"])))
    return folder / "any.csv"


@pytest.mark.parametrize("start", range(0, 10, 10))
def test_of_any_table_there_is_a_search_that_opens_or_one_message(here, start):
    files = []
    for seed in range(start, start + 10):
        folder = here / str(seed)
        folder.mkdir()
        table = any_table(folder, seed).relative_to(here)
        with contextlib.suppress(NoLabelError):
            files.append(written_or_refused(table))
            open_dataset(load_search(read_source(files[-1])).recipe.data)
    assert len(files) > 5


class NoLabelError(Exception):
    """A table has no two classes to tell apart."""


def written_or_refused(path):
    """The search file; NoLabelError if the message says that there is nothing to tell apart."""
    try:
        return written(path)
    except InputError as error:
        if re.search("holds only|fewer than two|no column holds labels|at least 2 different numbers", str(error)):
            raise NoLabelError from None
        raise
