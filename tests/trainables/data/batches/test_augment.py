"""Augmentation: each image varied by itself, the same wherever it stands, and the pixels of well-known implementations."""

from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from trainables.core.seeding import splitmix64, uniform_numbers
from trainables.data.batches.augment import (
    Variation,
    _mean_colours,
    apply_variation,
    augment,
    draw_variation,
    view_numbers,
)
from trainables.data.batches.batches import normalise
from trainables.recipe.augment_config import Augment, Crop, Erase

EVERYTHING = Augment(
    horizontal_flip=0.5,
    crop=Crop(min_scale=0.4),
    rotate_degrees=20,
    translate=0.1,
    zoom=0.2,
    brightness=0.3,
    contrast=0.3,
    saturation=0.3,
    erase=Erase(probability=0.5),
)
ONE_BY_ONE = [EVERYTHING.model_copy(update={name: getattr(Augment(), name)}) for name in Augment.model_fields] + [
    Augment.model_validate({name: value})
    for name, value in EVERYTHING.model_dump().items()
    if value != getattr(Augment(), name)
]
"""All but one, and one alone."""
MANY = np.arange(4000)


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """[64, 64, 3] of a flower."""
    flower = Image.fromarray(load_sample_images().images[1])
    return np.asarray(flower.resize((64, 64), Image.Resampling.BICUBIC, box=(100, 0, 520, 420)))


def batch(channels=3, count=24, height=20, width=20) -> torch.Tensor:
    values = np.random.RandomState(0).randint(0, 256, (count, height, width, channels), np.uint8)
    return torch.from_numpy(values)


def augmented(images, config, *, seed=0, positions=None, version=0):
    positions = np.arange(len(images)) if positions is None else np.asarray(positions)
    return augment(images, config, seed=seed, positions=positions, versions=np.full(len(images), version))


def varied(image, **variation) -> np.ndarray:
    """[h, w, c] of a single image under a variation given for it."""
    return apply_variation(torch.from_numpy(image.copy())[None], Variation(**variation))[0].numpy()


def moved(linear, shift=(0, 0)) -> np.ndarray:
    return np.concatenate([np.array(linear, float), np.array([shift], float).T], axis=1)[None]


def drawn(version=0, positions=MANY, size=(64, 64), **config) -> Variation:
    return draw_variation(Augment.model_validate(config), 0, positions, np.full(len(positions), version), size=size)


# --- random numbers -------------------------------------------------------------------------------------------------


def test_the_generator_is_splitmix64_as_published():
    numbers = splitmix64(np.array([1234567], np.uint64), np.arange(5))
    assert numbers.tolist() == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def test_numbers_are_uniform_and_unrelated():
    numbers = uniform_numbers(0, "test", np.repeat(np.arange(500), 40), np.tile(np.arange(40), 500), count=3)
    assert numbers.shape == (3, 20_000)
    assert ((numbers >= 0) & (numbers < 1)).all()
    for row in numbers:
        shares = np.histogram(row, bins=10, range=(0, 1))[0] / 20_000
        assert shares == pytest.approx([0.1] * 10, abs=0.01)
    neighbours = [numbers[0], numbers[1], numbers[2], np.roll(numbers[0], 1), np.roll(numbers[0], 40)]
    assert np.corrcoef(neighbours) == pytest.approx(np.eye(5), abs=0.03)


def test_numbers_belong_to_their_counters_and_not_to_their_place():
    images, versions = np.arange(50), np.arange(50) % 7
    numbers = uniform_numbers(3, "test", images, versions, count=4)
    order = np.random.RandomState(0).permutation(50)
    assert (uniform_numbers(3, "test", images[order], versions[order], count=4) == numbers[:, order]).all()
    assert (uniform_numbers(3, "test", images[7:8], versions[7:8], count=4) == numbers[:, 7:8]).all()
    assert (uniform_numbers(3, "test", images, versions, count=2) == numbers[:2]).all()


@pytest.mark.parametrize(("seed", "purpose", "image", "version"), [(1, "a", 5, 2), (0, "b", 5, 2), (0, "a", 2, 5)])
def test_another_seed_purpose_or_counter_gives_other_numbers(seed, purpose, image, version):
    usual = uniform_numbers(0, "a", np.array([5]), np.array([2]), count=8)
    assert (uniform_numbers(seed, purpose, np.array([image]), np.array([version]), count=8) != usual).all()


# --- versions -------------------------------------------------------------------------------------------------------


