"""What every declared source must do. A new line in `SOURCES` needs an example below and is tested with it."""

import re
import struct
from pathlib import Path
from typing import get_args

import nibabel
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from trainables.core.config_errors import ConfigError
from trainables.core.vocabulary import Task
from trainables.data.detection.detect_source import detect_source
from trainables.data.sources.open_source import open_source, open_test_source
from trainables.recipe.data_config import DEFAULT_VALIDATION, DataConfig
from trainables.recipe.source_catalog import SOURCES, SPECIAL_KEYS, SourceName, source_names

COUNT = 12
"""Images of two classes in turn; where there are test images, two more."""
PIXELS = np.arange((COUNT + 2) * 9 * 8, dtype=np.uint16).reshape(-1, 9, 8) * 60
"""[n, 9, 8] of 16 bits."""
VOLUMES = np.repeat(PIXELS[:, None], 6, axis=1)
"""[n, 6, 9, 8]."""
TEST_IMAGES = {"table": 2, "npz": 2}
"""Test images of the examples; the example of class folders is no split."""


def save(folder, i, image):
    folder.mkdir(parents=True, exist_ok=True)
    if image.ndim == 3:
        file = folder / f"{i}.nii"
        nibabel.save(nibabel.Nifti1Image(image.T.astype(np.int32), np.eye(4)), file)
    else:
        file = folder / f"{i}.png"
        Image.fromarray(image).save(file)
    return file


def folder_example(root, images=PIXELS):
    for i in range(COUNT):
        save(root / "ab"[i % 2], i, images[i])
    return {"path": root}


def table_example(root, images=PIXELS):
    paths = [save(root, i, image).name for i, image in enumerate(images)]
    labels = ["ab"[i % 2] for i in range(len(paths))]
    splits = ["train"] * (COUNT - 4) + ["val"] * 4 + ["test"] * 2
    pd.DataFrame({"path": paths, "label": labels, "split": splits}).to_csv(root / "t.csv", index=False)
    return {"path": root / "t.csv", "columns": {"split": "split"}}


def npz_example(root, images=PIXELS):
    arrays, start = {}, 0
    for part, count in {"train": COUNT - 4, "val": 4, "test": 2}.items():
        arrays[f"{part}_images"] = images[start : start + count]
        arrays[f"{part}_labels"] = np.arange(count) % 2
        start += count
    np.savez(root / "a.npz", **arrays)
    return {"path": root / "a.npz"}


def idx_example(root):
    root.mkdir(parents=True, exist_ok=True)
    for part in ("train", "t10k"):
        head = struct.pack(">4I", 0x803, COUNT, 9, 8)
        (root / f"{part}-images-idx3-ubyte").write_bytes(head + (PIXELS[:COUNT] >> 8).astype(np.uint8).tobytes())
        labels = struct.pack(">2I", 0x801, COUNT) + bytes(i % 2 for i in range(COUNT))
        (root / f"{part}-labels-idx1-ubyte").write_bytes(labels)
    return {"path": root}


def torchvision_example(root):
    idx_example(root / "MNIST/raw")
    return {"path": root, "name": "MNIST"}


EXAMPLES = {
    "folder": folder_example,
    "table": table_example,
    "npz": npz_example,
    "idx": idx_example,
    "torchvision": torchvision_example,
    "digits": lambda root: {},
}

each_source = pytest.mark.parametrize("spec", SOURCES, ids=lambda spec: spec.name)


@pytest.fixture
def example(spec, tmp_path):
    """Plain data of a small source of the kind."""
    made = EXAMPLES[spec.name](tmp_path)
    return {"source": spec.name} | {key: value if key == "columns" else str(value) for key, value in made.items()}


def test_the_recipe_knows_the_declared_sources_and_no_others():
    assert sorted(get_args(SourceName)) == sorted(spec.name for spec in SOURCES)


@each_source
def test_it_opens(spec, example):
    source = open_source(DataConfig(**example))
    assert len(source.classes) == len(set(source.labels.tolist())) >= 2
    assert spec.name == "digits" or len(source.labels) == COUNT
    reader = source.open()
    for i in (0, len(source.labels) - 1):
        image = reader.decode(i)
        assert (image.shape[2], image.dtype) == (reader.channels, reader.dtype)
    assert open_source(DataConfig(**example)) == source


