"""torchvision's data sets where they are on disk: training and validation images, the test images never."""

import bz2
import inspect
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from trainables.core.config_errors import ConfigError
from trainables.data.dataset import open_dataset
from trainables.data.sources.open_source import open_source
from trainables.models.backbones.torchvision_import import image_sets
from trainables.recipe.data_config import DataConfig
from trainables.recipe.torchvision_catalog import CATALOG


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("THAW_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def data(name: str, root: Path, **config: object) -> DataConfig:
    return DataConfig.model_validate(
        {"source": "torchvision", "name": name, "path": str(root), "image_size": 8} | config
    )


def grey(i: int) -> np.ndarray:
    return np.full((28, 28), 10 * i, np.uint8)


def write_mnist(root: Path, name: str = "MNIST") -> None:
    folder = root / name / "raw"
    folder.mkdir(parents=True)
    images, labels = np.stack([grey(i) for i in range(20)]), np.arange(20) % 10
    for part in ("train", "t10k"):
        head = struct.pack(">4I", 0x803, 20, 28, 28), struct.pack(">2I", 0x801, 20)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(head[0] + images.tobytes())
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(head[1] + labels.astype(np.uint8).tobytes())


def write_files(root: Path, names: list[str], colour: bool = True) -> None:
    """Images of brightness 10 · i."""
    for i, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB" if colour else "L", (9, 9), (min(255, 10 * i),) * 3 if colour else 10 * i).save(root / name)


def write_eurosat(root: Path) -> None:
    write_files(root / "eurosat/2750", [f"{kind}/{kind}_{i}.png" for kind in ("Forest", "River") for i in range(5)])


def write_rendered_sst2(root: Path) -> None:
    names = [
        f"{part}/{kind}/{i}.png" for part in ("train", "valid") for kind in ("negative", "positive") for i in range(3)
    ]
    write_files(root / "rendered-sst2", [*names, "test/negative/0.png", "test/positive/0.png"])


def write_gtsrb(root: Path) -> None:
    write_files(root / "gtsrb/GTSRB/Training", [f"{kind:05}/{i}.ppm" for kind in (0, 14) for i in range(5)])


def write_usps(root: Path) -> None:
    rows = [f"{i % 2 + 1} " + " ".join(f"{k}:{i / 6 - 1}" for k in range(1, 257)) for i in range(12)]
    (root / "usps.bz2").write_bytes(bz2.compress("\n".join(rows).encode() + b"\n"))


def write_country(root: Path) -> None:
    names = [f"{part}/{kind}/{i}.png" for part in ("train", "valid") for kind in ("AD", "ZW") for i in range(3)]
    write_files(root / "country211", names, colour=False)


@pytest.mark.parametrize(
    ("name", "write", "classes", "sides", "channels"),
    [
        ("MNIST", write_mnist, ("0 - zero", "1 - one"), None, 1),
        ("FashionMNIST", lambda root: write_mnist(root, "FashionMNIST"), ("T-shirt/top", "Trouser"), None, 1),
        ("EuroSAT", write_eurosat, ("Forest", "River"), None, 3),
        ("RenderedSST2", write_rendered_sst2, ("negative", "positive"), (6, 6), 3),
        ("Country211", write_country, ("AD", "ZW"), (6, 6), 1),
        ("GTSRB", write_gtsrb, ("0", "1"), None, 3),
    ],
)
def test_training_and_validation_images_are_read(tmp_path, name, write, classes, sides, channels):
    write(tmp_path)
    dataset = open_dataset(data(name, tmp_path, **({} if sides else {"validation": 0.5})))
    count = sum(sides) if sides else 20 if "MNIST" in name else 10
    assert dataset.classes[:2] == classes
    assert dataset.images.shape == (count, 8, 8, channels)
    assert dataset.images.mean(axis=(1, 2, 3)).tolist() == [10 * i for i in range(count)]
    assert (len(dataset.train), len(dataset.validation)) == (sides or (dataset.train.size, count - dataset.train.size))
    if sides:
        assert dataset.validation.tolist() == list(range(6, 12))
    expected = np.arange(20) % 10 if "MNIST" in name else np.repeat([0, 1] * (2 if sides else 1), 3 if sides else 5)
    assert dataset.labels.tolist() == expected.tolist()


def test_labels_and_the_split_can_be_chosen(tmp_path):
    write_rendered_sst2(tmp_path)
    dataset = open_dataset(data("RenderedSST2", tmp_path, folds=3))
    assert (len(dataset.train), len(dataset.validation)) == (8, 4)
    write_mnist(tmp_path)
    names = [
        f"{i} - {word}"
        for i, word in enumerate(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
    ]
    mapping = {name: "odd" if i % 2 else "even" for i, name in enumerate(names[:8])} | dict.fromkeys(names[8:])
    found = open_source(data("MNIST", tmp_path, labels=mapping))
    assert found.classes == ("even", "odd")
    assert [int(found.open().decode(i).mean()) for i in (0, 8)] == [0, 100]  # 8 and 9 are left out


def test_files_come_in_the_order_of_their_names(tmp_path):
    order = np.random.RandomState(0).permutation(40).tolist()
    names = [f"{'ab'[i // 20]}/{('abbey', 'barn')[i // 20]}/sun_{i:02}.jpg" for i in order]
    write_files(tmp_path / "SUN397", names)
    (tmp_path / "SUN397/ClassName.txt").write_text("/a/abbey\n/b/barn\n")
    source = open_source(data("SUN397", tmp_path))
    assert source.classes == ("abbey", "barn")
    assert source.labels.tolist() == [0] * 20 + [1] * 20
    reader = source.open()
    shown = [reader.decode(i).mean() for i in range(20)]
    assert np.allclose(shown, [min(255, 10 * order.index(i)) for i in range(20)], atol=2)


def test_numbers_of_usps_are_read_though_it_says_no_more(tmp_path):
    write_usps(tmp_path)
    source = open_source(data("USPS", tmp_path))
    assert source.classes == ("0", "1")
    assert source.labels.tolist() == [0, 1] * 6
    assert source.open().decode(6).shape == (16, 16, 1)


@pytest.mark.parametrize(
    ("name", "write", "change"),
    [
        ("MNIST", write_mnist, "MNIST/raw/train-images-idx3-ubyte"),
        ("EuroSAT", write_eurosat, "eurosat/2750/River/River_2.png"),
    ],
)
def test_the_key_follows_the_files(tmp_path, name, write, change):
    write(tmp_path)
    before = open_source(data(name, tmp_path))
    assert open_source(data(name, tmp_path)) == before
    os.utime(tmp_path / change, ns=(0, 12345))
    assert open_source(data(name, tmp_path)) != before


@pytest.mark.parametrize("name", ["CIFAR10", "MNIST", "Flowers102", "SVHN", "USPS"])
def test_what_is_not_there_is_said_with_where_and_how(tmp_path, name):
    with pytest.raises(ConfigError) as caught:
        open_source(data(name, tmp_path))
    (problem,) = caught.value.problems
    assert problem.path == ("data", "path")
    assert problem.message == (
        f"{tmp_path}: {name} is not in {tmp_path / CATALOG[name].place}; "
        f"`torchvision.datasets.{name}('{tmp_path}', download=True)` downloads it where possible; "
        f"see https://docs.pytorch.org/vision/stable/generated/torchvision.datasets.{name}.html"
    )


def test_what_is_damaged_is_said(tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    message = f"CIFAR10 in {tmp_path}/cifar-10-batches-py cannot be read: Dataset not found or corrupted.; `torchvision"
    with pytest.raises(ConfigError, match=f"^data.path: .*{message}"):
        open_source(data("CIFAR10", tmp_path))
    (tmp_path / "train_32x32.mat").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match=r"SVHN in .* cannot be read: Dataset not found or corrupted"):
        open_source(data("SVHN", tmp_path))
    write_mnist(tmp_path)
    file = tmp_path / "MNIST/raw/train-labels-idx1-ubyte"
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(ConfigError, match=r"MNIST in .* cannot be read: "):
        open_source(data("MNIST", tmp_path))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"name": "CIFAR"}, r"'CIFAR' is not a torchvision data set that can be read; did you mean 'CIFAR10'\?"),
        ({}, "is required with source 'torchvision': one of CIFAR10, CIFAR100, "),
        ({"name": "MNIST"}, "source 'torchvision' needs `path`, the folder of the data"),
        ({"name": "MNIST", "path": "x", "bits": 16}, "applies only to source folder, npz, table, not to 'torchvision'"),
        ({"name": "MNIST", "path": "x", "frame": 1}, "applies only to source folder, table, not to 'torchvision'"),
        ({"source": "folder", "name": "MNIST"}, "applies only to source 'torchvision', not to 'folder'; remove it"),
        (
            {"source": "idx", "window": {"center": 0, "width": 1}},
            "applies only to source folder, npz, table, not to 'idx'",
        ),
    ],
)
def test_what_the_config_cannot_mean_is_said(config, message):
    with pytest.raises(ValidationError, match=message):
        DataConfig.model_validate({"source": "torchvision"} | config)


@pytest.mark.parametrize("name", CATALOG)
def test_the_catalog_fits_torchvision(name):
    kind, parts = getattr(image_sets(), name), CATALOG[name]
    for arguments in (parts.train, parts.validation or {}):
        bound = inspect.signature(kind).bind("root", **arguments)
        accepted = inspect.signature(kind).parameters
        assert not parts.files or "loader" in accepted or "kwargs" in accepted
        assert "test" not in bound.arguments.values()
    splits = (parts.train, parts.validation) if parts.validation else (parts.train,)
    source = inspect.getsource(kind)
    assert all(f'"{split["split"]}"' in source for split in splits if "split" in split)
