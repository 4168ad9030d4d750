"""Labels become classes: merged, dropped, ordered by name or number; from every source."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainables.core.config_errors import ConfigError
from trainables.data.dataset import open_dataset
from trainables.data.sources.class_mapping import mapped, sorted_names
from trainables.data.sources.open_source import open_source
from trainables.recipe.data_config import DataConfig
from trainables.recipe.data_settings.label_names import label_name

NAMES, CODES = ("1", "2", "3", "4"), np.array([3, 0, 1, 2, 2, 0])


def test_without_a_mapping_each_label_is_a_class():
    classes, labels, kept, _ = mapped(NAMES, CODES, None)
    assert (classes, labels.tolist(), kept.tolist()) == (NAMES, CODES.tolist(), list(range(6)))


@pytest.mark.parametrize(
    ("mapping", "classes", "labels", "kept"),
    [
        ({"1": "AB", "2": "AB", "3": "CD", "4": "CD"}, ("AB", "CD"), [1, 0, 0, 1, 1, 0], [0, 1, 2, 3, 4, 5]),
        ({"1": "10", "2": "9", "3": "9", "4": "10"}, ("9", "10"), [1, 1, 0, 0, 0, 1], [0, 1, 2, 3, 4, 5]),
        ({"1": "b", "2": None, "3": "a", "4": None, "5": None}, ("a", "b"), [1, 0, 0, 1], [1, 3, 4, 5]),
        ({"1": "2", "2": "1", "3": "1", "4": "1"}, ("1", "2"), [0, 1, 0, 0, 0, 1], [0, 1, 2, 3, 4, 5]),
    ],
)
def test_labels_are_merged_and_dropped(mapping, classes, labels, kept):
    found = mapped(NAMES, CODES, mapping)
    assert (found.classes, found.labels.tolist(), found.kept.tolist()) == (classes, labels, kept)
    assert found.labels.dtype == np.int64


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        (
            {"1": "a", "2": "b"},
            r"does not mention '3' \(2 images\), '4' \(1 image\); to drop these images, add `3: null`",
        ),
        ({"1": "a", "2": "a", "3": "a", "4": None}, r"leaves only one class \(a\); at least 2 are needed"),
        (dict.fromkeys(NAMES), "drops all images"),
        ({"1": "a", "2": "a", "3": "b", "4": "b", "5": "c"}, "no image belongs to 'c'; labels found: 1, 2, 3, 4"),
    ],
)
def test_a_mapping_that_does_not_fit_is_an_error(mapping, message):
    with pytest.raises(ConfigError, match=rf"^data\.labels: {message}"):
        mapped(NAMES, CODES, mapping)


@pytest.mark.parametrize(
    ("names", "ordered"),
    [
        ({"10", "9", "-1", "0.5"}, ["-1", "0.5", "9", "10"]),
        ({"10", "9", "x"}, ["10", "9", "x"]),
        ({"01", "1"}, ["01", "1"]),
        ({"nan", "2", "10"}, ["10", "2", "nan"]),
    ],
)
def test_names_are_in_the_order_of_numbers_or_of_the_alphabet(names, ordered):
    assert sorted_names(names) == ordered


@pytest.mark.parametrize(
    ("label", "name"),
    [(1, "1"), (1.0, "1"), ("1.00", "1"), (" 1 ", "1"), (1.5, "1.5"), ("-2.0", "-2"), ("007", "007"), ("v1.0", "v1.0")],
)
def test_one_label_has_one_name(label, name):
    assert label_name(label) == name


@pytest.mark.parametrize("label", [True, None, (1,)])
def test_what_is_no_name_is_refused(label):
    with pytest.raises(ValueError, match="is neither a name nor a number; put quotes around it"):
        label_name(label)


# --- from every source ----------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch) -> DataConfig:
    """Ten dark, ten grey and ten light images in class folders."""
    monkeypatch.setenv("THAW_CACHE", str(tmp_path / "cache"))
    for i in range(30):
        path = tmp_path / "squares" / ("dark", "grey", "light")[i // 10] / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (12, 12), 5 * i).save(path)
    return DataConfig(source="folder", path=str(tmp_path / "squares"), image_size=8)


def relabelled(config: DataConfig, labels: dict) -> DataConfig:
    return DataConfig.model_validate({**config.model_dump(), "labels": labels})


def test_class_folders_are_merged(folder):
    dataset = open_dataset(relabelled(folder, {"dark": "night", "grey": "day", "light": "day"}))
    assert dataset.classes == ("day", "night")
    assert (dataset.images.mean(axis=(1, 2, 3)) / 5).tolist() == list(range(30))
    assert dataset.labels.tolist() == [1] * 10 + [0] * 20
    assert dataset.train_counts.tolist() == [16, 8]


def test_a_dropped_class_folder_is_not_even_decoded(folder):
    (Path(folder.path) / "grey/10.png").write_text("no image")
    os.truncate(Path(folder.path) / "grey/11.png", 30)
    dataset = open_dataset(relabelled(folder, {"dark": 0, "grey": None, "light": 1}))
    assert (dataset.images.mean(axis=(1, 2, 3)) / 5).tolist() == [*range(10), *range(20, 30)]


def test_each_mapping_has_a_data_set_and_a_fingerprint_of_its_own(folder):
    mappings = [
        {"dark": "a", "grey": "a", "light": "b"},
        {"dark": "a", "grey": "b", "light": "b"},
        {"dark": "b", "grey": "b", "light": "a"},
        {"dark": "a", "grey": "a", "light": "c"},
    ]
    prints = {open_dataset(config).fingerprint for config in [folder, *(relabelled(folder, m) for m in mappings)]}
    assert len(prints) == 5


def test_digits_are_merged_and_dropped():
    odd = {digit: "odd" if digit % 2 else "even" for digit in range(9)}
    source, plain = (
        open_source(DataConfig(source="digits", labels={**odd, 9: None})),
        open_source(DataConfig(source="digits")),
    )
    kept = np.flatnonzero(plain.labels != 9)
    assert source.classes == ("even", "odd")
    assert (source.labels == plain.labels[kept] % 2).all()
    images, all_images = source.open(), plain.open()
    assert all((images.decode(i) == all_images.decode(kept[i])).all() for i in range(len(kept)))


def test_idx_labels_are_mapped(tmp_path):
    images, labels = np.arange(6 * 4).reshape(6, 2, 2), np.array([3, 1, 1, 3, 7, 7])
    for name, array in (("train-images-idx3-ubyte", images), ("train-labels-idx1-ubyte", labels)):
        header = np.array([0x0800 + array.ndim, *array.shape], ">u4").tobytes()
        (tmp_path / name).write_bytes(header + array.astype(np.uint8).tobytes())
    source = open_source(DataConfig(source="idx", path=str(tmp_path), labels={1: "x", 3: None, 7: "y"}))
    assert (source.classes, source.labels.tolist()) == (("x", "y"), [0, 0, 1, 1])
    assert [source.open().decode(i)[0, 0, 0] for i in range(4)] == [4, 8, 16, 20]
    other = open_source(DataConfig(source="idx", path=str(tmp_path), labels={1: "y", 3: "x", 7: None}))
    again = open_source(DataConfig(source="idx", path=str(tmp_path), labels={1: None, 3: "x", 7: "y"}))
    assert again.labels.tolist() == [0, 0, 1, 1]
    assert len({source.key, other.key, again.key}) == 3  # other images, if with the same classes and labels
    with pytest.raises(ConfigError, match=r"^data\.labels: does not mention '1' \(2 images\)"):
        open_source(DataConfig(source="idx", path=str(tmp_path), labels={3: "x", 7: "y"}))


def test_numbers_that_differ_in_their_sign_are_not_alike():
    assert mapped(["-1", "1"], np.array([0, 1]), None).notes == ()


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["rust", "rust|scab", "scab"], "'rust|scab' (1); each combination"),
        (["a", "a, b"], "'a, b' (1)"),
        (["['a']", "['a', 'b']"], "['a']\" (1), "),
        (["black, white", "red"], None),
        (["C++", "C"], None),
    ],
)
def test_labels_that_may_be_several_are_a_doubt(names, told):
    notes = mapped(names, np.arange(len(names)), None).notes
    if told is None:
        assert notes == ()
    else:
        (note,) = notes
        assert note.startswith("labels that may be several labels of an image: ")
        assert told in note
