"""Augmentation of volumes: each by itself, the same wherever it stands, in three dimensions."""

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from trainables.data.batches.augment import Variation, apply_variation, augment, draw_variation
from trainables.recipe.augment_config import Augment, Crop, Erase

EVERYTHING = Augment(
    horizontal_flip=0.5,
    vertical_flip=0.5,
    depth_flip=0.5,
    crop=Crop(min_scale=0.4),
    rotate_degrees=20,
    tilt_degrees=10,
    translate=0.1,
    zoom=0.2,
    brightness=0.3,
    contrast=0.3,
    erase=Erase(probability=0.5),
)
ONE_BY_ONE = [
    Augment.model_validate({name: value})
    for name, value in EVERYTHING.model_dump().items()
    if value != getattr(Augment(), name)
]
MANY = np.arange(2000)


def batch(count=10, dtype=np.uint8, channels=1, shape=(6, 8, 9)) -> torch.Tensor:
    values = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (count, *shape, channels), dtype)
    return torch.from_numpy(values)


def augmented(volumes, config, positions=None, version=0):
    positions = np.arange(len(volumes)) if positions is None else np.asarray(positions)
    return augment(volumes, config, seed=0, positions=positions, versions=np.full(len(volumes), version))


def varied(volume, **variation) -> np.ndarray:
    return apply_variation(torch.from_numpy(volume.copy())[None], Variation(**variation))[0].numpy()


def drawn(size=(32, 32, 32), **config) -> Variation:
    return draw_variation(Augment.model_validate(config), 0, MANY, np.zeros(len(MANY), int), size=size)


@pytest.mark.parametrize("config", [EVERYTHING, *ONE_BY_ONE])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_volume_is_varied_the_same_in_every_batch(config, dtype, channels):
    volumes = batch(dtype=dtype, channels=channels)
    together = augmented(volumes, config)
    alone = torch.cat([augmented(volumes[i : i + 1], config, [i]) for i in range(len(volumes))])
    order = np.random.default_rng(1).permutation(len(volumes))
    assert together.shape == volumes.shape
    assert torch.equal(alone, together)
    taken = torch.from_numpy(volumes.numpy()[order])
    assert torch.equal(augmented(taken, config, order), together[torch.from_numpy(order)])
    assert not torch.equal(augmented(volumes, config, version=1), together)


def test_the_original_stays():
    volumes = batch()
    before = volumes.clone()
    augmented(volumes, EVERYTHING)
    assert torch.equal(volumes, before)


@pytest.mark.parametrize(("name", "axis"), [("flipped", 2), ("flipped_rows", 1), ("flipped_slices", 0)])
def test_each_axis_can_be_flipped(name, axis):
    volume = batch(1)[0].numpy()
    assert (varied(volume, **{name: np.array([True])}) == np.flip(volume, axis)).all()
    assert (varied(volume, **{name: np.array([False])}) == volume).all()


def test_flips_are_drawn_independently():
    found = drawn(horizontal_flip=0.5, vertical_flip=0.5, depth_flip=0.2)
    flips = np.stack([found.flipped, found.flipped_rows, found.flipped_slices])
    assert flips.mean(axis=1) == pytest.approx([0.5, 0.5, 0.2], abs=0.04)
    assert np.corrcoef(flips) == pytest.approx(np.eye(3), abs=0.06)


def test_a_box_is_looked_up_as_scipy_interpolates():
    """An affine map of (x, y, z) in −1 … 1 against scipy in voxels, inside the border."""
    volume, n = batch(1, shape=(10, 12, 14))[0].numpy(), np.array([14, 12, 10])
    matrix = np.array([[0.5, 0.1, 0.05], [-0.1, 0.6, 0.1], [0.1, -0.05, 0.55]])
    shift = np.array([0.05, -0.1, 0.08])
    seen = varied(volume, sources=np.concatenate([matrix, shift[:, None]], axis=1)[None])[..., 0]
    voxels = np.stack(np.meshgrid(*[np.arange(k) for k in n], indexing="ij"))  # x, y, z
    places = (voxels + 0.5) * (2 / n[:, None, None, None]) - 1
    there = np.tensordot(matrix, places, axes=1) + shift[:, None, None, None]
    x, y, z = ((there[i] + 1) * n[i] / 2 - 0.5 for i in range(3))
    expected = map_coordinates(volume[..., 0].astype(float), [z, y, x], order=1, mode="reflect")
    assert np.abs(seen - expected.T).max() < 0.01


