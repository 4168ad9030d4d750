"""The picture of a data set: every class has its name, its counts and its images in a place of their own."""

import dataclasses

import numpy as np
import pytest

from trainables.data.contact_sheet import _TRAIN, _VALIDATION, draw_contact_sheet, grid_for, shown_classes
from trainables.data.dataset import Dataset
from trainables.recipe.augment_config import Augment, Crop

VARIED = Augment(horizontal_flip=0.5, crop=Crop(min_scale=0.5), brightness=0.5)


def plain(classes, size=16, channels=3, counts=None, names=None):
    """Images of one colour a class, half as many to judge as to train, of another colour each."""
    counts = counts or [4] * classes
    labels = np.concatenate(
        [np.repeat(np.arange(classes), counts), np.repeat(np.arange(classes), [n // 2 for n in counts])]
    )
    trains = np.arange(len(labels)) < sum(counts)
    images = np.full((len(labels), size, size, channels), 250, np.uint8)
    images[trains] = (10 + labels[trains] * 200 // classes)[:, None, None, None]
    names = names or tuple(f"class {j}" for j in range(classes))
    return Dataset(images, labels, names, np.flatnonzero(trains), np.flatnonzero(~trains), "x")


def pixels(dataset, augment=None, title="title"):
    return np.asarray(draw_contact_sheet(dataset, augment, seed=0, title=title)).astype(int)


@pytest.mark.parametrize(
    ("classes", "augmented", "columns", "tiles"),
    [
        (2, True, 1, 8),
        (16, True, 1, 8),
        (17, True, 2, 4),
        (41, True, 3, 4),
        (120, True, 3, 4),
        (2, False, 1, 8),
        (100, False, 3, 4),
    ],
)
def test_few_classes_are_shown_large_and_many_in_columns(classes, augmented, columns, tiles):
    grid = grid_for(classes, augmented=augmented)
    assert grid.columns == columns
    assert grid.samples * (1 + grid.versions) == tiles
    assert grid.versions == (3 if augmented else 0)
    assert columns * grid.column_width < 1400  # fits a screen


@pytest.mark.parametrize(("classes", "shown"), [(2, 2), (120, 120), (121, 120), (1000, 120)])
def test_of_very_many_classes_a_part_is_shown(classes, shown):
    places = shown_classes(classes)
    assert (len(places), places[0], places[-1]) == (shown, 0, classes - 1)
    assert places == sorted(set(places))


@pytest.mark.parametrize("channels", [1, 3], ids=["grey", "colour"])
@pytest.mark.parametrize("size", [8, 30, 224, 512])
def test_images_of_any_size_and_colour_fill_their_tiles(size, channels):
    dataset = plain(3, size, channels)
    sheet, grid = pixels(dataset), grid_for(3, augmented=False)
    for j in range(3):
        top = 66 + j * grid.row_height
        left = 16 + 190
        tile = sheet[top : top + grid.tile, left : left + grid.tile]
        assert (tile == 10 + j * 200 // 3).all()


def test_only_training_images_are_shown_and_no_class_has_more_than_it_has():
    sheet = pixels(plain(2, counts=[8, 2]))
    tiles = sheet[66:, 16 + 190 :]
    assert not (tiles == 250).all(axis=2).any()
    grid = grid_for(2, augmented=False)
    second = sheet[66 + grid.row_height + 5, 16 + 190 :]
    assert (second[: grid.tile] == 110).all()
    assert (second[2 * grid.sample_width :] == 255).all()  # two images, then paper


def test_augmented_versions_stand_beside_their_original():
    dataset, grid = plain(2), grid_for(2, augmented=True)
    row = pixels(dataset, VARIED)[66 + grid.row_height + 40, 16 + 190 :, 0]
    tiles = [row[i * (grid.tile + 3) + 10 : (i + 1) * (grid.tile + 3) - 13] for i in range(4)]
    assert all(len(set(tile)) == 1 for tile in tiles)
    original, *versions = (tile[0] for tile in tiles)
    assert original == 110
    assert len(set(versions)) == 3  # of different brightness


def test_bars_are_as_long_as_classes_are_large():
    sheet, grid = pixels(plain(3, counts=[100, 50, 2])), grid_for(3, augmented=False)

    def lengths(j, colour):
        block = sheet[66 + j * grid.row_height :][: grid.row_height, : 16 + 190]
        return int((block == colour).all(axis=2).sum(axis=1).max())

    train = [lengths(j, _TRAIN) for j in range(3)]
    assert train[0] == pytest.approx(2 * train[1], abs=2)
    assert 1 <= train[2] <= 5
    assert lengths(0, _VALIDATION) == pytest.approx(train[0] / 2, abs=2)


@pytest.mark.parametrize("name", ["W" * 200, "a name of many words " * 9, "Ж" * 80, "line\nbreak\ttab", "\x00"])
def test_a_name_stays_in_its_place(name):
    sheet = pixels(plain(2, names=(name, "b")), VARIED, title=name)
    assert (sheet[62:, 16 + 190 - 8 : 16 + 190 - 2] == 255).all()
    assert (sheet[:, -8:] == 255).all()


@pytest.mark.parametrize("classes", [16, 40, 100, 1000])
def test_a_sheet_of_many_classes_stays_of_a_size_that_can_be_looked_at(classes):
    height, width, _ = pixels(plain(classes), VARIED).shape
    assert width <= 1300
    assert height <= 2500


def test_the_same_data_gives_the_same_picture():
    dataset = plain(5, counts=[9, 8, 7, 6, 5])
    assert (pixels(dataset, VARIED) == pixels(dataset, VARIED)).all()


@pytest.mark.parametrize("augment", [None, VARIED])
def test_of_a_volume_the_middle_slice_is_shown(augment):
    flat = plain(3, channels=1)
    deep = np.repeat(flat.images[:, None], 7, axis=1)
    if augment is None:
        deep[:, :3] = deep[:, 4:] = 0
    shown = pixels(dataclasses.replace(flat, images=deep), augment)
    assert shown.shape == pixels(flat, augment).shape
    if augment is None:
        assert (shown == pixels(flat)).all()


def test_images_of_16_bits_are_shown_like_those_of_8():
    shallow = plain(3, channels=1)
    deep = dataclasses.replace(shallow, images=shallow.images.astype(np.uint16) * 257)
    assert (pixels(shallow) == pixels(deep)).all()
