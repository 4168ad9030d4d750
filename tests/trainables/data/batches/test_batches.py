"""Order, batches and what the network sees: seeded, complete, balanced where asked, and the right numbers."""

import dataclasses

import numpy as np
import pytest
import torch

from trainables.data.batches import gpu_resident
from trainables.data.batches.batches import (
    derived_seed,
    epoch_order,
    gather,
    generator,
    normalise,
    own_statistics,
    split_batches,
    standardise,
)
from trainables.data.dataset import Dataset

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.fixture
def dataset() -> Dataset:
    """Three classes of 80, 15 and 5 training images, colours at random."""
    labels = np.repeat([0, 1, 2], [90, 20, 10])
    train = np.concatenate([np.arange(80), np.arange(90, 105), np.arange(110, 115)])
    images = np.random.RandomState(0).randint(0, 256, (120, 6, 5, 3), np.uint8)
    validation = np.setdiff1d(np.arange(120), train)
    return Dataset(images, labels, ("a", "b", "c"), train, validation, "fingerprint")


def test_an_epoch_shows_every_training_image_once_in_a_new_order(dataset):
    orders = [epoch_order(dataset, balanced=False, seed=0, epoch=epoch) for epoch in range(3)]
    assert all((np.sort(order) == dataset.train).all() for order in orders)
    assert len({tuple(order) for order in orders}) == 3


@pytest.mark.parametrize("balanced", [False, True])
def test_an_order_needs_no_history(dataset, balanced):
    first, again, other = (epoch_order(dataset, balanced=balanced, seed=seed, epoch=5) for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()


def test_a_balanced_epoch_draws_classes_and_their_images_equally(dataset):
    drawn = np.concatenate([epoch_order(dataset, balanced=True, seed=0, epoch=epoch) for epoch in range(300)])
    assert len(drawn) == 300 * len(dataset.train)
    assert set(drawn) == set(dataset.train)
    shares = np.bincount(dataset.labels[drawn]) / len(drawn)
    assert shares == pytest.approx([1 / 3] * 3, abs=0.01)
    rare = np.bincount(drawn, minlength=120)[110:115] / len(drawn)
    assert rare == pytest.approx([1 / 15] * 5, abs=0.01)


@pytest.mark.parametrize(
    ("images", "batch_size", "sizes"),
    [
        (64, 32, [32, 32]),
        (65, 32, [22, 22, 21]),  # not 32, 32, 1
        (10, 32, [10]),
        (3, 1, [1, 1, 1]),
        (5, 2, [3, 2]),  # not 2, 2, 1
        (1, 2, [1]),
        (0, 32, []),
    ],
)
def test_batches_are_near_equal_and_drop_nothing(images, batch_size, sizes):
    batches = split_batches(np.arange(images), batch_size)
    assert [len(batch) for batch in batches] == sizes
    assert [i for batch in batches for i in batch] == list(range(images))


def test_a_batch_holds_its_images_and_labels(dataset):
    images, labels = gather(dataset, np.array([111, 0, 95]), "cpu")
    assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)
    assert labels.tolist() == [2, 0, 1]
    assert (images.numpy() == dataset.images[[111, 0, 95]]).all()
    images.zero_()
    assert dataset.images[0].any()  # a copy: a trainer may write to it


def test_a_batch_can_be_of_another_size(dataset):
    small = dataset.images[:, :3, :3]
    both = dataclasses.replace(dataset, images_at={3: small})
    images, _ = gather(both, np.array([5, 4]), image_size=3)
    assert (images.numpy() == small[[5, 4]]).all()
    assert (gather(both, np.array([5, 4]))[0].numpy() == dataset.images[[5, 4]]).all()


def test_nothing_is_resident_on_a_cpu(dataset):
    assert gpu_resident.resident(dataset.images, torch.device("cpu")) is None


