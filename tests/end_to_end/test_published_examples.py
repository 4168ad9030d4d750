"""The published runs of `examples/published/`, each at a toy size: the same stages, losses and rules on a few small images."""

import numpy as np
import pytest
from PIL import Image

from search.cli import main
from search.config.yaml_source import read_source
from search.config_file.load import load_recipe, load_search
from tests.support.project import PROJECT
from trainables.run_folder.epoch_report import read_epochs
from trainables.run_folder.layout import TrialLayout

nibabel = pytest.importorskip("nibabel")

FOLDER = PROJECT / "examples" / "published"
NAMES = sorted(file.stem for file in FOLDER.glob("*.yaml"))


def photos(folder, *, classes=("cat", "dog", "owl"), images=12, shape=(32, 48)):
    """A folder for each class; each class has a colour of its own, in noise."""
    random = np.random.default_rng(0)
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(images):
            pixels = random.integers(0, 120, (*shape, 3), dtype=np.uint8)
            pixels[..., number % 3] += 100
            Image.fromarray(pixels).save(folder / name / f"{i}.png")


def exams(folder):
    """`exams.csv` of mammograms: 4 densities, 2 images of each patient."""
    photos(folder / "images", classes=("1", "2", "3", "4"), images=8, shape=(48, 24))
    rows = [f"images/{d}/{i}.png,{d},patient {d}{i // 2}" for d in (1, 2, 3, 4) for i in range(8)]
    (folder / "exams.csv").write_text("\n".join(["file,density,patient", *rows]) + "\n")


def views(folder):
    """`thumbnails.csv` of images, how often they were seen, and since which year."""
    photos(folder, images=10)
    rows = [
        f"{name}/{i}.png,{10 ** (1 + n) + i},{2015 + i}"
        for n, name in enumerate(("cat", "dog", "owl"))
        for i in range(10)
    ]
    (folder / "thumbnails.csv").write_text("\n".join(["path,views,published", *rows]) + "\n")


def scans(folder):
    """A folder of NIfTI volumes for each class, of several spacings."""
    random = np.random.default_rng(0)
    for number, name in enumerate(("benign", "malignant")):
        (folder / "scans" / name).mkdir(parents=True)
        for i in range(12 - 4 * number):
            volume = random.normal(100 + 40 * number, 20, (16, 16, 12)).astype(np.float32)
            image = nibabel.Nifti1Image(volume, np.diag([1.0, 1.0, 1.5 + i % 2, 1.0]))
            nibabel.save(image, folder / "scans" / name / f"{i}.nii.gz")


SMALL = ["model.weights=none", "train.device=cpu", "train.precision=fp32"]
PHOTOS = [*SMALL, "data.path=.", "data.image_size=32"]
GROWN = [*PHOTOS, "train.stages[*].image_size=32", "train.stages[*].epochs=1"]
TOY = {
    "long_run": (photos, [*PHOTOS, "train.stages[*].epochs=2"]),
    "mammography": (exams, [*SMALL, "data.image_size=32", "train.stages[*].epochs=2", "data.validation=0.4"]),
    "popularity": (views, [*SMALL, "data.image_size=32", "train.stages[*].epochs=2"]),
    "progressive": (photos, GROWN),
    "progressive_full": (photos, GROWN),
    "thumbnails": (photos, [*PHOTOS, "train.stages[*].epochs=2"]),
    "volumes": (
        scans,
        [*SMALL, "data.image_size=16", "data.depth=16", "train.stages[*].epochs=2", "train.drw.start_epoch=2"],
    ),
}
"""Maker of the data of each run, and the values that make it small."""
FOR_PRESET = {"volumes": ["train.drw={start_fraction: 0.25}"]}
PRESETS = {name: name for name in TOY} | {
    "long_run": "unfreezing",
    "popularity": "thumbnails",
    "progressive_full": "progressive",
}


def test_each_has_a_toy():
    assert sorted(TOY) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_it_is_a_recipe_and_can_be_searched(name):
    file = FOLDER / f"{name}.yaml"
    assert load_recipe(read_source(file))
    assert load_search(read_source(file, [f"space={PRESETS[name]}", "search.trials=4", *FOR_PRESET.get(name, ())]))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_it_trains(name, tmp_path, monkeypatch, capsys):
    make, overrides = TOY[name]
    make(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["thaw", "train", str(FOLDER / f"{name}.yaml"), *overrides])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    assert ended.value.code == 0, printed.out + printed.err
    (run,) = (tmp_path / "runs").glob("*")
    recipe = load_recipe(read_source(FOLDER / f"{name}.yaml", overrides))
    stages = [report["stage"] for report in read_epochs(TrialLayout(run).epochs)]
    assert list(dict.fromkeys(stages)) == [stage.name for stage in recipe.train.stages]
