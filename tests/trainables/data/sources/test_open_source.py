"""Digits, class folders and IDX files: what is read, what is ignored, what is said when something is wrong."""

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainables.core.config_errors import ConfigError
from trainables.data.sources.open_source import open_source
from trainables.data.sources.source import Source
from trainables.recipe.data_config import DataConfig


def folder_source(path: Path) -> Source:
    return open_source(DataConfig(source="folder", path=str(path)))


def idx_source(path: Path) -> Source:
    return open_source(DataConfig(source="idx", path=str(path)))


def write_image(path: Path, colour: object = (200, 30, 10), mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (9, 7), colour).save(path)
    return path


def idx_bytes(array: np.ndarray, magic: int | None = None) -> bytes:
    magic = 0x0800 + array.ndim if magic is None else magic
    return struct.pack(f">{1 + array.ndim}I", magic, *array.shape) + array.astype(np.uint8).tobytes()


IMAGES = np.arange(6 * 5 * 4).reshape(6, 5, 4)
LABELS = np.array([3, 1, 1, 3, 7, 7])


def write_idx(folder: Path, images: bytes = idx_bytes(IMAGES), labels: bytes = idx_bytes(LABELS), suffix: str = ""):
    (folder / f"train-images-idx3-ubyte{suffix}").write_bytes(images)
    (folder / f"train-labels-idx1-ubyte{suffix}").write_bytes(labels)


# --- digits ---------------------------------------------------------------------------------------------------------


def test_digits_are_scikit_learns():
    source = open_source(DataConfig(source="digits"))
    reader = source.open()
    assert source.classes == tuple("0123456789")
    assert np.bincount(source.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    images = np.stack([reader.decode(i) for i in range(1797)])
    assert (reader.channels, images.shape, images.dtype) == (1, (1797, 8, 8, 1), np.uint8)
    assert images[0, 0, :, 0].tolist() == [0, 0, 80, 207, 143, 16, 0, 0]  # 0 0 5 13 9 1 0 0 of 16
    assert images.max() == 255


# --- class folders --------------------------------------------------------------------------------------------------


def test_class_folders_are_read_in_the_order_of_names(tmp_path):
    for name in ["zebra/b.PNG", "zebra/deep/er/a.jpeg", "ant/2.webp", "ant/1.bmp", "ant/3.tif", "ant/4.tiff"]:
        write_image(tmp_path / name)
    for ignored in [".git/x.png", "ant/.hidden.png", "ant/.cache/y.png"]:
        write_image(tmp_path / ignored)
    (tmp_path / "zebra/notes.txt").write_text("two images")
    (tmp_path / "readme.md").write_text("animals")
    source = folder_source(tmp_path)
    assert source.classes == ("ant", "zebra")
    assert source.labels.tolist() == [0, 0, 0, 0, 1, 1]
    assert source.labels.dtype == np.int64


@pytest.mark.parametrize(("modes", "channels"), [("LL", 1), ("LRGB", 3), ("RGBL", 3)])
def test_a_folder_is_grey_only_if_all_its_images_are(tmp_path, modes, channels):
    first, second = ("L", modes[1:]) if modes[0] == "L" else ("RGB", "L")
    write_image(tmp_path / "a/1.png", 77 if first == "L" else (1, 2, 3), first)
    write_image(tmp_path / "b/1.png", 77 if second == "L" else (1, 2, 3), second)
    reader = folder_source(tmp_path).open()
    assert reader.channels == channels
    assert [reader.decode(i).shape for i in range(2)] == [(7, 9, channels)] * 2
    assert reader.decode(0 if first == "L" else 1).mean() == 77


def test_a_home_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_image(tmp_path / "pets/cat/1.png")
    write_image(tmp_path / "pets/dog/1.png")
    assert folder_source(Path("~/pets")).classes == ("cat", "dog")


def files(*names: str):
    def write(root: Path) -> None:
        for name in names:
            if name.endswith("/"):
                (root / name).mkdir(parents=True)
            elif name.endswith(".png"):
                write_image(root / name)
            else:
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text("?")

    return write


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda root: root.rmdir(), "does not exist"),
        (lambda root: (root.rmdir(), root.write_text("")), "is not a folder"),
        (files(), "no class folders: expected one folder of images for each class, found nothing"),
        (files("a.png", "b.png", "c.png", "d.png"), r"found 4 files \(a.png, b.png, c.png, … and 1 more\)"),
        (files("cat/1.png"), r"holds only one class \(cat\)"),
        (files("cat/1.png", "dog/"), r"1 of 2 classes have no image: dog \(found no files\)"),
        (
            files("cat/1.png", "dog/a.mp4", "dog/b.mp4", "emu/x"),
            r"dog \(found 2 .mp4\), emu \(found 1 without suffix\)",
        ),
        (
            files("train/1.png", "val/1.png"),
            r"holds the parts of a split \(train, val\), but no class folders in them",
        ),
        (
            files("train/cat/1.png", "val/cat/1.png"),
            r"holds only one class \(cat\); at least 2 are needed",
        ),
    ],
)
def test_a_folder_that_holds_no_classes_is_an_error(tmp_path, write, message):
    root = tmp_path / "root"
    root.mkdir()
    write(root)
    with pytest.raises(ConfigError, match=f"data.path: {root}: .*{message}"):
        folder_source(root)


def swap(one: Path, other: Path) -> None:
    aside = one.rename(one.with_name("aside"))
    other.rename(one)
    aside.rename(other)


