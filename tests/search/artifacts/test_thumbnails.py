"""Thumbnails of the worst errors: pictures of what can be read, and reasons for what cannot."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from search.artifacts.thumbnails import thumbnails


def picture(thumbnail):
    return Image.open(io.BytesIO(base64.b64decode(thumbnail.address.removeprefix("data:image/jpeg;base64,"))))


def test_files_are_shown_whole_and_what_cannot_be_read_is_told_of(tmp_path):
    wide, broken = tmp_path / "wide.png", tmp_path / "broken.png"
    Image.new("RGB", (400, 100), "red").save(wide)
    broken.write_bytes(b"no image")
    found = thumbnails(
        {"source": "folder", "path": str(tmp_path)}, [str(wide), str(broken), str(tmp_path / "gone.png")]
    )

    assert picture(found[str(wide)]).size == (192, 48)
    assert found[str(broken)] == (None, "is not an image, or its header is damaged")
    assert found[str(tmp_path / "gone.png")] == (None, "does not exist")


def test_images_of_an_array_are_found_by_name_or_number(tmp_path):
    shades = np.arange(40, dtype=np.uint8)[:, None, None] * np.full((1, 8, 8), 6, np.uint8)
    np.savez(tmp_path / "set.npz", train_images=shades, train_labels=np.arange(40) % 2)
    data = {"source": "npz", "path": str(tmp_path / "set.npz")}
    named, unknown = thumbnails(data, [7, "train_images 99"]).values()

    assert np.asarray(picture(named)).mean() == pytest.approx(42, abs=2)
    assert unknown == (None, "no longer in the data")


def test_data_that_are_gone_are_told_of(tmp_path):
    (one,) = thumbnails({"source": "npz", "path": str(tmp_path / "gone.npz")}, [0]).values()
    assert "does not exist" in one.missing or "No such file" in one.missing


def test_of_a_volume_the_middle_slice_is_shown(tmp_path):
    volumes = np.zeros((8, 5, 6, 6), np.uint8)
    volumes[:, 2] = 200
    np.savez(tmp_path / "set.npz", train_images=volumes, train_labels=np.arange(8) % 2)
    (one,) = thumbnails({"source": "npz", "path": str(tmp_path / "set.npz"), "depth": 8}, [0]).values()
    assert np.asarray(picture(one)).mean() == pytest.approx(200, abs=2)
