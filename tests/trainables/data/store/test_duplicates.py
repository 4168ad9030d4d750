"""The same picture among many is found, and different pictures are told apart."""

import io

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from trainables.data.store import duplicates
from trainables.data.store.image_details import Measures


def measured(images: np.ndarray) -> np.ndarray:
    measures = Measures()
    for image in images:
        measures.add(image)
    return measures.all()


def copies(images: np.ndarray) -> np.ndarray:
    return duplicates.copies(images, measured(images)["checksum"])


def alike(images: np.ndarray, copy_of: np.ndarray, sides: np.ndarray) -> np.ndarray:
    found = measured(images)
    return duplicates.alike(images, copy_of, sides, hashes=found["hash"], has_detail=found["has_detail"])


def photos(count: int, size: int = 32) -> np.ndarray:
    cells = np.random.default_rng(0).integers(0, 256, (count, 6, 6, 3), np.uint8)
    resized = [Image.fromarray(each).resize((size, size), Image.Resampling.BICUBIC) for each in cells]
    return np.stack([np.asarray(image) for image in resized])


def jpeg(image: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=80)
    return np.asarray(Image.open(file))


def test_copies_name_the_first_of_them():
    images = photos(6)[[0, 1, 2, 1, 3, 0, 0, 4]]
    assert copies(images).tolist() == [0, 1, 2, 1, 4, 0, 0, 7]


def test_equal_checksums_alone_do_not_make_copies(monkeypatch):
    monkeypatch.setattr("zlib.crc32", lambda _: 7)
    images = photos(3)[[0, 1, 1, 2, 0]]
    assert copies(images).tolist() == [0, 1, 1, 3, 0]


@pytest.mark.parametrize("volumes", [False, True])
def test_compressed_copies_are_found_among_many(volumes):
    random, images = np.random.default_rng(1), photos(3000)
    chosen = random.choice(3000, 200, replace=False)
    everything = np.concatenate([images, [jpeg(images[i]) for i in chosen], images[chosen[:50]]])
    order = random.permutation(len(everything))
    mixed = everything[order]
    mixed = mixed[:, None].repeat(3, axis=1) if volumes else mixed
    copy_of = copies(mixed)
    like = alike(mixed, copy_of, np.full(len(mixed), 32))
    original = np.concatenate([np.arange(3000), chosen, chosen[:50]])[order]
    _, first, picture = np.unique(original, return_index=True, return_inverse=True)
    assert (like == first[picture]).mean() > 0.995
    assert (original[like] == original).all()  # no two pictures are taken for one
    assert (like[like] == like).all()
    assert (like[copy_of] == like).all()


def test_what_has_no_detail_or_few_pixels_is_compared_exactly():
    digits = (load_digits().images * 15.9375).astype(np.uint8)[..., None]
    own = np.arange(len(digits))
    assert (copies(digits) == own).all()
    assert (alike(digits, own, np.full(len(digits), 8)) == own).all()
    blank = np.repeat(np.arange(200, dtype=np.uint8), 32 * 32 * 3).reshape(200, 32, 32, 3)
    assert (alike(blank, np.arange(200), np.full(200, 32)) == np.arange(200)).all()


def test_pictures_of_one_fixed_camera_are_not_taken_for_copies():
    random, scene = np.random.default_rng(0), photos(1)[0].astype(int)
    images = (scene + random.normal(0, 6, (40, 32, 32, 3))).clip(0, 255).astype(np.uint8)
    own = np.arange(40)
    assert (alike(images[:4], own[:4], np.full(4, 32)) == 0).all()  # few of them could be copies
    assert (alike(images, own, np.full(40, 32)) == own).all()
    with_copies = np.concatenate([images, photos(20)[10:], [jpeg(image) for image in photos(20)[10:]]])
    like = alike(with_copies, np.arange(60), np.full(60, 32))
    assert like.tolist() == [*range(50), *range(40, 50)]


def test_most_frames_of_a_video_are_grouped():
    still, moving = photos(2)
    steps = np.linspace(0, 1, 40)[:, None, None, None]
    frames = (still * (1 - steps) + moving * steps).astype(np.uint8)
    assert len(set(alike(frames, np.arange(40), np.full(40, 32)).tolist())) <= 5
