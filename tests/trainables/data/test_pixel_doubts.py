"""Decoded pixels that should be looked at are warned of; good ones are not."""

import io
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from search.config_file.template import starter
from trainables.core.config_errors import ConfigError
from trainables.data.contact_sheet import draw_pairs
from trainables.data.dataset import open_dataset
from trainables.data.detection.detect_source import detect_source
from trainables.data.pixel_doubts import image_name, pixel_doubts, twins
from trainables.recipe.data_config import DataConfig


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("THAW_CACHE", str(tmp_path / "cache"))


def photo(seed: int, size=(40, 40), **how) -> Image.Image:
    """Picture that resembles none of another seed: blurred noise."""
    cells = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(cells).resize(size, Image.Resampling.BICUBIC)


class Folders:
    """Class folders to which pictures are added, by default 12 in each of two classes."""

    def __init__(self, root: Path, count: int = 12):
        self.root = root
        for i in range(count):
            self.add("a", f"{i:02}.png", photo(i))
            self.add("b", f"{i:02}.png", photo(1000 + i))

    def add(self, label: str, name: str, picture: Image.Image, **how) -> None:
        (self.root / label).mkdir(parents=True, exist_ok=True)
        picture.save(self.root / label / name, **how)

    def config(self, **data) -> DataConfig:
        return DataConfig(**{"source": "folder", "path": str(self.root), "image_size": 32, "validation": 0.25} | data)

    def doubts(self, **data) -> list[str]:
        config = self.config(**data)
        return pixel_doubts(open_dataset(config), config)


@pytest.fixture
def folders(tmp_path) -> Folders:
    return Folders(tmp_path / "photos")


def test_good_images_raise_no_doubt(folders):
    assert folders.doubts() == []
    digits = DataConfig(source="digits", image_size=32)
    assert pixel_doubts(open_dataset(digits), digits) == []


def test_images_without_content_are_counted_by_class(folders):
    for i in range(3):
        folders.add("b", f"blank{i}.png", Image.new("RGB", (40, 40), (i, i, i)))
    doubts = "\n".join(folders.doubts())
    expected = "the same value in every pixel of 3 of 27 images (b 3; such as b/blank0.png, b/blank1.png, b/blank2.png)"
    assert doubts == expected


def test_names_are_made_safe_to_show(folders):
    for name in ("x\nerror: forged.png", "x\x1b[2J.png", "x\udcff.png"):
        folders.add("b", name, Image.new("RGB", (40, 40)))
    (first, *_) = folders.doubts(duplicates="group")
    assert "(b 3; such as b/x\\nerror: forged.png, b/x\\x1b[2J.png, b/x\\xff.png)" in first
    assert first.isprintable()


def test_few_distinct_images(tmp_path):
    folders = Folders(tmp_path / "photos", 6)
    for i in range(6):
        for copy in "xy":
            folders.add("a", f"{copy}{i}.png", photo(i))
    assert folders.doubts()[0] == "only 12 of 24 images are distinct: the others repeat them to the last pixel"


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("kept", [8, 16])
def test_little_of_the_range_names_the_window_that_uses_it(tmp_path, bits, kept):
    folders = Folders(tmp_path / "photos", 0)
    for i in range(16):
        values = np.asarray(photo(i).convert("L")).astype(float)
        values = (values - values.min()) / np.ptp(values) * (2**bits - 1)
        folders.add("ab"[i % 2], f"{i}.png", Image.fromarray(values.astype(np.uint16)))
    (doubt,) = folders.doubts(bits=kept)
    window = {"center": 2 ** (bits - 1), "width": 2**bits}
    assert doubt.startswith("the images use little of the range of values: ")
    assert doubt.endswith(f"set data.window to {{center: {window['center']}, width: {window['width']}}}")
    assert folders.doubts(bits=kept, window=window) == []


def test_values_far_from_black_get_a_window_around_them(tmp_path):
    folders = Folders(tmp_path / "photos", 0)
    for i in range(8):
        values = 30_000 + np.asarray(photo(i).convert("L")).astype(np.uint16) * 20
        folders.add("ab"[i % 2], f"{i}.png", Image.fromarray(values))
    (doubt,) = folders.doubts(bits=16)
    center, width = map(int, doubt.split("{center: ")[1].rstrip("}").split(", width: "))
    assert center - width / 2 <= 30_000
    assert center + width / 2 >= 30_000 + 255 * 20 - 300
    assert folders.doubts(bits=16, window={"center": center, "width": width}) == []


def test_ends_that_are_cut_off_name_the_fit_that_keeps_them(folders):
    for i in range(4):
        folders.add("a", f"wide{i}.png", photo(50 + i, (200, 40)))
        folders.add("b", f"high{i}.png", photo(60 + i, (40, 200)))
    (doubt,) = folders.doubts()
    assert doubt.startswith("more than 40% is cut off at the ends of 8 of 32 images (a 4, b 4; such as a/wide0.png, ")
    assert doubt.endswith("; set data.fit to pad")
    assert folders.doubts(fit="pad") == folders.doubts(fit="stretch") == []


