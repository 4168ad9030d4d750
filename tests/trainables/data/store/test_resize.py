"""Volumes are resampled whole: what an independent implementation makes of them, without aliasing, without moving them."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from trainables.data.store.resize import resize_volume


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
