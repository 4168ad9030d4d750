"""Image files of every kind become upright 8-bit grey or RGB; broken ones say why they cannot be read."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, TiffImagePlugin

from trainables.data.formats.images import BadImageError, Header, read_header, read_image
from trainables.recipe.data_settings.image_settings import Window

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
        ("CMYK", "a.tiff", False),
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
    assert read_header(path) == Header(grey, deep=mode == "I;16")
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


@pytest.mark.parametrize("name", ["deep.png", "deep.tiff"])
def test_16_bit_grey_is_kept_where_that_is_asked_for(tmp_path, name):
    values = np.arange(0, 65536, 64, np.uint16).reshape(32, 32)
    Image.fromarray(values).save(tmp_path / name)
    image = read_image(tmp_path / name, grey=True, deep=True)
    assert (image.shape, image.dtype) == ((32, 32, 1), np.uint16)
    assert (image[:, :, 0] == values).all()


def test_8_bits_among_16_are_spread(tmp_path):
    Image.fromarray(RAMP).save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png", grey=True, deep=True)[:, :, 0] == RAMP * np.uint16(257)).all()


@pytest.mark.parametrize(
    ("ink", "colour"),
    [
        ((255, 0, 0, 0), (0, 255, 255)),
        ((0, 255, 0, 0), (255, 0, 255)),
        ((0, 0, 255, 0), (255, 255, 0)),
        ((0, 0, 0, 255), (0, 0, 0)),
        ((0, 0, 0, 0), (255, 255, 255)),
    ],
)
def test_the_inks_of_a_cmyk_jpeg_have_their_colours(tmp_path, ink, colour):
    Image.new("CMYK", (16, 16), ink).save(tmp_path / "a.jpg", quality=95)  # inverted, as Adobe does
    assert np.abs(read_image(tmp_path / "a.jpg", grey=False).astype(int) - colour).max() <= 3


@pytest.mark.parametrize("name", ["photo.png", "photo.gif", "photo.dcm", "photo"])
def test_the_content_says_what_a_file_is_not_its_suffix(tmp_path, name):
    Image.fromarray(COLOUR).save(tmp_path / name, "JPEG", quality=95)
    assert read_header(tmp_path / name) == Header(grey=False, deep=False)
    assert np.abs(read_image(tmp_path / name, grey=False).astype(int) - COLOUR).mean() <= 3


def write_frames(path, count=3, **options):
    frames = [Image.new("RGB", (20, 30), (80 * i, 255 - 80 * i, 0)) for i in range(count)]
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)


MOVING = {"a.gif": {}, "a.webp": {"lossless": True}, "a.png": {}, "a.tiff": {}}


@pytest.mark.parametrize("name", MOVING)
def test_one_of_several_frames_is_chosen_or_the_file_is_bad(tmp_path, name):
    write_frames(tmp_path / name, **MOVING[name])
    with pytest.raises(BadImageError, match=rf"{name}: has 3 frames; choose one in data.frame: 0 to 2, or middle"):
        read_image(tmp_path / name, grey=False)
    for frame, expected in ((0, 0), ("middle", 1), (2, 2)):
        image = read_image(tmp_path / name, grey=False, frame=frame)
        assert np.abs(image[5, 5].astype(int) - (80 * expected, 255 - 80 * expected, 0)).max() <= 3
    with pytest.raises(BadImageError, match=f"{name}: has no frame 3: its 3 frames are counted from 0"):
        read_image(tmp_path / name, grey=False, frame=3)


@pytest.mark.parametrize("name", MOVING)
def test_one_frame_alone_needs_no_choice(tmp_path, name):
    write_frames(tmp_path / name, count=1, **MOVING[name])
    assert read_image(tmp_path / name, grey=False).shape == (30, 20, 3)


def test_previews_are_no_frames(tmp_path):
    photo, preview = Image.fromarray(COLOUR), Image.fromarray(RAMP[::2, ::2])
    photo.save(tmp_path / "phone.jpg", "MPO", save_all=True, append_images=[preview])
    assert read_image(tmp_path / "phone.jpg", grey=False).shape == (20, 30, 3)
    pages = TiffImagePlugin.AppendingTiffWriter(str(tmp_path / "scan.tiff"), True)
    with pages:
        for page, kind in ((photo, 0), (preview, 1)):
            page.save(pages, "TIFF", tiffinfo={254: kind})
            pages.newFrame()
    with Image.open(tmp_path / "scan.tiff") as scan:
        assert scan.n_frames == 2
    assert (read_image(tmp_path / "scan.tiff", grey=False) == COLOUR).all()


def write_png(path, width, height):
    """A whole black PNG of a bit a pixel, without holding its pixels."""
    packer, packed = zlib.compressobj(9), b""
    for _ in range(height):
        packed += packer.compress(bytes(1 + (width + 7) // 8))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)), (b"IDAT", packed + packer.flush())]
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in [*chunks, (b"IEND", b"")]
        )
    )


def test_a_gigapixel_image_is_refused_with_its_count_and_the_limit(tmp_path, recwarn):
    write_png(tmp_path / "slide.png", 20000, 10000)
    with pytest.raises(BadImageError, match=r"slide.png: .*\(200000000 pixels\) exceeds limit of 178956970 .*patches"):
        read_image(tmp_path / "slide.png", grey=True)
    write_png(tmp_path / "slide.png", 32, 10)
    assert read_image(tmp_path / "slide.png", grey=True).shape == (10, 32, 1)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 40), (40, 1)])
def test_an_image_without_area_is_bad(tmp_path, width, height):
    Image.new("L", (width, height)).save(tmp_path / "a.png")
    with pytest.raises(BadImageError, match=rf"a.png: has {width} × {height} pixels; an image needs at least 2"):
        read_image(tmp_path / "a.png", grey=True)


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
        ("a.jpg", lambda path: path.write_text("<html>not found</html>"), "is a web page, not an image"),
        ("a.dcm", lambda path: path.write_text("<html>not found</html>"), "is a web page, not an image"),
        ("a.dcm", lambda path: path.write_bytes(b""), "is empty"),
        ("a.jpg", cut_in_half, "truncated"),
        ("a.png", cut_in_half, "truncated"),
        ("a.webp", cut_in_half, "is not an image, or its header|could not|truncated|failed"),
        ("a.bmp", cut_in_half, "truncated"),
        ("a.png", lambda path: path.write_bytes(path.read_bytes()[:60] + b"\0" * 900), "."),
        ("a.jpg", lambda path: path.unlink(), "does not exist"),
        ("a.tiff", lambda path: Image.fromarray(RAMP.astype(np.float32)).save(path), "floating-point"),
        ("a.tiff", lambda path: Image.fromarray(RAMP.astype(np.int32) * 1000).save(path), "outside 0..65535"),
    ],
)
def test_a_bad_file_is_named_with_its_reason(tmp_path, name, spoil, reason):
    path = tmp_path / name
    noise = Image.fromarray(np.random.RandomState(0).randint(0, 255, (60, 90, 3), np.uint8))
    noise.save(path, None if path.suffix != ".dcm" else "PNG")
    spoil(path)
    assert read_header(path).grey in {True, False}
    with pytest.raises(BadImageError, match=f"{name}: .*({reason})"):
        read_image(path, grey=True)


# --- transparency -----------------------------------------------------------------------------------------------------

SHAPE = np.zeros((20, 30), np.uint8)
SHAPE[5:12, 8:20] = 255


def with_alpha(colour, alpha=SHAPE, mode="RGBA") -> Image.Image:
    picture = Image.new(mode[:-1], (30, 20), colour)
    picture.putalpha(Image.fromarray(alpha))
    return picture


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tiff", "palette.png", "a.gif"])
@pytest.mark.parametrize(("ink", "ground"), [(0, 255), (100, 255), (191, 255), (192, 0), (255, 0)])
def test_a_shape_that_is_drawn_in_alpha_alone_is_visible(tmp_path, name, ink, ground):
    picture = with_alpha((ink,) * 3)
    if name in {"palette.png", "a.gif"}:
        indices = Image.fromarray(SHAPE // 255, "P")
        indices.putpalette([ink] * 6)
        indices.save(tmp_path / name, transparency=0)
    else:
        picture.save(tmp_path / name, lossless=True)
    image = read_image(tmp_path / name, grey=False)
    assert (image == np.where(SHAPE, ink, ground)[:, :, None]).all()


def test_grey_and_coloured_files_of_one_shape_look_the_same(tmp_path):
    with_alpha(100, mode="LA").save(tmp_path / "grey.png")
    with_alpha((100, 100, 100)).save(tmp_path / "colour.png")
    grey = read_image(tmp_path / "grey.png", grey=True)
    assert (np.repeat(grey, 3, axis=2) == read_image(tmp_path / "colour.png", grey=False)).all()
    deep = read_image(tmp_path / "grey.png", grey=True, deep=True)
    assert (deep == grey.astype(np.uint16) * 257).all()


@pytest.mark.parametrize("level", [0, 1, 255])
def test_alpha_that_is_the_same_everywhere_is_dropped(tmp_path, level):
    picture = Image.fromarray(COLOUR)
    picture.putalpha(level)
    picture.save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png", grey=False) == COLOUR).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), levels=st.sampled_from([(0, 255), (0, 1, 254, 255), tuple(range(256))]))
def test_opaque_parts_keep_their_colour_and_invisible_ones_do_not_count(tmp_path_factory, seed, levels):
    random, path = np.random.default_rng(seed), tmp_path_factory.mktemp("alpha") / "a.png"
    alpha = random.choice(np.array(levels, np.uint8), (6, 7))
    colours = random.integers(0, 256, (6, 7, 3), np.uint8)
    alpha[0, :2] = 0, 255

    def shown() -> np.ndarray:
        picture = Image.fromarray(colours)
        picture.putalpha(Image.fromarray(alpha))
        picture.save(path)
        return read_image(path, grey=False).astype(int)

    image = shown()
    (ground,) = set(image[0, 0].tolist())
    share = alpha[:, :, None] / 255
    assert np.abs(image - (colours * share + ground * (1 - share))).max() <= 1
    colours[alpha == 0] = random.integers(0, 256, 3)
    assert (shown() == image).all()


# --- more than 8 bits -------------------------------------------------------------------------------------------------

TWELVE = np.linspace(0, 4095, 20 * 30).astype(np.uint16).reshape(20, 30)
WINDOW = Window(center=2047.5, width=4095)
RAMP_12 = ((TWELVE.astype(int) * 255 + 2047) // 4095).astype(np.uint8)


def white_is_zero(path):
    """Changes the tag of how grey values are shown in a TIFF file."""
    entry = struct.pack("<HHI", 262, 3, 1)
    path.write_bytes(path.read_bytes().replace(entry + b"\1", entry + b"\0"))


def twelve_bits(path):
    """Writes the values as a TIFF file of 12 bits a pixel."""
    pairs = TWELVE.reshape(-1, 2).astype(int)
    packed = np.stack([pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], 1)
    tags = {256: 30, 257: 20, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 20, 279: packed.size}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    values = packed.astype(np.uint8).tobytes()
    path.write_bytes(
        b"II*\0" + struct.pack("<I", 8 + len(values)) + values + struct.pack("<H", len(tags)) + entries + bytes(4)
    )


@pytest.mark.parametrize("name", ["a.png", "a.tiff", "a.jp2", "float.tiff", "whole.tiff"])
def test_a_window_shows_its_range_of_stored_values(tmp_path, name):
    dtype = {"float.tiff": np.float32, "whole.tiff": np.int32}.get(name, np.uint16)
    Image.fromarray(TWELVE.astype(dtype)).save(tmp_path / name)
    assert read_header(tmp_path / name) == Header(grey=True, deep=True)
    for grey in (True, False):
        image = read_image(tmp_path / name, grey=grey, window=WINDOW)
        assert (image.shape, image.dtype) == ((20, 30, 1 if grey else 3), np.uint8)
        assert np.abs(image.astype(int) - RAMP_12[:, :, None]).max() <= 1
    deep = read_image(tmp_path / name, grey=True, deep=True, window=WINDOW)[:, :, 0]
    assert np.abs(deep / 65535 - TWELVE / 4095).max() < 1e-5
    narrow = read_image(tmp_path / name, grey=True, window=Window(center=2000, width=1000))[:, :, 0]
    assert (narrow[TWELVE <= 1500] == 0).all()
    assert (narrow[TWELVE >= 2500] == 255).all()


def test_a_window_acts_on_8_bits_too_and_not_on_colours(tmp_path):
    Image.fromarray(RAMP).save(tmp_path / "grey.png")
    Image.fromarray(COLOUR).save(tmp_path / "colour.png")
    window = Window(center=100, width=50)
    expected = np.floor(((RAMP.astype(float) - 75) / 50).clip(0, 1) * 255 + 0.5)
    assert (read_image(tmp_path / "grey.png", grey=True, window=window)[:, :, 0] == expected).all()
    with pytest.raises(BadImageError, match=r"colour\.png: is in colour, and data\.window shows grey values"):
        read_image(tmp_path / "colour.png", grey=True, window=window)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_values_whose_range_is_not_known_need_a_window(tmp_path, dtype):
    Image.fromarray((RAMP.astype(dtype) - 100) * 1000).save(tmp_path / "a.tiff")
    with pytest.raises(BadImageError, match=r"holds .*grey values.*; set data\.window to the range that is shown"):
        read_image(tmp_path / "a.tiff", grey=True)
    image = read_image(tmp_path / "a.tiff", grey=True, window=Window(center=27_500, width=255_000))
    assert (image[:, :, 0] == RAMP).all()


def test_the_bits_of_a_tiff_say_which_value_is_white(tmp_path):
    twelve_bits(tmp_path / "a.tiff")
    assert (read_image(tmp_path / "a.tiff", grey=True)[:, :, 0] == RAMP_12).all()


@pytest.mark.parametrize("bits", [8, 16])
def test_tiff_files_in_which_0_is_white_are_inverted(tmp_path, bits):
    path = tmp_path / "a.tiff"
    Image.fromarray(RAMP if bits == 8 else RAMP.astype(np.uint16) * 257).save(path)
    white_is_zero(path)
    assert (read_image(path, grey=True)[:, :, 0] == 255 - RAMP).all()
    if bits == 16:
        deep = read_image(path, grey=True, deep=True, window=Window(center=128 * 257, width=65535))[:, :, 0]
        assert deep[0, 0] > deep[-1, -1]


def tiff(path, values: np.ndarray, kind: int) -> None:
    """Writes grey values as an uncompressed TIFF file with numbers of a kind: 1 unsigned, 2 signed, 3 floating-point."""
    h, w = values.shape
    tags = {
        256: w,
        257: h,
        258: 8 * values.itemsize,
        259: 1,
        262: 1,
        273: 8,
        277: 1,
        278: h,
        279: values.nbytes,
        339: kind,
    }
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    start = struct.pack("<I", 8 + values.nbytes)
    path.write_bytes(b"II*\0" + start + values.tobytes() + struct.pack("<H", len(tags)) + entries + bytes(4))


def test_unsigned_numbers_of_32_bits_are_not_taken_for_signed_ones(tmp_path):
    tiff(tmp_path / "a.tiff", RAMP.astype("<u4") * 2**24, 1)
    window = Window(center=255 * 2**23, width=255 * 2**24)
    assert (read_image(tmp_path / "a.tiff", grey=True, window=window)[:, :, 0] == RAMP).all()


def test_signed_numbers_of_8_bits_are_not_taken_for_unsigned_ones(tmp_path):
    tiff(tmp_path / "a.tiff", (RAMP.astype(int) - 128).astype(np.int8), 2)
    with pytest.raises(BadImageError, match=r"holds grey values outside 0\.\.255; set data\.window"):
        read_image(tmp_path / "a.tiff", grey=True)
    window = Window(center=-0.5, width=255)
    assert (read_image(tmp_path / "a.tiff", grey=True, window=window)[:, :, 0] == RAMP).all()


# --- damage and other files ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 5\n",
            "a pointer of Git LFS; fetch .* `git lfs pull`",
        ),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing; save it as PNG"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "a web page, not an image; download it again"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC image; save it as JPEG"),
        (b"%PDF-1.7\n", "a PDF document; save its pages as PNG"),
    ],
)
def test_files_that_are_something_else_are_named(tmp_path, content, message):
    (tmp_path / "a.jpg").write_bytes(content + bytes(50))
    with pytest.raises(BadImageError, match=f"is {message}"):
        read_image(tmp_path / "a.jpg", grey=False)


def test_a_tiff_file_in_an_unknown_form_is_named(tmp_path):
    tiff(tmp_path / "a.tiff", RAMP.astype(np.float64), 3)
    with pytest.raises(BadImageError, match="is a TIFF file in a form that cannot be read; save it with 8 or 16 bits"):
        read_image(tmp_path / "a.tiff", grey=True)


DAMAGED = {
    "a.png": {},
    "a.jpg": {},
    "a.webp": {},
    "a.gif": {},
    "a.tiff": {},
    "b.tiff": {"compression": "tiff_lzw"},
    "a.avif": {},
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files_are_bad_images_and_truncated_ones_never_silently_partial(tmp_path, name, capfd):
    random = np.random.default_rng(0)
    path = tmp_path / name
    Image.fromarray(random.integers(0, 256, (12, 10, 3), np.uint8)).save(path, **DAMAGED[name])
    whole, expected = path.read_bytes(), read_image(path, grey=False)

    def survives(content: bytes) -> bool:
        path.write_bytes(content)
        read_header(path)
        try:
            return not np.array_equal(read_image(path, grey=False), expected)
        except BadImageError:
            return False

    assert not any(survives(whole[:size]) for size in range(0, len(whole), 3))
    for _ in range(100):
        damaged = bytearray(whole)
        for place in random.integers(0, len(whole), 3):
            damaged[place] = random.integers(256)
        survives(bytes(damaged))  # raises nothing else