def test_views_come_back_after_as_many_epochs():
    order = np.array([4, 9, 1])
    numbers = [view_numbers(order, epoch=epoch, views=3).tolist() for epoch in range(1, 8)]
    assert numbers == [[view] * 3 for view in (0, 1, 2, 0, 1, 2, 0)]


def test_without_views_every_epoch_is_new():
    order = np.array([4, 9, 4, 1, 4])
    shown = [
        pair for epoch in range(1, 50) for pair in zip(order, view_numbers(order, epoch=epoch, views=None), strict=True)
    ]
    assert len(set(shown)) == len(shown) == 49 * 5


@pytest.mark.parametrize(("views", "expected"), [(2, [1, 1, 0, 1, 1, 0]), (4, [1, 1, 2, 1, 3, 2])])
def test_an_image_drawn_again_in_an_epoch_shows_its_next_view(views, expected):
    assert view_numbers(np.array([4, 9, 4, 1, 4, 9]), epoch=2, views=views).tolist() == expected


def test_repeats_are_counted_in_the_order_of_the_epoch():
    order = np.random.RandomState(0).randint(100, size=2000)
    seen: Counter[int] = Counter()
    expected = []
    for image in order.tolist():
        expected.append(seen[image] % 64)
        seen[image] += 1
    assert view_numbers(order, epoch=1, views=64).tolist() == expected


def test_an_epoch_without_images_has_no_versions():
    assert view_numbers(np.array([], np.int64), epoch=1, views=2).tolist() == []


# --- every image by itself ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [EVERYTHING, *ONE_BY_ONE])
@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_is_varied_the_same_in_every_batch(config, channels):
    images = batch(channels)
    together = augmented(images, config)
    order = np.random.RandomState(1).permutation(24)
    assert torch.equal(augmented(images[order], config, positions=order), together[order])
    for size in (1, 5):
        parts = [np.arange(24)[start : start + size] for start in range(0, 24, size)]
        apart = torch.cat([augmented(images[part], config, positions=part) for part in parts])
        assert torch.equal(apart, together)


def test_threads_change_no_bit():
    images = batch(height=96, width=96)
    one = augmented(images, EVERYTHING)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert torch.equal(augmented(images, EVERYTHING), one)
    finally:
        torch.set_num_threads(before)


def test_everything_happens_where_the_images_are():
    """The device `meta` has shapes but no values, and refuses to be mixed with others."""
    result = augmented(batch().to("meta"), EVERYTHING)
    assert (result.device.type, result.shape) == ("meta", (24, 20, 20, 3))


def test_images_versions_and_seeds_are_varied_differently():
    same = batch(count=1).expand(24, -1, -1, -1)
    results = [augmented(same, EVERYTHING, version=version, seed=seed) for version, seed in ((0, 0), (1, 0), (0, 1))]
    flat = torch.cat(results).flatten(1)
    assert len(flat.unique(dim=0)) == 72
    assert torch.equal(augmented(same, EVERYTHING), results[0])


def test_each_kind_of_variation_has_random_numbers_of_its_own():
    everything = EVERYTHING.model_dump()
    alone, together = drawn(erase=everything["erase"]), drawn(**everything)
    assert (alone.erased == together.erased).all()
    assert (drawn(horizontal_flip=0.5).flipped == together.flipped).all()


def test_no_two_kinds_of_variation_go_together():
    columns = [
        drawn(horizontal_flip=0.5).flipped,
        drawn(rotate_degrees=30).sources[:, 1, 0],
        drawn(zoom=0.5).sources[:, 0, 0],
        *drawn(translate=0.1).sources[:, :, 2].T,
        drawn(crop={"min_scale": 0.3, "max_ratio": 1}).sources[:, 0, 0],
        *drawn(brightness=0.1, contrast=0.1, saturation=0.1).colours.T,
        drawn(erase={"probability": 0.5}).erased[:, 2] > 0,
        drawn(erase={"probability": 1}).erased[:, 2:].prod(axis=1),
    ]
    assert np.corrcoef(columns) == pytest.approx(np.eye(11), abs=0.07)


@pytest.mark.parametrize("config", [Augment(), Augment(views=3)])
def test_nothing_asked_for_changes_no_bit(config):
    images = batch()
    assert augmented(images, config) is images