class TestFolderKey:
    @pytest.fixture
    def root(self, tmp_path):
        for name in ["a/1.png", "a/2.png", "b/1.png", "b/2.png"]:
            os.utime(write_image(tmp_path / "root" / name), ns=(0, 0))
        return tmp_path / "root"

    def test_it_stays_while_nothing_changes(self, root):
        assert folder_source(root) == folder_source(root)
        (root / "a/notes.txt").write_text("no image")
        assert folder_source(root).key == folder_source(root).key

    @pytest.mark.parametrize(
        "change",
        [
            lambda root: write_image(root / "a/3.png"),
            lambda root: (root / "a/2.png").unlink(),
            lambda root: (root / "a/2.png").rename(root / "b/3.png"),
            lambda root: (root / "a/2.png").write_bytes(b"longer than before" * 99),
            lambda root: os.utime(root / "a/2.png", ns=(0, 12345)),
            lambda root: swap(root / "a/1.png", root / "a/2.png"),
            lambda root: swap(root / "a", root / "b"),
        ],
        ids=["added", "removed", "moved", "resized", "touched", "swapped", "folders swapped"],
    )
    def test_it_changes_with_the_files(self, root, change):
        before = folder_source(root).key
        change(root)
        assert folder_source(root).key != before

    def test_equal_listings_in_two_places_have_two_keys(self, root, tmp_path):
        other = tmp_path / "other"
        for path in list(root.rglob("*.png")):
            copy = write_image(other / path.relative_to(root), (0, 99, 0))
            copy.write_bytes(copy.read_bytes().ljust(path.stat().st_size, b"\0"))
            os.utime(copy, ns=(0, 0))
            os.utime(path, ns=(0, 0))
        assert folder_source(root).key != folder_source(other).key

    def test_a_dangling_link_is_left_to_the_decoder(self, root):
        (root / "a/9.png").symlink_to(root / "nowhere.png")
        assert len(folder_source(root).labels) == 5


# --- IDX files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files_are_read(tmp_path, suffix):
    pack = gzip.compress if suffix else bytes
    write_idx(tmp_path, pack(idx_bytes(IMAGES)), pack(idx_bytes(LABELS)), suffix)
    (tmp_path / "t10k-images-idx3-ubyte").write_text("never opened by a search")
    source = idx_source(tmp_path)
    assert source.classes == ("1", "3", "7")
    assert source.labels.tolist() == [1, 0, 0, 1, 2, 2]
    reader = source.open()
    assert reader.channels == 1
    assert (np.stack([reader.decode(i) for i in range(6)])[..., 0] == IMAGES).all()


def test_the_idx_key_changes_with_either_file(tmp_path):
    write_idx(tmp_path)
    before = idx_source(tmp_path)
    assert before == idx_source(tmp_path)
    for name in ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"]:
        os.utime(tmp_path / name, ns=(0, 12345))
        assert idx_source(tmp_path) != before
        before = idx_source(tmp_path)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (idx_bytes(IMAGES[:5]), idx_bytes(LABELS), "images-idx3-ubyte holds 5 images, but train-labels.* 6 labels"),
        (idx_bytes(IMAGES), idx_bytes(LABELS)[:-1], r"labels-idx1-ubyte should hold 6 = 6 bytes, not 5"),
        (idx_bytes(IMAGES), idx_bytes(LABELS) + b"?", r"should hold 6 = 6 bytes, not 7"),
        (
            idx_bytes(LABELS),
            idx_bytes(LABELS),
            "images.* starts with the bytes 00000801; it should start with 00000803",
        ),
        (idx_bytes(IMAGES), idx_bytes(LABELS, magic=0x0D01), "labels.* bytes 00000d01; it should start with 00000801"),
        (idx_bytes(IMAGES)[:7], idx_bytes(LABELS), "images.* is truncated: its header is incomplete"),
        (b"", idx_bytes(LABELS), "images.* has no bytes; it should start with 00000803"),
        (idx_bytes(IMAGES[:0]), idx_bytes(LABELS[:0]), "images.* is empty: 0 × 5 × 4"),
        (idx_bytes(IMAGES), idx_bytes(LABELS * 0 + 4), r"holds only one class \(4\)"),
    ],
)
def test_damaged_idx_files_are_an_error(tmp_path, images, labels, message):
    write_idx(tmp_path, images, labels)
    with pytest.raises(ConfigError, match=rf"data\.path: .*{message}"):
        idx_source(tmp_path)


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        (
            gzip.compress(idx_bytes(LABELS), mtime=0)[:-9],
            "train-labels-idx1-ubyte.gz is truncated or damaged: Compressed file ended",
        ),
        (b"not gzipped at all", "train-labels-idx1-ubyte.gz is truncated or damaged: Not a gzipped file"),
        (gzip.compress(b"", mtime=0)[:10] + b"\xff" * 40, "train-labels-idx1-ubyte.gz is truncated or damaged"),
    ],
)
def test_a_damaged_gzip_file_is_an_error(tmp_path, packed, message):
    write_idx(tmp_path, gzip.compress(idx_bytes(IMAGES), mtime=0), packed, ".gz")
    with pytest.raises(ConfigError, match=message):
        idx_source(tmp_path)


def test_images_that_end_too_early_are_an_error_when_they_are_read(tmp_path):
    write_idx(tmp_path, idx_bytes(IMAGES)[:-1])
    source = idx_source(tmp_path)
    with pytest.raises(ConfigError, match=rf"data\.path: {tmp_path}: .*should hold 6 × 5 × 4 = 120 bytes, not 119"):
        source.open()


def test_missing_idx_files_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"holds neither train-images-idx3-ubyte nor train-images-idx3-ubyte\.gz"):
        idx_source(tmp_path)
