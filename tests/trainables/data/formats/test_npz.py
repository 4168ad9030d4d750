"""NPZ files in MedMNIST's layout: its split is used, its test arrays are not, and what is odd about one is said."""

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from trainables.core.config_errors import ConfigError
from trainables.data.dataset import open_dataset
from trainables.data.formats import npz
from trainables.data.sources.open_source import open_source
from trainables.recipe.data_config import DataConfig

N = {"train": 12, "val": 6, "test": 4}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("THAW_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def arrays(**replaced: np.ndarray | None) -> dict[str, np.ndarray]:
    """Grey images of brightness 10 · i, of three labels in turn, each with their part's own first image."""
    made, start = {}, 0
    for part, n in N.items():
        values = np.arange(start, start + n)
        made[f"{part}_images"] = np.broadcast_to(10 * values[:, None, None], (n, 8, 9)).astype(np.uint8)
        made[f"{part}_labels"] = (values % 3)[:, None].astype(np.uint8)
        start += n
    return {name: array for name, array in (made | replaced).items() if array is not None}


@pytest.fixture
def write(tmp_path):
    def write_file(content: dict[str, np.ndarray] | None = None, save=np.savez_compressed, **config) -> DataConfig:
        save(tmp_path / "a.npz", **(arrays() if content is None else content))
        return DataConfig.model_validate({"source": "npz", "path": str(tmp_path / "a.npz"), "image_size": 8} | config)

    return write_file


def brightness(dataset) -> list[int]:
    return (dataset.images.mean(axis=(1, 2, 3)) / 10).round().astype(int).tolist()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_its_own_split_is_used_and_test_arrays_are_never_read(write, tmp_path, save):
    config = write(save=save)
    with zipfile.ZipFile(tmp_path / "a.npz") as whole, zipfile.ZipFile(tmp_path / "b.npz", "w") as spoilt:
        for name in whole.namelist():
            spoilt.writestr(name, b"nonsense" if name.startswith("test") else whole.read(name))
    dataset = open_dataset(config.model_copy(update={"path": str(tmp_path / "b.npz")}))
    assert dataset.classes == ("0", "1", "2")
    assert dataset.train.tolist() == list(range(12))
    assert dataset.validation.tolist() == list(range(12, 18))
    assert brightness(dataset) == list(range(18))
    assert dataset.labels.tolist() == [i % 3 for i in range(18)]


@pytest.mark.parametrize("how", [{"validation": 0.5}, {"folds": 2}])
def test_another_split_parts_training_and_validation_images_anew(write, how):
    dataset = open_dataset(write(**how))
    assert len(dataset.train) == len(dataset.validation) == 9
    assert dataset.validation.tolist() != list(range(9, 18))
    assert brightness(dataset) == list(range(18))


def test_without_validation_images_a_share_of_the_others_judges(write):
    dataset = open_dataset(write(arrays(val_images=None, val_labels=None)))
    assert (len(dataset.train), len(dataset.validation)) == (9, 3)


def test_colours_stay_and_labels_are_mapped(write):
    rgb = {f"{part}_images": np.tile(np.uint8([200, 30, 10]), (N[part], 8, 9, 1)) for part in N}
    dataset = open_dataset(write(arrays(**rgb), labels={0: "a", 1: "b", 2: None}))
    assert dataset.images.shape == (12, 8, 8, 3)
    assert (dataset.images == [200, 30, 10]).all()
    assert dataset.classes == ("a", "b")
    assert (len(dataset.train), len(dataset.validation)) == (8, 4)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (lambda values: values.ravel(), ("0", "1", "2")),
        (lambda values: values.astype(np.float32), ("0", "1", "2")),
        (lambda values: values > 0, ("0", "1")),
        (lambda values: np.array(["cat", "dog", "emu"])[values.ravel()], ("cat", "dog", "emu")),
        (lambda values: np.array([b"cat", b"dog", b"emu"])[values], ("cat", "dog", "emu")),
    ],
)
def test_labels_are_numbers_or_names_along_one_axis(write, labels, classes):
    content = arrays()
    content |= {name: labels(content[name]) for name in content if name.endswith("_labels")}
    assert open_source(write(content)).classes == classes


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["<u2", ">u2"])
def test_16_bits_are_kept_or_rounded(write, kind, order):
    deep = {
        f"{part}_images": np.asarray(np.arange(N[part] * 72).reshape(N[part], 8, 9) * 75, kind, order=order)
        for part in N
    }
    read16, read8 = (open_source(write(arrays(**deep), bits=bits)).open() for bits in (16, 8))
    assert (read16.dtype, read8.dtype, read16.channels) == (np.uint16, np.uint8, 1)
    for i in (0, 11):
        assert read16.decode(i).dtype == np.uint16
        assert (read16.decode(i)[..., 0] == deep["train_images"][i]).all()
        assert np.abs(read8.decode(i) - read16.decode(i) / 257).max() <= 0.51
    assert (read16.decode(12)[..., 0] == deep["val_images"][0]).all()