SIZE = (24, 40, 32)


def voxel_matrices(**config) -> np.ndarray:
    """[b, 3, 3] maps of (x, y, z) in voxels."""
    sides = np.array(SIZE[::-1], float)
    return drawn(SIZE, **config).sources[:, :, :3] / (sides / sides[:, None])


def test_turning_keeps_distances_between_voxels_whatever_the_sides():
    turns = voxel_matrices(rotate_degrees=30, tilt_degrees=20)
    assert turns @ turns.transpose(0, 2, 1) == pytest.approx(np.tile(np.eye(3), (len(MANY), 1, 1)), abs=1e-9)
    assert np.linalg.det(turns) == pytest.approx(np.ones(len(MANY)))


def test_rotation_stays_within_the_slices_and_tilts_leave_them():
    flat = voxel_matrices(rotate_degrees=30)
    assert (flat[:, 2] == [0, 0, 1]).all()
    angles = np.degrees(np.arctan2(flat[:, 1, 0], flat[:, 0, 0]))
    assert np.abs(angles).max() == pytest.approx(30, abs=0.2)
    tilted = voxel_matrices(tilt_degrees=10)
    about_x, about_y = (np.degrees(np.arcsin(np.abs(tilted[:, 2, i]))) for i in (1, 0))
    assert about_x.max() == pytest.approx(10, abs=0.2)
    assert about_y.max() == pytest.approx(10, abs=0.2)
    assert abs(np.corrcoef(tilted[:, 2, 0], tilted[:, 2, 1])[0, 1]) < 0.06


def test_crops_have_the_share_of_the_volume_and_lie_in_it():
    sources = drawn(crop={"min_scale": 0.3}).sources
    sides = np.diagonal(sources[:, :, :3], axis1=1, axis2=2)
    starts = (sources[:, :, 3] + 1 - sides) / 2
    assert (starts >= -1e-9).all()
    assert (starts + sides <= 1 + 1e-9).all()
    shares = sides.prod(axis=1)
    assert (shares.min(), shares.max()) == pytest.approx((0.3, 1), abs=0.01)
    assert starts.std(axis=0).min() > 0.05
    ratios = sides[:, 0] / sides[:, 1]
    assert ratios.max() <= 4 / 3 + 1e-9


def test_an_erased_box_has_the_mean_and_the_share_asked_for():
    found = drawn(erase={"probability": 1, "max_scale": 0.3})
    shares = found.erased[:, 3:].prod(axis=1)
    assert (shares.min(), shares.max()) == pytest.approx((0.02, 0.3), abs=0.01)
    assert (found.erased[:, :3] + found.erased[:, 3:] <= 1 + 1e-9).all()
    volume = batch(1, shape=(8, 8, 8))[0].numpy()
    box = np.array([[0.25, 0.5, 0, 0.5, 0.25, 0.75]])  # left, top, front, width, height, depth
    seen = varied(volume, erased=box)
    inside = np.zeros(volume.shape, bool)
    inside[0:6, 4:6, 2:6] = True
    assert seen[inside] == pytest.approx(np.full(inside.sum(), volume.mean()), abs=1e-3)
    assert (seen[~inside] == volume[~inside]).all()


def test_brightness_and_contrast_are_those_of_the_whole_volume():
    volume = np.full((4, 5, 6, 1), 100, np.uint8)
    volume[:2] = 60
    seen = varied(volume, colours=np.array([[1.5, 0.5, 1.0]]))
    assert sorted(set(seen.ravel().tolist())) == pytest.approx([1.5 * (80 - 10), 1.5 * (80 + 10)])


def test_shifts_go_along_all_three_axes():
    shifts = drawn(translate=0.2).sources[:, :, 3]
    assert np.abs(shifts).max(axis=0) == pytest.approx([0.4] * 3, abs=0.01)
    assert np.corrcoef(shifts.T) == pytest.approx(np.eye(3), abs=0.06)