@pytest.mark.parametrize(
    "config",
    [
        Augment(crop=Crop(min_scale=1, max_ratio=2)),
        Augment(crop=Crop(min_scale=1, max_ratio=1), erase=Erase(probability=0)),
    ],
)
def test_a_variation_of_nothing_changes_nothing(config):
    torch.testing.assert_close(augmented(batch(), config), batch().float(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_results_are_images_in_their_range_and_the_originals_stay(channels):
    images = batch(channels, height=16, width=24)
    before = images.clone()
    result = augmented(images, EVERYTHING)
    assert torch.equal(images, before)
    assert (result.shape, result.dtype) == (images.shape, torch.float32)
    assert 0 <= result.min() < 10
    assert 245 < result.max() <= 255
    seen = normalise(result, (0.5,) * 3, (0.25,) * 3)
    assert seen.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(seen, ((result / 255 - 0.5) / 0.25).permute(0, 3, 1, 2).expand(-1, 3, -1, -1))


def test_grey_pictures_are_varied_as_their_copies_in_colour_are():
    grey = augmented(batch(1), EVERYTHING)
    colour = augmented(batch(1).expand(-1, -1, -1, 3), EVERYTHING)
    torch.testing.assert_close(colour, grey.expand(-1, -1, -1, 3), atol=1e-3, rtol=0)


# --- pixels ---------------------------------------------------------------------------------------------------------


def test_flipping_swaps_left_and_right_of_whole_pixels():
    images = batch()
    result = augmented(images, Augment(horizontal_flip=0.5))
    flipped = drawn(positions=np.arange(24), horizontal_flip=0.5).flipped
    assert 0 < flipped.sum() < 24
    assert result.dtype == torch.uint8
    for image, shown, is_flipped in zip(images, result, flipped, strict=True):
        assert torch.equal(shown, torch.flip(image, [1]) if is_flipped else image)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_quarter_turn_is_rot90(photo, turns, monkeypatch):
    monkeypatch.setattr(
        "trainables.data.batches.augment._around_0", lambda u: np.ones_like(u)
    )  # the largest of everything
    sources = drawn(positions=np.arange(1), rotate_degrees=90).sources
    result = photo
    for _ in range(turns):
        result = varied(result, sources=sources)
    torch.testing.assert_close(result, np.rot90(photo, turns).astype(np.float32), atol=0.02, rtol=0)


@pytest.mark.parametrize("size", [(64, 64), (64, 40)])
def test_turning_is_pillows(photo, size, monkeypatch):
    monkeypatch.setattr("trainables.data.batches.augment._around_0", lambda u: np.ones_like(u))
    image = photo[: size[0], : size[1]]
    sources = drawn(positions=np.arange(1), size=size, rotate_degrees=20).sources
    expected = np.asarray(Image.fromarray(image).rotate(20, Image.Resampling.BILINEAR), np.float32)
    inside = slice(size[0] // 4, -size[0] // 4), slice(size[1] // 4, -size[1] // 4)
    assert np.abs(varied(image, sources=sources) - expected)[inside].max() < 1.5


def test_a_crop_is_pillows_enlarged_box(photo):
    left, top, width, height = 10, 6, 40, 50
    half = width / 64, height / 64
    centre = (2 * left + width) / 64 - 1, (2 * top + height) / 64 - 1
    result = varied(photo, sources=moved([[half[0], 0], [0, half[1]]], centre))
    box = (left, top, left + width, top + height)
    expected = np.asarray(Image.fromarray(photo).resize((64, 64), Image.Resampling.BILINEAR, box=box), np.float32)
    assert np.abs(result - expected)[2:-2, 2:-2].max() < 1.5


@pytest.mark.parametrize(("shift", "rolled"), [((0.25, 0), (0, -8)), ((0, 0.125), (-4, 0)), ((-0.25, 0.25), (-8, 8))])
def test_a_shift_moves_the_content_and_mirrors_the_border(photo, shift, rolled):
    result = varied(photo, sources=moved(np.eye(2), shift))
    mirrored = np.pad(photo, ((8, 8), (8, 8), (0, 0)), mode="symmetric")
    expected = np.roll(mirrored, rolled, axis=(0, 1))[8:-8, 8:-8]
    torch.testing.assert_close(result, expected.astype(np.float32), atol=0.01, rtol=0)


@pytest.mark.parametrize("sign", [1, -1])
def test_translation_is_a_share_of_the_side(photo, sign, monkeypatch):
    monkeypatch.setattr("trainables.data.batches.augment._around_0", lambda u: sign * np.ones_like(u))
    sources = drawn(positions=np.arange(1), translate=0.25).sources
    result = varied(photo, sources=sources)
    moved_by_16 = np.roll(photo, (16 * sign, 16 * sign), axis=(0, 1)).astype(np.float32)
    torch.testing.assert_close(result[20:-20, 20:-20], moved_by_16[20:-20, 20:-20], atol=0.01, rtol=0)


def test_zooming_keeps_the_centre_and_enlarges_around_it(photo, monkeypatch):
    monkeypatch.setattr("trainables.data.batches.augment._around_0", lambda u: np.ones_like(u))
    result = varied(photo, sources=drawn(positions=np.arange(1), zoom=1.0).sources)
    expected = np.asarray(
        Image.fromarray(photo).resize((64, 64), Image.Resampling.BILINEAR, box=(16, 16, 48, 48)), np.float32
    )
    assert np.abs(result - expected)[2:-2, 2:-2].max() < 1.5


def torchvisions_colours(image, brightness, contrast, saturation):
    """The formulas of torchvision.transforms.v2.functional, each clamped, one after the other."""

    def grey(values):
        return values @ np.array([0.299, 0.587, 0.114])[:, None]

    image = np.clip(brightness * image.astype(float), 0, 255)
    image = np.clip(contrast * image + (1 - contrast) * grey(image).mean(), 0, 255)
    return np.clip(saturation * image + (1 - saturation) * grey(image), 0, 255)


@pytest.mark.parametrize(
    "factors", [(1, 1, 1), (0.5, 1, 1), (1.7, 1, 1), (1, 0.2, 1), (1, 1.8, 1), (1, 1, 0), (1, 1, 1.9), (0.8, 0.7, 1.2)]
)
def test_colours_change_as_torchvisions_do(photo, factors):
    result = varied(photo, colours=np.array([factors], float))
    expected = torchvisions_colours(photo, *factors)
    assert np.abs(result - expected).max() < 0.01


def test_an_erased_rectangle_has_the_mean_colour_of_its_image(photo):
    result = varied(photo, erased=np.array([[0.25, 0.5, 0.125, 0.25]]))
    expected = photo.astype(np.float32)
    expected[32:48, 16:24] = photo.mean(axis=(0, 1))
    torch.testing.assert_close(result, expected)


def test_erasing_comes_after_moving_and_before_colours(photo):
    darker = {"erased": np.array([[0, 0, 0.5, 0.5]]), "colours": np.array([[0.5, 1.0, 1.0]])}
    result = varied(photo, sources=moved(np.eye(2), (0.5, 0.5)), **darker)
    torch.testing.assert_close(
        result[:32, :32], np.broadcast_to(photo.mean(axis=(0, 1)) / 2, (32, 32, 3)).astype(np.float32)
    )


# --- what is drawn --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("probability", [0.0, 0.2, 1.0])
def test_probabilities_are_shares_of_the_images(probability):
    erased = drawn(erase={"probability": probability}).erased
    assert (erased[:, 2] > 0).mean() == pytest.approx(probability, abs=0.02)
    flipped = drawn(horizontal_flip=probability).flipped
    assert (0.0 if flipped is None else flipped.mean()) == pytest.approx(probability, abs=0.02)


def test_angles_zooms_and_shifts_go_as_far_as_asked_either_way():
    turned = drawn(rotate_degrees=30).sources
    angles = np.degrees(np.arctan2(turned[:, 1, 0], turned[:, 0, 0]))
    assert (angles.min(), angles.mean(), angles.max()) == pytest.approx((-30, 0, 30), abs=0.6)
    zooms = 1 / drawn(zoom=0.5).sources[:, 0, 0]
    assert (zooms.min(), np.median(zooms), zooms.max()) == pytest.approx((1 / 1.5, 1, 1.5), abs=0.02)
    shifts = drawn(translate=0.1).sources[:, :, 2] / 2
    assert np.concatenate([shifts.min(axis=0), shifts.max(axis=0)]) == pytest.approx([-0.1, -0.1, 0.1, 0.1], abs=0.002)


def test_colour_factors_go_as_far_as_asked_either_way():
    colours = drawn(brightness=0.4, saturation=1.0).colours
    assert colours.min(axis=0) == pytest.approx([0.6, 1, 0], abs=0.01)
    assert colours.max(axis=0) == pytest.approx([1.4, 1, 2], abs=0.01)
    assert abs(np.corrcoef(colours[:, 0], colours[:, 2])[0, 1]) < 0.05


@pytest.mark.parametrize(("min_scale", "max_ratio"), [(0.7, 4 / 3), (0.08, 4 / 3), (0.5, 1.0), (0.2, 9.0)])
def test_crops_lie_in_the_image_and_have_the_areas_and_ratios_asked_for(min_scale, max_ratio):
    sources = drawn(crop={"min_scale": min_scale, "max_ratio": max_ratio}).sources
    width, height = sources[:, 0, 0], sources[:, 1, 1]
    centres = sources[:, :, 2]
    assert (np.abs(centres) + np.stack([width, height], axis=1) <= 1 + 1e-9).all()
    areas = width * height
    quartiles = np.quantile(areas, [0, 0.25, 0.5, 0.75, 1])
    assert quartiles == pytest.approx(np.linspace(min_scale, 1, 5), abs=0.03)
    ratios = width / height
    largest = min(max_ratio, 1 / min_scale)
    assert ratios.max() <= largest + 1e-9
    assert ratios.min() >= 1 / largest - 1e-9
    assert np.median(np.log(ratios)) == pytest.approx(0, abs=0.05)
    free = centres[:, 0] / np.maximum(1 - width, 1e-9)
    assert np.histogram(free, bins=4, range=(-1, 1))[0] / len(MANY) == pytest.approx([0.25] * 4, abs=0.03)


def test_erased_rectangles_lie_in_the_image_and_have_the_areas_asked_for():
    left, top, width, height = drawn(erase={"probability": 1, "max_scale": 0.9}).erased.T
    assert min(left.min(), top.min()) >= 0
    assert max((left + width).max(), (top + height).max()) <= 1 + 1e-9
    areas = width * height
    assert (areas.min(), np.median(areas), areas.max()) == pytest.approx((0.02, 0.46, 0.9), abs=0.02)
    assert (width / height).max() <= 3.3 + 1e-9


def test_what_lies_around_a_crop_comes_into_sight_when_it_is_turned():
    """A turned crop looks beyond its own borders before any pixel is mirrored."""
    cropped = drawn(crop={"min_scale": 0.3, "max_ratio": 1}).sources
    turned = drawn(crop={"min_scale": 0.3, "max_ratio": 1}, rotate_degrees=45).sources
    assert turned[:, :, 2] == pytest.approx(cropped[:, :, 2])
    areas = [np.linalg.det(sources[:, :, :2]) for sources in (cropped, turned)]
    assert areas[1] == pytest.approx(areas[0])


# --- 16 bits --------------------------------------------------------------------------------------------------------


def widened(images: torch.Tensor) -> torch.Tensor:
    """The same pictures in 16 bits: 255 becomes 65535."""
    return torch.from_numpy(images.numpy().astype(np.uint16) * 257)


@pytest.mark.parametrize("config", ONE_BY_ONE)
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_are_varied_as_8_bits_are(config, channels):
    narrow = augmented(batch(channels), config)
    wide = augmented(widened(batch(channels)), config)
    assert wide.dtype == torch.float32
    torch.testing.assert_close(wide, narrow.float(), atol=2e-4, rtol=2e-5)


def test_what_8_bits_would_lose_stays():
    fine = torch.from_numpy(np.arange(65_136, 65_536, dtype=np.uint16).reshape(1, 20, 20, 1))
    flipped = augmented(fine, Augment(horizontal_flip=1.0))
    assert len(flipped.unique()) == 400
    assert flipped[0, 0, -1, 0].item() == pytest.approx(65_136 / 257)


@pytest.mark.parametrize("size", [(20, 20), (3, 700)])
def test_an_image_of_16_bits_is_varied_the_same_in_every_batch(size):
    images = torch.from_numpy(np.random.RandomState(0).randint(0, 2**16, (6, *size, 3)).astype(np.uint16))
    together = augmented(images, EVERYTHING)
    alone = torch.cat([augmented(images[i : i + 1], EVERYTHING, positions=[i]) for i in range(6)])
    assert torch.equal(together, alone)
    assert together.min() >= 0
    assert together.max() <= 255


@pytest.mark.parametrize("width", [20, 700])
def test_the_mean_colour_of_16_bits_is_exact(width):
    images = np.random.RandomState(0).randint(0, 2**16, (2, 3, 5, width))
    means = _mean_colours(torch.from_numpy(images).float())
    assert (means.numpy() == images.sum(axis=(2, 3)) / (5 * width)).all()


def test_a_bright_image_of_16_bits_is_clamped_at_white():
    images = torch.from_numpy(np.full((1, 8, 8, 3), 60_000, np.uint16))
    brighter = apply_variation(images, Variation(colours=np.array([[2.0, 1.0, 1.0]])))
    darker = apply_variation(images, Variation(colours=np.array([[0.5, 1.0, 1.0]])))
    assert (brighter.unique().tolist(), darker.unique().tolist()) == ([255.0], pytest.approx([30_000 / 257]))
