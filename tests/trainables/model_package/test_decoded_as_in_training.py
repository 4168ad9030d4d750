"""Contract: files and arrays are decoded for prediction exactly as they were for training, whatever `data` says."""

import nibabel
import numpy as np
import pytest
from PIL import Image

from trainables.data.dataset import open_dataset
from trainables.data.store.decoding import decode_resized
from trainables.model_package.input_images import find_images
from trainables.model_package.manifest import Input, Manifest
from trainables.model_package.predict import shape_of
from trainables.recipe.data_config import DataConfig

MANIFEST = Manifest.model_construct(task="classification", classes=("a", "b"), labels=None)
WINDOW = {"window": {"center": 1500, "width": 2000}}


def grey16(random, i):
    return random.integers(0, 4096, (20, 30 + i), np.uint16)


def write_images(folder, write):
    random = np.random.default_rng(0)
    for i in range(8):
        file = folder / "photos" / "ab"[i % 2] / f"{i}"
        file.parent.mkdir(parents=True, exist_ok=True)
        write(random, i).save(file.with_suffix(".png"))


def transparent(random, i):
    return Image.fromarray(random.integers(0, 256, (20, 30 + i, 4), np.uint8))


def colour(random, i):
    return Image.fromarray(random.integers(0, 256, (20, 30 + i, 3), np.uint8))


FILES = {
    "transparent": (transparent, {}),
    "padded": (colour, {"fit": "pad"}),
    "stretched": (transparent, {"fit": "stretch"}),
    "grey of colours": (colour, {"channels": 1}),
    "grey of transparent colours": (transparent, {"channels": 1, "fit": "stretch"}),
    "colours of grey": (lambda random, i: colour(random, i).convert("L"), {"channels": 3}),
    "16 bits as 8": (lambda random, i: Image.fromarray(grey16(random, i)), {}),
    "16 bits windowed": (lambda random, i: Image.fromarray(grey16(random, i)), WINDOW),
    "16 bits": (lambda random, i: Image.fromarray(grey16(random, i)), {"bits": 16, "fit": "pad"}),
    "16 bits kept and windowed": (lambda random, i: Image.fromarray(grey16(random, i)), {"bits": 16, **WINDOW}),
}


@pytest.mark.parametrize("name", FILES)
def test_files(tmp_path, name):
    write, given = FILES[name]
    write_images(tmp_path, write)
    data = DataConfig(source="folder", path=str(tmp_path / "photos"), image_size=12, validation=0.25, **given)
    check(data, sorted(map(str, (tmp_path / "photos").rglob("*.png"))))


@pytest.mark.parametrize("depth", [None, 6])
@pytest.mark.parametrize("given", [{}, WINDOW, {"bits": 16}, {"bits": 16, **WINDOW}])
def test_arrays(tmp_path, depth, given):
    shape = (8, 9, 20, 25) if depth else (8, 20, 25)
    images = np.random.default_rng(0).integers(0, 4096, shape, np.uint16)
    np.savez(tmp_path / "scans.npz", train_images=images, train_labels=np.arange(8) % 2)
    path = str(tmp_path / "scans.npz")
    check(DataConfig(source="npz", path=path, image_size=12, depth=depth, validation=0.25, **given), [path])


@pytest.mark.parametrize("size", [16, 12])
@pytest.mark.parametrize("given", [{}, {"fit": "pad"}, {"bits": 16}])
def test_volumes_of_a_common_spacing(tmp_path, given, size):
    random = np.random.default_rng(0)
    for i in range(8):
        file = tmp_path / "scans" / "ab"[i % 2] / f"{i}.nii"
        file.parent.mkdir(parents=True, exist_ok=True)
        values = random.normal(0, 1, (20 + i, 18, 9)).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(values, np.diag([-1, 1, 1 + i / 4, 1])), file)
    reading = {"image_size": 16, "depth": 8, "spacing_mm": [2, 1.2, 1.2], "validation": 0.25, **given}
    data = DataConfig(source="folder", path=str(tmp_path / "scans"), **reading)
    check(data, sorted(map(str, tmp_path.rglob("*.nii"))), size=size)


@pytest.mark.parametrize(("stored", "channels"), [((), 3), ((3,), 1)])
def test_arrays_in_other_channels(tmp_path, stored, channels):
    images = np.random.default_rng(0).integers(0, 256, (8, 20, 25, *stored), np.uint8)
    np.savez(tmp_path / "scans.npz", train_images=images, train_labels=np.arange(8) % 2)
    path = str(tmp_path / "scans.npz")
    data = DataConfig(source="npz", path=path, image_size=12, channels=channels, validation=0.25)
    check(data, [path])
    assert open_dataset(data).images.shape[-1] == channels


def check(data: DataConfig, given: list[str], size: int | None = None) -> None:
    """Compares what the network sees of some images, at an image size of a stage if one is given."""
    size = size or data.image_size
    images = open_dataset(data, image_sizes=[size]).images_at[size]
    taken = Input(
        **data.model_dump(include={"depth", "bits", "frame", "window", "fit"}),
        image_size=size,
        spacing=data.spacing,
        box=data.box,
        resize="",
        channels=images.shape[-1],
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
        standardises=False,
    )
    items = find_images(given, MANIFEST.model_copy(update={"input": taken}))
    decoded = [decode_resized(item.decode, [shape_of(taken)], taken.fit, taken.box).images[0] for item in items]
    assert np.array_equal(images, decoded)
    assert images.std() > 1
