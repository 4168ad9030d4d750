"""Image files of every kind become upright 8-bit grey or RGB; broken ones say why they cannot be read."""

import numpy as np
import pytest
from PIL import Image

from trainables.data.images import BadImageError, is_grey, read_image

RAMP = np.linspace(0, 255, 20 * 30).reshape(20, 30).astype(np.uint8)
COLOUR = np.stack([RAMP, RAMP // 2, 255 - RAMP], axis=2)


@pytest.mark.parametrize(
    ("mode", "name", "grey"),
    [
        ("RGB", "a.png", False),
        ("RGB", "a.jpg", False),
        ("RGB", "a.webp", False),
        ("RGB", "a.bmp", False),
        ("RGB", "a.tiff", False),
        ("RGBA", "a.png", False),
        ("P", "a.png", False),
        ("CMYK", "a.jpg", False),
        ("L", "a.jpg", True),
        ("L", "a.bmp", True),
        ("LA", "a.png", True),
        ("1", "a.png", True),
        ("I;16", "a.png", True),
        ("I;16", "a.tiff", True),
    ],
)
def test_every_colour_model_becomes_grey_or_rgb(tmp_path, mode, name, grey):
    path = tmp_path / name
    picture = Image.fromarray(RAMP.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(COLOUR).convert(mode)
    picture.save(path)
    assert is_grey(path) is grey
    expected = RAMP if mode == "I;16" else np.asarray(picture.convert("L" if grey else "RGB"))
    image = read_image(path, grey=grey)
    assert (image.shape, image.dtype) == ((20, 30, 1 if grey else 3), np.uint8)
    tolerance = 3 if path.suffix in {".jpg", ".webp"} else 0
    assert np.abs(image.squeeze().astype(int) - expected).mean() <= tolerance


@pytest.mark.parametrize(("value", "byte"), [(0, 0), (128, 0), (129, 1), (32768, 128), (65535, 255)])
def test_16_bit_grey_is_rescaled_not_clipped(tmp_path, value, byte):
    path = tmp_path / "deep.png"
    Image.fromarray(np.full((4, 4), value, np.uint16)).save(path)
    assert (read_image(path, grey=True) == byte).all()


def test_grey_images_among_coloured_ones_are_repeated_over_three_channels(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(RAMP).save(path)
    assert (read_image(path, grey=False) == RAMP[:, :, None]).all()


def test_a_transparent_palette_reads_without_warnings(tmp_path, recwarn):
    path = tmp_path / "a.png"
    Image.fromarray(COLOUR).quantize(16).save(path, transparency=bytes([0, 128, 255]))
    assert read_image(path, grey=False).shape == (20, 30, 3)
    assert not recwarn.list


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [(1, lambda a: a), (3, lambda a: a[::-1, ::-1]), (6, lambda a: np.rot90(a, -1)), (8, np.rot90)],
)
def test_exif_orientation_is_applied(tmp_path, orientation, upright):
    path = tmp_path / "a.png"
    picture = Image.fromarray(COLOUR)
    exif = picture.getexif()
    exif[0x0112] = orientation
    picture.save(path, exif=exif)
    assert (read_image(path, grey=False) == upright(COLOUR)).all()


def cut_in_half(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    ("name", "spoil", "reason"),
    [
        ("a.png", lambda path: path.write_bytes(b""), "is empty"),
        ("a.jpg", lambda path: path.write_text("<html>not found</html>"), "is no image, or damaged"),
        ("a.jpg", cut_in_half, "truncated"),
        ("a.png", cut_in_half, "truncated"),
        ("a.webp", cut_in_half, "is no image, or damaged|could not|truncated|failed"),
        ("a.bmp", cut_in_half, "truncated"),
        ("a.png", lambda path: path.write_bytes(path.read_bytes()[:60] + b"\0" * 900), "."),
        ("a.jpg", lambda path: path.unlink(), "No such file"),
        ("a.tiff", lambda path: Image.fromarray(RAMP.astype(np.float32)).save(path), "floating-point"),
        ("a.tiff", lambda path: Image.fromarray(RAMP.astype(np.int32) * 1000).save(path), "outside 0..65535"),
    ],
)
def test_a_bad_file_is_named_with_its_reason(tmp_path, name, spoil, reason):
    path = tmp_path / name
    Image.fromarray(np.random.RandomState(0).randint(0, 255, (60, 90, 3), np.uint8)).save(path)
    spoil(path)
    assert is_grey(path) in {True, False}
    with pytest.raises(BadImageError, match=f"{name}: .*({reason})"):
        read_image(path, grey=True)
