"""A data set in numbers."""

from dataclasses import replace

import nibabel
import numpy as np
import pytest

from trainables.data.dataset import Dataset, open_dataset
from trainables.data.overview import GroupSides, VoxelSpacing, overview
from trainables.recipe.data_config import DataConfig

LABELS = np.array([0, 0, 0, 1, 1, 2, 0, 1, 2])


@pytest.fixture
def dataset():
    """Six images train and three judge."""
    return Dataset(np.zeros((9, 8, 8, 1), np.uint8), LABELS, ("a", "b", "c"), np.arange(6), np.arange(6, 9), "x")


def test_classes_are_counted_on_each_side(dataset):
    counted = overview(dataset)
    assert (counted.train, counted.validation) == ((3, 2, 1), (1, 1, 1))
    assert counted.classes == ("a", "b", "c")
    assert counted.imbalance == 3
    assert counted.groups is None


@pytest.mark.parametrize(
    ("groups", "sides"),
    [
        ([1, 1, 2, 2, 3, 3, 7, 7, 8], GroupSides(3, 2, 0)),
        ([1, 1, 2, 2, 3, 3, 3, 7, 1], GroupSides(3, 3, 2)),
        ([5] * 9, GroupSides(1, 1, 1)),
    ],
)
def test_groups_are_counted_on_each_side_and_on_both(dataset, groups, sides):
    assert overview(replace(dataset, groups=np.array(groups))).groups == sides


def test_a_regression_is_counted_by_tenths_and_said_to_be_one():
    labels = np.zeros(40, np.int64)
    images = np.zeros((40, 2, 2, 1), np.uint8)
    numbers = Dataset(images, labels, (), np.arange(30), np.arange(30, 40), "x", targets=np.arange(40.0))
    found = overview(numbers)
    assert (found.of_numbers, len(found.classes), sum(found.train)) == (True, 10, 30)


def test_the_spacing_of_volumes_is_measured_in_their_files(tmp_path):
    for i, side in enumerate([1, 1, 4, 1, 1, 4]):
        file = tmp_path / "ab"[i % 2] / f"{i}.nii"
        file.parent.mkdir(exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(np.full((8, 8, 6), i, np.float32), np.diag([0.5, 0.5, side, 1])), file)
    data = DataConfig(source="folder", path=str(tmp_path), image_size=8, depth=4, spacing_mm=1, validation=0.34)
    dataset = open_dataset(data)
    assert overview(dataset).spacing == VoxelSpacing((1, 0.5, 0.5), (1, 0.5, 0.5), (4, 0.5, 0.5), (24, 4, 4))
