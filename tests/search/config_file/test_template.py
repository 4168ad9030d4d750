"""`thaw init` writes files that `thaw check` and `thaw search` take as they are."""

import gzip
import io
import re
import struct
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from rich.console import Console

from search.cli import main
from search.config.yaml_source import InputError, read_source
from search.config_file.load import load_search
from search.config_file.template import batch_size, image_size, stage_epochs, starter, validation_share
from search.preflight.check import check_search
from trainables.data.dataset import open_dataset

PIXELS = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """The working directory, with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THAW_CACHE", str(tmp_path / "cache"))
    return tmp_path


def save(file, size=(40, 40), grey=False):
    file.parent.mkdir(parents=True, exist_ok=True)
    shape = size[::-1] if grey else (*size[::-1], 3)
    Image.fromarray(PIXELS.integers(0, 256, shape, dtype=np.uint8)).save(file)


def class_folders(root, counts, **image):
    for name, count in counts.items():
        for i in range(count):
            save(root / name / f"{i}.png", **image)
    return root


def table(root, suffix, counts, extra=lambda i: {}, folder=""):
    rows = []
    for label, count in counts.items():
        for i in range(count):
            name = f"{label}{i}.png"
            save(root / folder / name)
            rows.append({"file": name, "density": label, **extra(i)})
    frame, file = pd.DataFrame(rows), root / f"exams.{suffix}"
    if suffix == "parquet":
        frame.to_parquet(file)
    else:
        frame.to_csv(file, index=False, sep="\t" if suffix == "tsv" else ",")
    return file


def idx_files(root, labels, suffix=""):
    root.mkdir()
    write = gzip.open if suffix else open
    with write(root / f"train-images-idx3-ubyte{suffix}", "wb") as file:
        file.write(struct.pack(">IIII", 0x803, len(labels), 28, 28) + PIXELS.bytes(len(labels) * 784))
    with write(root / f"train-labels-idx1-ubyte{suffix}", "wb") as file:
        file.write(struct.pack(">II", 0x801, len(labels)) + bytes(labels))
    return root


def npz_file(file, counts):
    arrays = {}
    for part, count in counts.items():
        arrays[f"{part}_images"] = PIXELS.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        arrays[f"{part}_labels"] = np.arange(count) % 2
    np.savez(file, **arrays)
    return file


def patients(i):
    return {"patient_id": f"p{i // 2}"}


def sides(i):
    return {"split": ("train", "train", "val", "test")[i % 4], "sex": "fm"[i % 2]}


INPUTS = {
    "folders": lambda root: class_folders(root / "photos", {"cat": 12, "dog": 9}),
    "imbalanced folders": lambda root: class_folders(root / "photos", {"cat": 30, "dog": 12, "rare bird": 2}),
    "odd names": lambda root: class_folders(root / "my: photos # [1]", {"a: b": 6, "- c": 6, "100%": 6, "Ärzte'": 6}),
    "grey folders": lambda root: class_folders(root / "photos", {"cat": 6, "dog": 6}, grey=True, size=(8, 8)),
    "csv": lambda root: table(root, "csv", {"A": 10, "B": 8}),
    "tsv with groups": lambda root: table(root, "tsv", {"A": 20, "B": 16}, patients),
    "parquet with a split": lambda root: table(root, "parquet", {"A": 16, "B": 12}, sides),
    "csv of another folder": lambda root: table(root, "csv", {"A": 10, "B": 8}, patients, folder="scans"),
    "imbalanced csv": lambda root: table(root, "csv", {"A": 40, "B": 4}),
    "idx": lambda root: idx_files(root / "mnist", [0, 1, 2] * 10),
    "npz with a split": lambda root: npz_file(root / "medmnist.npz", {"train": 24, "val": 8}),
    "gzipped idx": lambda root: idx_files(root / "mnist", [0] * 40 + [1] * 5, ".gz"),
}


def loaded(path, here):
    """The search that was written for a path, and its text."""
    file = Path("search.yaml")
    file.write_text(text := starter(path.relative_to(here), file))
    return load_search(read_source(file)), text


@pytest.mark.parametrize("name", INPUTS)
def test_a_file_is_a_search_without_mistakes_of_data_that_opens(here, name):
    config, text = loaded(INPUTS[name](here), here)
    dataset = open_dataset(config.recipe.data)
    assert len(dataset.train) > len(dataset.validation) > 0
    assert all(len(line) <= 132 for line in text.splitlines())
    (said,) = re.findall(r"([\d,]+) training images", text)
    assert abs(int(said) - len(dataset.train)) <= len(dataset.classes)  # shares are rounded class by class


@pytest.mark.slow
@pytest.mark.parametrize("name", ["imbalanced folders", "tsv with groups", "idx"])
def test_a_file_passes_its_check(here, monkeypatch, name):
    monkeypatch.setattr("trainables.trial.dry_run._MEASURE_FOR_S", 0.01)
    loaded(INPUTS[name](here), here)
    source = read_source(here / "search.yaml", ["data.image_size=32"])  # a quarter of the work
    found, _ = check_search(load_search(source), source, Console(file=io.StringIO()))
    assert all(cost.finite for cost in found.tried.stages)
    assert found.data.groups is None or found.data.groups.shared == 0


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("folders", {"source": "folder", "image_size": 64, "validation": 0.2}),
        ("imbalanced folders", {"validation": 0.25}),  # two birds: one on either side
        (
            "tsv with groups",
            {"source": "table", "columns": {"path": "file", "label": "density", "group": "patient_id"}},
        ),
        (
            "parquet with a split",
            {"columns": {"path": "file", "label": "density", "split": "split"}, "validation": None},
        ),
        ("idx", {"source": "idx", "image_size": 64}),
        ("npz with a split", {"source": "npz", "validation": None}),
    ],
)
def test_the_data_section_says_what_was_found(here, name, data):
    config, _ = loaded(INPUTS[name](here), here)
    found = config.recipe.data.model_dump()
    found["columns"] = config.recipe.data.columns and config.recipe.data.columns.named()
    assert {key: found[key] for key in data} == data


def test_images_of_another_folder_are_found_there(here):
    config, _ = loaded(INPUTS["csv of another folder"](here), here)
    assert config.recipe.data.images == str(here / "scans")


@pytest.mark.parametrize(
    ("name", "loss", "searched", "why"),
    [
        ("folders", "cross_entropy", False, "the classes are about balanced (cat 12 … dog 9: 1.33 to 1)"),
        ("grey folders", "cross_entropy", False, "the classes are about balanced (6 each: 1 to 1)"),
        ("imbalanced folders", "balanced_softmax", True, "cat 30 … rare bird 2: 15 to 1; the search also tries LDAM"),
        ("gzipped idx", "balanced_softmax", True, "0 40 … 1 5: 8 to 1; the search also tries LDAM"),
    ],
)
def test_the_loss_fits_the_class_counts_and_a_comment_says_why(here, name, loss, searched, why):
    config, text = loaded(INPUTS[name](here), here)
    assert config.recipe.train.loss.kind == loss
    assert ("train.loss.kind" in config.space.parameters) == searched
    assert why in text
    if searched:
        assert {values["train.loss.kind"] for values in config.draws(12)} == {"balanced_softmax", "ldam"}
    # LDAM is behind until it re-weights: raw scores must not judge it before.
    assert (config.settings.scheduler.rungs, config.settings.scheduler.before_drw) == ("stages", "corrected")


def test_counts_are_those_of_the_training_rows_where_a_split_is_given(here):
    _, text = loaded(INPUTS["parquet with a split"](here), here)
    assert "14 images of 2 classes, A 8 … B 6." in text


def test_doubts_are_comments(here):
    folder = class_folders(here / "photos", {"cat/young": 6, "dog": 6})
    (folder / "list.csv").write_text("a,b\n")
    _, text = loaded(folder, here)
    assert "# please check: the table photos/list.csv is not used\n" in text
    assert "# please check: sub-folders of cat are not classes: their images belong to the class above\n" in text


# --- what is refused --------------------------------------------------------------------------------------------------


def _empty(root):
    (root / "x").mkdir()
    return root / "x"


def _flat(root):
    return class_folders(root, {"x": 3}) / "x"


def _written(name, text):
    def write(root):
        (root / name).write_bytes(text)
        return root / name

    return write


def _beside_a_table(root):
    return table(root, "csv", {"A": 3, "B": 3}).parent


REFUSED = {
    "nothing": (lambda root: root / "x", "x: does not exist"),
    "an empty folder": (_empty, "x: is empty; expected a folder with one sub-folder of images for each class, a folder with"),
    "images without classes": (_flat, "x: holds 3 files (0.png, 1.png, 2.png) and no folders; expected a folder"),
    "an image": (lambda root: _flat(root) / "0.png", "x/0.png: is an image, not a data set; expected"),
    "a text": (_written("notes.txt", b"hello"), "notes.txt: does not have the name of a table; expected"),
    "an empty table": (_written("t.csv", b""), "t.csv: is empty"),
    "a damaged table": (_written("t.parquet", b"PAR1"), "t.parquet: is damaged, or is not a table: "),
    "a table in another encoding": (_written("t.csv", b"path,label\n\xff\xfe,1\n"), "t.csv: is not written in UTF-8 (byte 11); "),
    "a table without files": (_written("t.csv", b"a,b\n1,2\n"), "t.csv: no column has image files that are in "),
    "a table of other rows": (_written("t.csv", b"a,b\n1,2\n1,2,3,4\n"), "t.csv: is damaged, or is not a table: "),
    "one class": (lambda root: class_folders(root / "x", {"cat": 5}), "x: holds only one class (cat)"),
    "a class without images": (lambda root: (class_folders(root / "x", {"cat": 5}), (root / "x/dog").mkdir())[0],
                               "x: 1 of 2 classes have no image: dog (found no files)"),
    "a class of one image": (lambda root: class_folders(root / "x", {"cat": 5, "dog": 1}),
                             "0.2 of each class leaves no training or no validation image for 'dog' (1 image); a class needs"),
    "damaged idx": (lambda root: _written("x/train-images-idx3-ubyte", b"no")(_empty(root).parent).parent,
                    "x: holds neither train-labels-idx1-ubyte nor"),
    "groups that cannot be parted": (lambda root: table(root, "csv", {"A": 12, "B": 3}, lambda i: {"patient": f"p{i // 6}"}),
                                     "every side needs each class, and groups are not split"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_understood_is_told_with_what_is_expected(here, monkeypatch, capsys, name):
    make, message = REFUSED[name]
    path = make(here)
    before = sorted(here.rglob("*"))
    monkeypatch.setattr(sys, "argv", ["thaw", "init", str(path.relative_to(here))])
    with pytest.raises(SystemExit, match=r"^2$"):
        main()
    out, err = capsys.readouterr()
    assert err.removeprefix("error: ").replace(f"{here}/", "").startswith(message)
    assert (out, "Traceback" in err) == ("", False)
    assert sorted(here.rglob("*")) == before


def test_images_that_cannot_be_read_are_told(here):
    for name in ("cat", "dog"):
        for i in range(3):
            (here / "x" / name).mkdir(parents=True, exist_ok=True)
            (here / "x" / name / f"{i}.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"no image can be read: .*\.png: is not an image"):
        starter(here / "x", here / "search.yaml")


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["thaw", "init", *words])
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code


def test_a_file_is_not_written_over_unless_it_is_meant(here, monkeypatch, capsys):
    class_folders(here / "photos", {"cat": 5, "dog": 5})
    (here / "search.yaml").write_text("mine")
    assert run(monkeypatch, "photos") == 2
    assert "search.yaml exists: overwrite it with --force, or name another file with -o" in capsys.readouterr().err
    assert (here / "search.yaml").read_text() == "mine"
    assert run(monkeypatch, "photos", "-o", "other.yaml") == 0
    assert "Next: thaw check other.yaml" in capsys.readouterr().out
    assert run(monkeypatch, "photos", "--force") == 0
    assert (here / "search.yaml").read_text().replace("search.yaml", "other.yaml") == (here / "other.yaml").read_text()


# --- choices ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "size"), [(8, 64), (28, 64), (64, 64), (65, 96), (100, 128), (200, 224), (224, 224), (1024, 224)]
)
def test_images_keep_about_their_size(side, size):
    assert image_size(side) == size


@pytest.mark.parametrize(("fewest", "share"), [(2, 0.25), (3, 0.2), (1000, 0.2)])
def test_a_class_of_two_images_has_one_on_either_side(fewest, share):
    assert validation_share(fewest) == share
    assert 1 <= int(fewest * share + 0.5) < fewest


@pytest.mark.parametrize(
    ("trained", "batch", "epochs"),
    [
        (40, 16, (8, 12, 16)),
        (800, 32, (8, 12, 16)),
        (4999, 32, (5, 8, 12)),
        (5000, 64, (5, 8, 12)),
        (50_000, 64, (3, 6, 9)),
    ],
)
def test_few_images_get_small_batches_and_many_epochs(trained, batch, epochs):
    assert (batch_size(trained), stage_epochs(trained)) == (batch, epochs)