def test_the_key_follows_the_file_the_bits_and_the_labels(write):
    deep = arrays(**{f"{part}_images": np.zeros((N[part], 8, 9), np.uint16) for part in N})
    config = write(deep)
    others = [{}, {"bits": 16}, {"labels": {"0": "a", "1": "a", "2": "b"}}]
    keys = [open_source(config.model_copy(update=other)).key for other in others]
    assert len(set(keys)) == 3
    assert open_source(config.model_copy(update={"folds": 2})).key == keys[0]
    os.utime(config.path, ns=(0, 12345))
    assert open_source(config).key != keys[0]


MULTI = np.zeros((12, 14), np.uint8)


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"train_images": None}, "has no array train_images; it has test_images, test_labels, train_labels, "),
        ({"val_labels": None}, "has no array val_labels"),
        (
            {"train_images": np.zeros((12, 8, 8, 8), np.uint8)},
            r"train_images holds volumes \(12 × 8 × 8 × 8\); set data\.depth to",
        ),
        ({"train_images": np.zeros((12, 8, 8, 8, 3), np.uint8)}, r"train_images holds volumes"),
        ({"train_images": np.zeros((12, 64), np.uint8)}, "train_images holds 12 × 64; images are"),
        ({"train_images": np.zeros((0, 8, 8), np.uint8)}, "train_images holds 0 × 8 × 8; images are"),
        ({"train_images": np.uint8(3)}, "train_images holds one number; images are"),
        ({"train_images": np.zeros((12, 8, 9))}, "train_images holds float64; uint8 and uint16 are supported"),
        ({"val_images": np.zeros((6, 8, 9, 3), np.uint8)}, "parts differ: train_images .* val_images 6 × 8 × 9 × 3"),
        ({"train_labels": MULTI}, r"train_labels holds 14 labels per image; one is supported \(\[n\] or \[n, 1\]\)"),
        ({"train_labels": np.uint8(1)}, "train_labels holds one number; labels are"),
        ({"train_labels": np.zeros((12, 1, 1))}, "train_labels holds 12 × 1 × 1; labels are"),
        ({"train_labels": np.zeros(11)}, "train_images holds 12 images, but train_labels 11 labels"),
        ({"train_labels": np.full(12, np.nan)}, "train_labels holds float64 values that are neither numbers nor names"),
        ({"train_labels": np.array([{}] * 12)}, "train_labels cannot be read: Object arrays cannot be loaded"),
        (
            {"train_labels": MULTI, "val_images": np.zeros((6, 8, 9))},
            "train_labels holds 14 labels per image; .*; val_images holds float64",
        ),
        ({"train_labels": np.zeros(12), "val_labels": np.zeros(6)}, r"holds only one class \(0\)"),
        ({"val_labels": np.zeros(6, np.uint8)}, "'val' has no image of '1', '2'"),
    ],
)
def test_a_file_that_holds_something_else_is_an_error(write, tmp_path, replaced, message):
    with pytest.raises(ConfigError, match=rf"^data\.path: .*{message}"):
        open_dataset(write(arrays(**replaced)))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (Path.unlink, "does not exist"),
        (lambda path: (path.unlink(), path.mkdir()), "is a folder; source 'npz' takes a file"),
        (lambda path: path.write_bytes(b""), "is not an NPZ file, or is damaged"),
        (lambda path: path.write_bytes(path.read_bytes()[:900]), "is not an NPZ file, or is damaged"),
        (
            lambda path: path.write_bytes(path.read_bytes().replace(b"\0\0\1\2\0", b"\0\0\2\2\0")),
            "is not an NPZ file, or is damaged: Bad CRC",
        ),
    ],
)
def test_a_damaged_file_is_an_error(write, tmp_path, harm, message):
    labels = {f"{part}_labels": np.uint8([0, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1][: N[part]]) for part in N}
    config = write(arrays(**labels), save=np.savez)
    harm(tmp_path / "a.npz")
    with pytest.raises(ConfigError, match=rf"^data\.path: {tmp_path}/a.npz: {message}"):
        open_source(config)