def jpeg(picture: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(file)


COPIES = {
    "file": lambda picture: picture,
    "jpeg": lambda picture: jpeg(picture, 75),
    "thumbnail": lambda picture: picture.resize((32, 32), Image.Resampling.LANCZOS),
    "larger": lambda picture: picture.resize((100, 100), Image.Resampling.BICUBIC),
}


@pytest.mark.parametrize("kind", COPIES)
def test_a_picture_on_both_sides_is_found_and_can_be_grouped(folders, kind):
    for i in range(12):
        folders.add("a", f"copy{i:02}.png", COPIES[kind](photo(i)))
    (doubt,) = folders.doubts()
    assert doubt.startswith("the same picture on both sides of the split: ")
    assert "of 9 validation images (a/" in doubt
    assert doubt.endswith("so that the score is too good; data.duplicates: group keeps them on one side")
    config = folders.config(duplicates="group")
    dataset = open_dataset(config)
    assert pixel_doubts(dataset, config) == []
    assert twins(dataset) == []
    assert 7 <= len(dataset.validation) <= 11
    assert len(set(dataset.groups.tolist())) == 24
    assert open_dataset(folders.config()).fingerprint == dataset.fingerprint


def test_test_images_that_repeat_others_are_found(folders):
    for i in range(12):
        folders.add("a", f"copy{i:02}.png", photo(i))
    doubts = folders.doubts(test=0.25)
    assert any("test images (a/" in doubt for doubt in doubts)
    assert folders.doubts(test=0.25, duplicates="group") == []


def test_one_picture_in_two_classes_is_named(folders):
    folders.add("b", "z.png", photo(3))
    doubts = folders.doubts(duplicates="group")
    assert doubts == ["the same picture in two classes: 1 of 25 images (a/03.png = b/z.png)"]


def test_pairs_are_drawn(folders):
    folders.add("b", "z.png", photo(3))
    config = folders.config()
    dataset = open_dataset(config)
    (pair,) = twins(dataset)
    assert [image_name(dataset, config, i) for i in pair] == ["a/03.png", "b/z.png"]
    sheet = np.asarray(draw_pairs(dataset, [pair], lambda i: image_name(dataset, config, i)))
    assert np.ptp(sheet[50:130, 16:96].reshape(-1, 3), axis=0).min() > 50
    assert (sheet[50:130, 16:96] == sheet[50:130, 466:546]).all()


def test_duplicates_cannot_be_grouped_if_the_split_is_given(tmp_path):
    arrays = {
        f"{part}_images": np.random.default_rng(n).integers(0, 256, (n, 9, 9), np.uint8)
        for part, n in (("train", 8), ("val", 4))
    }
    labels = {name.replace("images", "labels"): np.arange(len(array)) % 2 for name, array in arrays.items()}
    np.savez(tmp_path / "a.npz", **arrays, **labels)
    config = DataConfig(source="npz", path=str(tmp_path / "a.npz"), image_size=8, duplicates="group")
    with pytest.raises(ConfigError, match=r"data\.duplicates: group: the split is given"):
        open_dataset(config)
    assert len(open_dataset(config.model_copy(update={"validation": 0.25})).validation)


def test_names_of_arrays(tmp_path):
    images = np.zeros((4, 9, 9), np.uint8)
    np.savez(
        tmp_path / "a.npz", train_images=images, train_labels=[0, 1, 0, 1], val_images=images[:2], val_labels=[0, 1]
    )
    config = DataConfig(source="npz", path=str(tmp_path / "a.npz"), image_size=8)
    assert (
        "(0 3, 1 3; such as train_images[0], train_images[1], train_images[2])"
        in pixel_doubts(open_dataset(config), config)[0]
    )
    assert open_dataset(config).details.names[5] == "val_images[1]"


# --- thaw init writes what leaves no doubt ------------------------------------------------------------------------------


def deep(seed: int) -> Image.Image:
    return Image.fromarray(np.asarray(photo(seed).convert("L")).astype(np.uint16) * 16)


@pytest.mark.parametrize(
    ("write", "written"),
    [
        (photo, {}),
        (deep, {"window": {"center": 2048, "width": 4096}}),
        (lambda seed: photo(seed).point(lambda value: value // 8), {}),
        (lambda seed: photo(seed).convert("L").point(lambda value: value // 8), {}),
    ],
    ids=["photos", "12 bits", "dark", "dark grey"],
)
def test_init_writes_the_window_of_deep_images(tmp_path, write, written):
    folders = Folders(tmp_path / "photos", 0)
    for i in range(12):
        folders.add("ab"[i % 2], f"{i}.png", write(i))
    found = detect_source(folders.root).data
    assert {key: value for key, value in found.items() if key == "window"} == written
    assert bool(folders.doubts(**found)) == (not written and write is not photo)


@pytest.mark.parametrize(("sizes", "line"), [([(200, 40)], "fit: stretch"), ([(200, 40), (40, 200)], "fit: pad")])
def test_init_writes_the_fit_of_long_images(tmp_path, sizes, line):
    folders = Folders(tmp_path / "photos", 0)
    for i in range(12):
        folders.add("ab"[i % 2], f"{i}.png", photo(i, sizes[i // 2 % len(sizes)]))
    file = tmp_path / "search.yaml"
    file.write_text(starter(folders.root, file).text)
    assert f"\n  {line} " in file.read_text()
    data = DataConfig(**yaml.safe_load(file.read_text())["data"])
    assert pixel_doubts(open_dataset(data), data) == []
