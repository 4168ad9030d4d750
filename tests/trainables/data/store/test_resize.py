"""Volumes are resampled whole: what an independent implementation makes of them, without aliasing, without moving them."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from trainables.data.formats.resample import resize_volume
from trainables.data.store.resize import resize_image, suitable_fit


def smooth(shape, channels=1):
    axes = np.meshgrid(*[np.linspace(0, 1, n) for n in shape], indexing="ij")
    values = 127 + 60 * np.sin(3 * axes[0]) + 40 * np.cos(2 * axes[1]) + 20 * axes[2]
    return np.repeat(values[..., None], channels, axis=3).round().astype(np.uint8)


@pytest.mark.parametrize("shape", [(6, 8, 8), (9, 12, 7), (20, 16, 16)])
@pytest.mark.parametrize("channels", [1, 3])
def test_enlarging_is_trilinear(shape, channels):
    volume = smooth((6, 8, 7), channels)
    expected = F.interpolate(
        torch.from_numpy(volume).double().movedim(-1, 0)[None], shape, mode="trilinear", align_corners=False
    )[0].movedim(0, -1)
    result = resize_volume(volume, shape)
    assert (result.shape, result.dtype) == ((*shape, channels), np.uint8)
    assert np.abs(result - expected.numpy()).max() < 1.01


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_volume_of_the_right_size_stays_as_it_is(dtype):
    volume = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (3, 4, 5, 1), dtype, endpoint=True)
    assert (resize_volume(volume, (3, 4, 5)) == volume).all()
    assert resize_volume(volume, (3, 4, 5)).flags["C_CONTIGUOUS"]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_shrinking_sees_every_slice(axis):
    """Stripes of one voxel become grey; a filter that skips slices would leave black or white."""
    shape = [32, 32, 32]
    volume = np.zeros((*shape, 1), np.uint8)
    np.moveaxis(volume, axis, 0)[::2] = 200
    shape[axis] = 4
    assert resize_volume(volume, tuple(shape)).astype(float) == pytest.approx(100, abs=8)


def test_all_of_the_volume_is_shown_and_nothing_is_moved():
    volume = np.zeros((30, 24, 18, 1), np.uint8)
    volume[:15, :12, :9] = 255
    small = resize_volume(volume, (10, 8, 6))[..., 0].astype(float)
    assert small[:4, :3, :2].min() > 250
    assert small[6:].max() < 5
    assert small[:, 5:].max() < 5
    assert small[:, :, 4:].max() < 5
    assert small.mean() == pytest.approx(255 / 8, rel=0.02)


# --- images: square -----------------------------------------------------------------------------------------------------


def strip(size, *, wide, channels, dtype) -> np.ndarray:
    """Grey strip with a bright and a brighter end."""
    image = np.full((size, 4 * size, channels), 60, dtype)
    image[:, : size // 2], image[:, -size // 2 :] = 160, 200
    return image if wide else image.swapaxes(0, 1)


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_fit_decides_what_becomes_of_the_ends(wide, channels, dtype):
    image = strip(32, wide=wide, channels=channels, dtype=dtype)
    made = {fit: resize_image(image, 32, fit) for fit in ("crop", "pad", "stretch")}
    assert all((each.shape, each.dtype) == ((32, 32, channels), dtype) for each in made.values())
    assert all(each.flags["C_CONTIGUOUS"] for each in made.values())
    crop, pad, stretch = (each if wide else each.swapaxes(0, 1) for each in made.values())
    assert (crop == 60).all()
    assert stretch[5, [0, 15, 31], 0].tolist() == [160, 60, 200]
    assert pad[15, [0, 15, 31], 0].tolist() == [160, 60, 200]
    assert (pad[:12] == 0).all()
    assert (pad[-12:] == 0).all()


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_square_images_have_one_fit(fit):
    image = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    assert (resize_image(image, 16, fit) == resize_image(image, 16)).all()


@pytest.mark.parametrize(
    ("aspects", "fit"),
    [
        ([1], "crop"),
        ([4 / 3, 3 / 4, 1, 1.5, 2 / 3], "crop"),
        ([1] * 95 + [8] * 5, "crop"),
        ([10] * 20, "stretch"),
        ([0.5, 0.55, 0.48], "stretch"),
        ([0.5, 2] * 10, "pad"),
        ([1] * 80 + [3] * 20, "pad"),
    ],
)
def test_the_fit_follows_from_the_proportions(aspects, fit):
    assert suitable_fit(aspects) == fit
