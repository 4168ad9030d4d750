"""Volumes on other grids: exact distances, the middle of a box, nothing lost where that is asked for."""

import numpy as np
import pytest

from trainables.data.formats.resample import to_box, to_spacing


@pytest.mark.parametrize(
    ("own", "wanted", "shape"),
    [
        ((1, 1, 1), (1, 1, 1), (20, 30, 40)),
        ((2.5, 0.5, 0.5), (1, 1, 1), (50, 15, 20)),
        ((0.1, 0.3, 0.7), (0.3, 0.1, 0.7), (6, 90, 40)),  # 0.3 / 0.1 is not 3 in binary
        ((1, 1, 1), (30, 30, 30), (1, 1, 1)),  # less than a voxel is left
    ],
)
def test_a_volume_has_the_voxels_of_its_extent(own, wanted, shape):
    assert to_spacing(np.zeros((20, 30, 40, 1), np.uint8), own, wanted).shape == (*shape, 1)


@pytest.mark.parametrize("wanted", [0.7, 1.3, 2.6])
def test_a_place_keeps_its_distance_from_the_middle(wanted):
    """A slope of 2 grey values a millimetre has it at any spacing, around the same middle."""
    z = np.arange(61) - 30.0
    volume = np.broadcast_to((100 * 257 + 2 * 257 * z)[:, None, None, None], (61, 4, 4, 1)).astype(np.uint16)
    line = to_spacing(volume, (1.0, 1.0, 1.0), (wanted, 1.0, 1.0))[:, 0, 0, 0] / 257
    places = (np.arange(len(line)) - (len(line) - 1) / 2) * wanted
    inner = abs(places) < 26
    assert line[inner] == pytest.approx(100 + 2 * places[inner], abs=0.15)


def test_the_same_spacing_changes_no_voxel():
    volume = np.random.default_rng(0).integers(0, 256, (5, 6, 7, 1), np.uint8)
    assert (to_spacing(volume, (0.7, 0.8, 0.9), (0.7, 0.8, 0.9)) == volume).all()


def test_a_spacing_that_would_fill_the_memory_is_refused():
    with pytest.raises(ValueError, match=r"5000 × 5000 × 5000 voxels at data\.spacing_mm, more than the limit"):
        to_spacing(np.zeros((50, 50, 50, 1), np.uint8), (1, 1, 1), (0.01, 0.01, 0.01))


def test_the_middle_is_cut_out_and_filled_up():
    volume = np.arange(1, 8, dtype=np.uint8).reshape(7, 1, 1, 1)
    assert to_box(volume, (3, 3, 1), "crop")[:, :, 0, 0].tolist() == [[0, 3, 0], [0, 4, 0], [0, 5, 0]]


def test_padding_loses_no_end_and_keeps_the_proportions():
    volume = np.zeros((10, 40, 20, 1), np.uint8)
    volume[:, [0, 1, -2, -1]] = 200
    shrunk = to_box(volume, (10, 20, 20), "pad")
    cut = to_box(volume, (10, 20, 20), "crop")
    rows, slices = shrunk[..., 0].max((0, 2)), shrunk[..., 0].max((1, 2))
    assert cut.max() == 0
    assert rows[[0, -1]].min() > 150
    assert np.flatnonzero(slices).tolist() == [2, 3, 4, 5, 6]
