"""`open_dataset`: what a config gives, and when the same object is given again."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainables.core.config_errors import ConfigError
from trainables.data.dataset import open_dataset
from trainables.data.sources.open_source import open_source
from trainables.data.sources.unreadable_images import without
from trainables.data.splits.by_class import long_tailed
from trainables.recipe.data_config import DataConfig, LongTail
from trainables.storage.cache_folder import entries

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


def test_images_are_at_hand_at_every_size_that_was_asked_for(squares):
    dataset = open_dataset(squares, image_sizes=(12, 8))
    assert {size: images.shape for size, images in dataset.images_at.items()} == {8: (20, 8, 8, 1), 12: (20, 12, 12, 1)}
    assert dataset.images_at[8] is dataset.images
    assert open_dataset(squares, image_sizes=[12]) is dataset
    alone = open_dataset(squares)
    assert list(alone.images_at) == [8]
    assert alone.fingerprint == dataset.fingerprint


def test_the_cache_says_where_images_come_from(squares):
    open_dataset(squares)
    open_dataset(DIGITS)
    assert {entry.source for entry in entries()} == {f"folder {squares.path}", "digits"}


def spoil(config: DataConfig, *numbers: int) -> None:
    for i in numbers:
        os.truncate(next(Path(config.path).rglob(f"{i:02}.png")), 20)


def test_bad_images_are_left_out_before_the_split(squares):
    spoil(squares, 0, 1, 2, 3, 4)
    with pytest.raises(ConfigError, match="5 of 20 images cannot be read"):
        open_dataset(squares)
    dataset = open_dataset(squares.model_copy(update={"on_bad": "skip"}))
    assert dataset.images[:, 0, 0, 0].tolist() == [10 * i for i in range(5, 20)]
    assert [dataset.classes[label] for label in dataset.labels] == ["dark"] * 5 + ["light"] * 10
    assert dataset.train_counts.tolist() == [4, 8]  # 0.8 of the good ones
    assert sorted([*dataset.train, *dataset.validation]) == list(range(15))
    assert (
        str(dataset.left_out) == f"5 of 20 images cannot be read and are left out, listed in {dataset.left_out.listing}"
    )
    assert len(dataset.left_out.listing.read_text().splitlines()) == 5


def test_good_images_alone_are_split_as_if_the_bad_ones_had_never_been(squares):
    spoil(squares, 3, 14)
    skipped = open_dataset(squares.model_copy(update={"on_bad": "skip"}))
    for i in (3, 14):
        next(Path(squares.path).rglob(f"{i:02}.png")).unlink()
    clean = open_dataset(squares)
    assert (skipped.train == clean.train).all()
    assert (skipped.validation == clean.validation).all()
    assert skipped.fingerprint == clean.fingerprint


def test_a_class_without_a_good_image_is_an_error(squares):
    spoil(squares, *range(10))
    with pytest.raises(
        ConfigError, match=r"^data\.path: no image can be read of 'dark' \(all 10\); .* listed in .*skipped\.txt"
    ):
        open_dataset(squares.model_copy(update={"on_bad": "skip"}))


def test_groups_and_given_sides_lose_the_same_images(squares, tmp_path):
    files = sorted(Path(squares.path).rglob("*.png"))
    rows = [f"{file},{file.parent.name},p{i // 2},{'val' if i % 10 < 4 else 'train'}" for i, file in enumerate(files)]
    (tmp_path / "t.csv").write_text("\n".join(["path,label,patient,split", *rows]))
    config = DataConfig.model_validate(
        {"source": "table", "path": str(tmp_path / "t.csv"), "image_size": 8, "on_bad": "skip"}
        | {"columns": {"group": "patient", "split": "split"}}
    )
    spoil(squares, 0, 7)
    dataset = open_dataset(config)
    shown = dataset.images[:, 0, 0, 0] // 10
    assert shown[dataset.validation].tolist() == [1, 2, 3, 10, 11, 12, 13]
    assert shown[dataset.train].tolist() == [4, 5, 6, 8, 9, 14, 15, 16, 17, 18, 19]
    source = without(open_source(config), np.array([0, 7]), tmp_path)
    assert source.groups.tolist() == [i // 2 for i in range(20) if i not in (0, 7)]
    assert len(source.judges) == len(source.labels) == 18


def test_a_split_that_cannot_be_is_refused_before_anything_is_decoded(squares, cache):
    with pytest.raises(ConfigError, match=r"data\.validation: 0.01 of each class leaves .* 'dark' \(10 images\)"):
        open_dataset(squares.model_copy(update={"validation": 0.01}))
    with pytest.raises(ConfigError, match=r"data\.long_tail: largest 99: .* 'dark' has 8 of 99"):
        open_dataset(squares.model_copy(update={"long_tail": LongTail(imbalance=2, largest=99)}))
    assert not cache.exists()


def test_each_fit_has_its_own_images(tmp_path):
    for i in range(4):
        path = tmp_path / "strips" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.radial_gradient("L").resize((80, 20)).save(path)
    config = DataConfig(source="folder", path=str(tmp_path / "strips"), image_size=8, validation=0.5)
    fits = [open_dataset(config.model_copy(update={"fit": fit})) for fit in ("crop", "pad", "stretch")]
    assert len({dataset.fingerprint for dataset in fits}) == 3
    assert [entry.what for entry in entries()] == ["8 px", "8 px, pad", "8 px, stretch"]
