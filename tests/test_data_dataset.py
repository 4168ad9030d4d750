"""`open_dataset`: what a config gives, and when the same object is given again."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainables.data.dataset import open_dataset
from trainables.data.splits import long_tailed
from trainables.data_config import DataConfig, LongTail
from trainables.problems import ConfigError

DIGITS = DataConfig(source="digits", image_size=8)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("THAW_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def squares(tmp_path) -> DataConfig:
    """Ten dark and ten bright images in class folders."""
    for i in range(20):
        path = tmp_path / "squares" / ("dark" if i < 10 else "light") / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (12, 12), 10 * i).save(path)
    return DataConfig(source="folder", path=str(tmp_path / "squares"), image_size=8)


def test_digits_are_split_by_class():
    dataset = open_dataset(DIGITS)
    assert dataset.images.shape == (1797, 8, 8, 1)
    assert dataset.classes == tuple("0123456789")
    assert dataset.train_counts.tolist() == [142, 146, 142, 146, 145, 146, 145, 143, 139, 144]
    assert len(dataset.train) + len(dataset.validation) == 1797
    assert not set(dataset.train) & set(dataset.validation)
    assert len(dataset.fingerprint) == 64


def test_images_and_labels_belong_together(squares):
    dataset = open_dataset(squares)
    brightness = dataset.images.mean(axis=(1, 2, 3))
    assert brightness.tolist() == [10 * i for i in range(20)]
    assert [dataset.classes[label] for label in dataset.labels] == ["dark"] * 10 + ["light"] * 10


def test_a_long_tail_thins_the_training_split_alone():
    plain = open_dataset(DIGITS)
    thinned = open_dataset(DIGITS.model_copy(update={"long_tail": LongTail(imbalance=10, largest=100)}))
    assert thinned.train_counts.tolist() == [100, 77, 59, 46, 35, 27, 21, 16, 12, 10]
    assert set(thinned.train) < set(plain.train)
    assert (thinned.validation == plain.validation).all()
    assert thinned.fingerprint == plain.fingerprint


def test_the_data_seed_moves_the_split():
    first, second = (open_dataset(DIGITS.model_copy(update={"seed": seed})) for seed in (0, 1))
    assert set(first.validation) != set(second.validation)
    assert first.fingerprint == second.fingerprint


def test_the_data_seed_draws_the_long_tail():
    tail, config = LongTail(imbalance=10), DIGITS.model_copy(update={"seed": 7})
    plain, thinned = open_dataset(config), open_dataset(config.model_copy(update={"long_tail": tail}))
    expected = long_tailed(plain.train, plain.labels, tail, 7, classes=plain.classes)
    assert (thinned.train == expected).all()


def test_a_process_keeps_it_open_whatever_shows_the_progress(squares):
    calls = []
    dataset = open_dataset(squares, progress=lambda *counts: calls.append(counts))
    assert calls[-1] == (20, 20)
    assert open_dataset(squares.model_copy()) is dataset
    assert open_dataset(squares, progress=lambda *counts: calls.append(counts)) is dataset
    assert len(calls) == 20


def test_a_changed_folder_is_not_served_stale(squares):
    before = open_dataset(squares)
    path = Path(squares.path) / "dark/03.png"
    Image.new("L", (12, 12), 250).save(path)
    os.utime(path, ns=(0, 12345))
    after = open_dataset(squares)
    assert np.flatnonzero(after.images.mean(axis=(1, 2, 3)) == 250).tolist() == [3]
    assert after.fingerprint != before.fingerprint


def test_a_split_that_cannot_be_is_refused_before_anything_is_decoded(squares, cache):
    with pytest.raises(ConfigError, match=r"data\.validation: 0.01 of each class leaves .* 'dark' \(10 images\)"):
        open_dataset(squares.model_copy(update={"validation": 0.01}))
    with pytest.raises(ConfigError, match=r"data\.long_tail: largest 99: .* 'dark' has 8 of 99"):
        open_dataset(squares.model_copy(update={"long_tail": LongTail(imbalance=2, largest=99)}))
    assert not cache.exists()