@pytest.mark.parametrize(("free", "fits"), [(4 * 120 * 90, True), (4 * 120 * 90 - 1, False)])
def test_images_are_resident_where_they_take_at_most_a_quarter_of_what_is_free(dataset, monkeypatch, free, fits):
    monkeypatch.setattr(gpu_resident, "_free_bytes", lambda device: free)
    assert (gpu_resident.resident(dataset.images, torch.device("cpu")) is not None) == fits


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_resident_images_come_like_others(dataset, monkeypatch, dtype):
    images = np.random.RandomState(0).randint(0, np.iinfo(dtype).max + 1, (120, 6, 5, 3)).astype(dtype)
    dataset = dataclasses.replace(dataset, images=images, images_at={6: images, 3: images[:, :3]})
    order = np.array([111, 0, 95, 0])
    expected = [gather(dataset, order, image_size=size) for size in (None, 3)]
    monkeypatch.setattr(gpu_resident, "_CHUNK_BYTES", 50 * 6 * 5 * 3)
    monkeypatch.setattr(gpu_resident, "_free_bytes", lambda device: 10**9)
    gpu_resident._images_on.cache_clear()
    for size, (images_then, labels_then) in zip((None, 3), expected, strict=True):
        now, labels = gather(dataset, order, image_size=size)
        assert now.dtype == images_then.dtype
        assert (now.numpy() == images_then.numpy()).all()
        assert torch.equal(labels, labels_then)
    assert gpu_resident._images_on.cache_info().currsize == 2
    gather(dataset, order)
    assert gpu_resident._images_on.cache_info().hits >= 1  # not sent to the device again
    gpu_resident._images_on.cache_clear()


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_are_normalised_by_their_own_maximum(channels):
    narrow = torch.randint(0, 256, (4, 6, 5, channels), dtype=torch.uint8)
    wide = torch.from_numpy(narrow.numpy().astype(np.uint16) * 257)
    assert torch.equal(normalise(wide, *IMAGENET), normalise(narrow, *IMAGENET))
    finer = torch.from_numpy(wide.numpy() // 2)
    torch.testing.assert_close(normalise(finer, (0,) * 3, (1,) * 3).amax(), finer.float().amax() / 65535)
    assert not torch.equal(normalise(finer, *IMAGENET), normalise(narrow // 2, *IMAGENET))


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_normalised_in_channels_last_format(channels):
    images = torch.randint(0, 256, (4, 6, 5, channels), dtype=torch.uint8)
    before = images.clone()
    seen = normalise(images, *IMAGENET)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in IMAGENET)
    expected = (images.permute(0, 3, 1, 2).expand(4, 3, 6, 5) / 255 - mean) / std
    torch.testing.assert_close(seen, expected, atol=1e-6, rtol=1e-6)
    assert (seen.shape, seen.dtype) == ((4, 3, 6, 5), torch.float32)
    assert seen.is_contiguous(memory_format=torch.channels_last)
    assert (images == before).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_images_that_were_augmented_are_normalised_like_others_and_stay(channels):
    images = torch.randint(0, 256, (4, 6, 5, channels), dtype=torch.uint8)
    augmented = images.float()
    assert torch.equal(normalise(augmented, *IMAGENET), normalise(images, *IMAGENET))
    assert torch.equal(augmented, images.float())


def test_an_image_looks_the_same_in_every_batch():
    images = torch.randint(0, 256, (9, 7, 5, 3), dtype=torch.uint8)
    alone = torch.cat([normalise(image[None], *IMAGENET) for image in images])
    assert (normalise(images, *IMAGENET) == alone).all()


def test_normalising_leaves_the_next_call_alone():
    images = torch.full((1, 8, 8, 3), 255, dtype=torch.uint8)
    first = normalise(images, (0.5,) * 3, (0.5,) * 3).add_(7)
    torch.testing.assert_close(normalise(images, (0.5,) * 3, (0.5,) * 3), first - 7)


def test_generators_are_seeded_by_purpose():
    first, again, other = (torch.rand(3, generator=generator(0, purpose, 4)) for purpose in ("head", "head", "dropout"))
    assert (first == again).all()
    assert (first != other).all()
    assert generator(0, "head", 4).initial_seed() == derived_seed(0, "head", 4)


# --- volumes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("channels", "taken"), [(1, 1), (1, 3), (3, 3)])
def test_volumes_are_normalised_in_channels_last_format(channels, taken):
    volumes = torch.randint(0, 256, (2, 3, 4, 5, channels), dtype=torch.uint8)
    mean, std = (0.4, 0.5, 0.6)[:taken], (0.2, 0.3, 0.1)[:taken]
    seen = normalise(volumes, mean, std)
    of_each = [torch.tensor(values).view(taken, 1, 1, 1) for values in (mean, std)]
    expected = (volumes.movedim(-1, 1).expand(2, taken, 3, 4, 5) / 255 - of_each[0]) / of_each[1]
    torch.testing.assert_close(seen, expected, atol=1e-6, rtol=1e-6)
    assert seen.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_volume_is_standardised_by_what_is_not_black(dtype):
    values = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (5, 4, 6, 5, 1), dtype)
    values[values < np.iinfo(dtype).max // 3] = 0
    values[3], values[4] = 0, 7
    volumes = torch.from_numpy(values)
    mean, deviation = own_statistics(volumes)
    seen = standardise(volumes, mean, deviation)
    for volume, of_volume in zip(values[:3, ..., 0].astype(float), seen[:3, 0].numpy(), strict=True):
        inside = volume[volume > 0]
        assert of_volume == pytest.approx((volume - inside.mean()) / inside.std(), abs=1e-4)
    assert (seen[3:] == 0).all()  # of a single value
    assert seen.is_contiguous(memory_format=torch.channels_last_3d)
    alone = torch.cat([standardise(v[None], *own_statistics(v[None])) for v in volumes])
    assert torch.equal(alone, seen)
    assert (volumes.numpy() == values).all()


def test_black_voxels_are_filled_with_the_same_noise_in_each_volume():
    values = np.random.default_rng(0).integers(0, 3, (2, 20, 30, 30, 1), np.uint8)
    volumes = torch.from_numpy(values)
    plain, noisy = (standardise(volumes, *own_statistics(volumes), noise=noise) for noise in (False, True))
    black = torch.from_numpy(values == 0).movedim(-1, 1)
    assert torch.equal(noisy[~black], plain[~black])
    assert abs(noisy[black].mean()) < 0.03
    assert noisy[black].std() == pytest.approx(1, abs=0.03)
    both = black[0] & black[1]
    assert torch.equal(noisy[0][both], noisy[1][both])
    assert noisy.is_contiguous(memory_format=torch.channels_last_3d)


def test_the_statistics_of_a_large_volume_are_exact():
    values = np.random.default_rng(0).integers(1, 65535, (2, 40, 40, 41, 1), np.uint16)
    mean, deviation = own_statistics(torch.from_numpy(values))
    for i, volume in enumerate(values.astype(object).reshape(2, -1)):
        exact = volume.sum() / len(volume)
        assert mean[i].item() == exact / 257
        squares = (volume**2).sum() / len(volume)
        assert deviation[i].item() == pytest.approx((squares - exact**2) ** 0.5 / 257, rel=1e-12)