@each_source
def test_what_it_detects_is_itself(spec, example):
    assert bool(spec.detect) == bool(spec.looks_like)
    if spec.detect:
        found = detect_source(Path(example["path"]))
        assert found.data["source"] == spec.name
        assert found.data["path"] == example["path"]
        assert found.source.labels.tolist() == open_source(DataConfig(**example)).labels.tolist()


@each_source
def test_it_says_what_it_has_and_refuses_what_it_has_not(spec, example):
    values = {
        "name": "MNIST",
        "columns": {},
        "images": "elsewhere",
        "bits": 16,
        "frame": "middle",
        "window": {"center": 0, "width": 1},
        "depth": 8,
        "spacing_mm": 1.5,
        "on_conflict": "drop",
        "on_bad": "skip",
    }
    assert values.keys() == {*SPECIAL_KEYS}
    for key, value in values.items():
        if key in spec.supports:
            DataConfig(**example | ({"depth": 8} if key == "spacing_mm" else {}) | {key: value})
        else:
            refused = f"(not to {spec.name!r}|{spec.name!r} cannot hold volumes).*; remove it"
            with pytest.raises(ValueError, match=rf"{key}\n.*{refused}"):
                DataConfig(**example | {key: value})


@each_source
def test_it_keeps_16_bits_where_it_says_so(spec, example):
    if "bits" in spec.supports:
        reader = open_source(DataConfig(**example, bits=16)).open()
        assert reader.dtype == np.uint16
        assert reader.decode(3).dtype == np.uint16


@each_source
def test_it_has_volumes_where_it_says_so(spec, tmp_path):
    if "depth" in spec.supports:
        made = EXAMPLES[spec.name](tmp_path, VOLUMES)
        source = open_source(DataConfig(source=spec.name, **made | {"path": str(made["path"])}, depth=4))
        assert source.open().decode(3).shape == (6, 9, 8, 1)


@each_source
def test_it_has_the_tasks_it_says(spec, example):
    for task in get_args(Task):
        if task in spec.tasks:
            assert DataConfig(**example, task=task).task == task
        else:
            with pytest.raises(ValueError, match=f"{task!r} needs source .*; {spec.name!r} has only classes"):
                DataConfig(**example, task=task)


@each_source
def test_it_needs_a_path_where_it_says_what_the_path_is(spec, example):
    without = {key: value for key, value in example.items() if key != "path"}
    if spec.path:
        with pytest.raises(ValueError, match=f"source {spec.name!r} needs `path`, the {spec.path}"):
            DataConfig(**without)
    else:
        DataConfig(**without)


@each_source
def test_it_is_behind_a_url_where_it_says_so(spec, example):
    if spec.path is None:
        with pytest.raises(ValueError, match="reads no `path`"):
            DataConfig(**example | {"path": "memory://nowhere/x.npz"})
        return
    config = DataConfig(**example | {"path": "memory://nowhere/x.npz"})
    with pytest.raises(ConfigError, match=r"^data\.path: memory://nowhere") as caught:
        open_source(config)
    refused = f"source {spec.name!r} is read from disk; only {', '.join(source_names(lambda spec: spec.urls))}"
    assert (refused in str(caught.value)) != spec.urls


@each_source
def test_its_test_images_are_opened_by_themselves(spec, example):
    test = open_test_source(DataConfig(**example))
    assert (test is not None) == (spec.name in TEST_IMAGES)
    assert (0 if test is None else len(test.labels)) == TEST_IMAGES.get(spec.name, 0)


@each_source
def test_a_share_is_set_aside_unless_the_split_comes_with_it(spec, example):
    example.pop("columns", None)
    assert DataConfig(**example).validation == (None if spec.splits_itself else DEFAULT_VALIDATION)


def test_the_schema_describes_each_source():
    described = DataConfig.model_json_schema()["properties"]["source"]["description"]
    assert all(re.search(rf"`{spec.name}`: {re.escape(spec.description)}", described) for spec in SOURCES)