def test_images_that_are_not_whole_are_an_error_before_they_are_read(write, tmp_path):
    config = write(save=np.savez)
    with zipfile.ZipFile(tmp_path / "a.npz") as whole, zipfile.ZipFile(tmp_path / "b.npz", "w") as cut:
        for name in whole.namelist():
            cut.writestr(name, whole.read(name)[: -1 if name == "val_images.npy" else None])
    with pytest.raises(ConfigError, match="val_images is damaged: its size does not match its header"):
        open_source(config.model_copy(update={"path": str(tmp_path / "b.npz")}))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["train_images", "train_labels"])
def test_nothing_is_allocated_for_a_header_that_promises_more_than_there_is(write, tmp_path, name):
    config = write(save=np.savez)
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        file = io.BytesIO()
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (2**50, 8, 8)})
        archive.writestr(f"{name}.npy", file.getvalue() + b"only these")
    with pytest.raises(ConfigError, match=f"{name} is damaged: its size does not match its header"):
        open_source(config)


def test_a_file_that_would_unpack_to_gigabytes_is_an_error(write, tmp_path, monkeypatch):
    config = write()
    with zipfile.ZipFile(tmp_path / "a.npz", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.npy", bytes(3 * 2**20))
    open_source(config)
    monkeypatch.setattr(npz, "_ALLOWANCE", 2**20)
    message = r"its [\d,]+ bytes would unpack to 3,[\d,]+, more than the limit of 64 times as many and 1 MiB"
    with pytest.raises(ConfigError, match=message):
        open_source(config)


@pytest.mark.parametrize("shape", [(12, 3, 8, 9), (12, 1, 8, 9)])
def test_channels_that_come_first_are_one_clear_error(write, shape):
    with pytest.raises(ConfigError) as caught:
        open_source(write(arrays(train_images=np.zeros(shape, np.uint8))))
    size = " × ".join(map(str, shape))
    mend = "save np.moveaxis(train_images, 1, -1), which is [n, h, w, 3]"
    assert f"train_images holds {size}: its channels come first; {mend}" in str(caught.value)
    images = np.moveaxis(np.zeros(shape, np.uint8), 1, -1)
    other = arrays()["val_images"][:, None, :, :].repeat(shape[1], 1)
    open_source(write(arrays(train_images=images, val_images=np.moveaxis(other, 1, -1))))


def test_three_slices_are_a_volume_if_depth_is_set(write):
    images = {f"{part}_images": np.zeros((N[part], 3, 8, 9), np.uint8) for part in N}
    assert open_dataset(write(arrays(**images), depth=3)).images.shape[1:] == (3, 8, 8, 1)
    first = {f"{part}_images": np.zeros((N[part], 3, 4, 8, 9), np.uint8) for part in N}
    with pytest.raises(ConfigError, match=r"its channels come first; .* which is \[n, d, h, w, 3\]"):
        open_source(write(arrays(**first), depth=3))


@pytest.mark.parametrize(
    ("dtype", "axes", "found"), [(np.uint8, (8, 9), "1 × 8 bits"), (np.uint16, (8, 9, 3), "3 × 16 bits")]
)
def test_16_bits_that_are_not_there_are_an_error(write, dtype, axes, found):
    content = arrays(**{f"{part}_images": np.zeros((N[part], *axes), dtype) for part in N})
    with pytest.raises(ConfigError, match=f"^data.bits: 16: its images are of {found}, not grey with 16; remove it"):
        open_source(write(content, bits=16))


# --- volumes --------------------------------------------------------------------------------------------------------


def volumes(*tail, dtype=np.uint8) -> dict[str, np.ndarray]:
    """Volumes [n, 4, 6, 7, …] of brightness 10 · i, in the layout of MedMNIST's 3-D files."""
    plain = arrays()
    shapes = {part: (n, 4, 6, 7, *tail) for part, n in N.items()}
    return plain | {
        f"{part}_images": np.broadcast_to(
            plain[f"{part}_images"][:, 0, 0].reshape(-1, *[1] * (len(shape) - 1)), shape
        ).astype(dtype)
        for part, shape in shapes.items()
    }


@pytest.mark.parametrize(("tail", "channels"), [((), 1), ((1,), 1), ((3,), 3)])
def test_volumes_are_resampled_whole_with_their_own_split(write, tail, channels):
    dataset = open_dataset(write(volumes(*tail), depth=5))
    assert dataset.images.shape == (18, 5, 8, 8, channels)
    assert (dataset.images.mean(axis=(1, 2, 3, 4)) / 10).round().tolist() == list(range(18))
    assert dataset.validation.tolist() == list(range(12, 18))


def test_volumes_of_16_bits_keep_them(write):
    dataset = open_dataset(write(volumes(dtype=np.uint16), depth=4, bits=16))
    assert dataset.images.dtype == np.uint16
    assert dataset.images[11].max() == 110


@pytest.mark.parametrize(
    ("content", "depth", "message"),
    [
        (volumes(), None, r"train_images holds volumes \(12 × 4 × 6 × 7\); set data\.depth"),
        (arrays(), 4, r"train_images holds images \(12 × 8 × 9\), but data\.depth is set; remove it"),
        (arrays(train_images=np.zeros((12, 8, 9, 3), np.uint8)), 4, r"train_images holds images \(12 × 8 × 9 × 3\)"),
        (volumes(2), 4, r"train_images holds 12 × 4 × 6 × 7 × 2; volumes are \[n, d, h, w\] or \[n, d, h, w, 3\]"),
        (volumes(3, 1), 4, r"train_images holds 12 × 4 × 6 × 7 × 3 × 1; volumes are"),
        (
            volumes() | {"train_images": np.zeros((12, 1, 6, 7), np.uint8)},
            4,
            "12 × 1 × 6 × 7; each side needs at least 2",
        ),
    ],
)
def test_a_file_of_the_other_kind_is_an_error(write, content, depth, message):
    with pytest.raises(ConfigError, match=rf"^data\.path: .*{message}"):
        open_dataset(write(content, depth=depth))


def test_one_image_is_not_taken_for_many(write):
    with pytest.raises(
        ConfigError, match=r"train_images holds 12 × 12 × 3, which is one image, \[h, w, c\]; save train_images\[None\]"
    ):
        open_source(write(arrays(train_images=np.zeros((12, 12, 3), np.uint8))))


def test_channels_that_are_no_colours_are_told(write):
    with pytest.raises(
        ConfigError, match=r"train_images holds 24 × 8 × 9 × 4: of its 4 channels, save train_images\[\.\.\., :3\]"
    ):
        open_source(write(arrays(train_images=np.zeros((24, 8, 9, 4), np.uint8))))
