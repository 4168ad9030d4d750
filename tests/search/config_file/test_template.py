"""`thaw init` writes files that `thaw check` and `thaw search` take as they are."""

import gzip
import io
import json
import re
import shlex
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
from search.config_file.init_choices import batch_size, image_size, volume_depth, volume_side
from search.config_file.load import load_search
from search.config_file.template import starter, table_of
from search.preflight.check import check_search
from tests.support.published_data import save_image, save_table
from trainables.data.dataset import open_dataset
from trainables.data.detection.wishes import Wishes
from trainables.data.sources.open_source import open_source
from trainables.recipe.rules.size_advice import size_advice
from trainables.recipe.rules.stage_plans import plan_of

PIXELS = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """The working directory, with a cache of its own, and nothing beside it."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("THAW_CACHE", str(tmp_path / "cache"))
    return tmp_path / "here"


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
    text, table = starter(path.relative_to(here), file)
    file.write_text(text)
    if table is not None:
        table_of(file).write_text(table)
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


@pytest.mark.parametrize("count", [4, 5, 9, 10, 11])
def test_a_few_images_with_numbers_are_enough(here, count):
    rows = [{"file": save_image(here / f"{i}.png").name, "score": i + 0.5} for i in range(count)]
    config, text = loaded(save_table(here / "scores.csv", rows), here)
    assert config.recipe.train.metric == "spearman"
    assert len(open_dataset(config.recipe.data).validation) >= 2
    assert "of each tenth of the numbers" in text


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
    assert "# please check: not used: photos/list.csv: holds no rows\n" in text
    assert "# please check: sub-folders of cat are not classes: their images belong to the class above\n" in text


# --- what is mended ---------------------------------------------------------------------------------------------------


def _one_image(root):
    return class_folders(root / "x", {"cat": 5, "dog": 5, "eel": 1})


def _no_image(root):
    folder = class_folders(root / "x", {"cat": 5, "dog": 5})
    (folder / "eel").mkdir()
    return folder


def _unreadable(root):
    folder = class_folders(root / "x", {"cat": 5, "dog": 5})
    (folder / "dog" / "0.png").write_bytes(b"no image")
    return folder


def _headless(root):
    folder = class_folders(root / "x", {"cat": 5, "dog": 5})
    (folder / "dog" / "0.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 9)
    return folder


def _contradicting(rows):
    def write(root):
        file = table(root, "csv", {"A": 10, "B": 8}, lambda i: {"patient": f"p{i // 2}"})
        with file.open("a") as lines:
            lines.write(rows)
        return file

    return write


MENDED = {
    "a class of one image": (
        _one_image,
        "1 class with fewer than two images is left out (eel): a class needs one to train with",
    ),
    "a class of no image": (_no_image, "folders without an image are no classes: eel (found no files)"),
    "a DICOM file without header": (_headless, "images that cannot be read are left out, such as "),
    "a broken image": (_unreadable, "images that cannot be read are left out, such as "),
    "an image of two classes": (_contradicting("A0.png,B,p0\n"), "rows that differ"),
    "an image of two patients": (
        _contradicting("A0.png,A,p1\n"),
        "'patient' is not used as the group, because 1 image have rows that differ (A0.png); to insist: thaw init",
    ),
    "a missing image": (_contradicting("gone.png,A,p0\n"), "1 row without their image file is left out: row 19"),
    "a missing label": (
        lambda root: table(root, "csv", {"A": 10, "B": 8}, lambda i: {"density": None} if i == 9 else {}),
        "1 row without a label is left out: row 10",
    ),
    "a missing patient": (
        _contradicting("B1.png,B,\n"),
        "1 image without a group: each is taken as a group of its own",
    ),
    "patients on both sides of a given split": (
        lambda root: table(root, "csv", {"A": 16, "B": 16}, lambda i: sides(i) | {"patient": f"p{i // 3}"}),
        "'patient' is not used as the group, because 5 groups are on more than one side of the given split",
    ),
    "a patient with all images of a class": (
        lambda root: table(root, "csv", {"A": 12, "B": 3}, lambda i: {"patient": f"p{i // 4}"}),
        "'patient' is not used as the group, because ",
    ),
    "a split without a class in validation": (
        lambda root: table(root, "csv", {"A": 12, "B": 5}, lambda i: {"split": "val" if i > 8 else "train"}),
        "'split' is not used as the split, because 'val' has no row of 'B'",
    ),
}


@pytest.mark.parametrize("name", MENDED)
def test_what_cannot_be_used_is_left_out_with_a_doubt(here, name):
    make, doubt = MENDED[name]
    config, text = loaded(make(here), here)
    assert len(open_dataset(config.recipe.data).train) > 0
    assert any(line.startswith("# please check: ") and doubt in line for line in text.splitlines()), text


def test_the_table_that_was_written_says_where_it_is_from(here):
    file = table(here, "csv", {"A": 10, "B": 8}, patients, folder="scans")
    file.write_text(file.read_text().replace(".png", ""))
    config, text = loaded(file, here)
    assert "written by thaw init, from exams.csv: file, density and patient_id" in text
    assert config.recipe.data.model_dump(include={"path", "images"}) == {
        "path": str(here / "search.images.csv"),
        "images": str(here / "scans"),
    }
    assert (here / "search.images.csv").read_text().startswith("path,label,group\nA0.png,A,p0\n")


# --- what is refused --------------------------------------------------------------------------------------------------


def _empty(root):
    (root / "x").mkdir()
    return root / "x"


def _flat(root):
    return class_folders(root, {"x": 3}) / "x"


def _masks(root):
    return class_folders(root / "x", {"images": 3, "masks": 3})


def _written(name, text):
    def write(root):
        (root / name).write_bytes(text)
        return root / name

    return write


def _parquet_of_images(root):
    pd.DataFrame({"image": [{"bytes": b"x"}] * 4, "label": [0, 1] * 2}).to_parquet(root / "t.parquet")
    return root / "t.parquet"


REFUSED = {
    "nothing": (lambda root: root / "x", "x: does not exist"),
    "an empty folder": (_empty, "x: is empty; expected a folder that torchvision downloaded a"),
    "images without classes": (_flat, "x: holds 3 images (0.png, 1.png, 2.png), but nothing says what they are; put"),
    "masks": (_masks, "x: holds images and what was drawn on them (images, masks), but no label of"),
    "volumes and their masks": (lambda root: class_folders(root / "x", {"imagesTr": 3, "labelsTr": 3}),
                                "x: holds images and what was"),
    "a workbook": (_written("t.xlsx", b"PK\x03\x04"), "t.xlsx: is an Excel workbook or a ZIP archive; save the sheet as CSV"),
    "a table of other data": (_written("t.h5", b"\x89HDF\r\n\x1a\nxxx"), "t.h5: is not written in UTF-8"),
    "images in a table": (_parquet_of_images, "t.parquet: the column 'image' holds struct<bytes: binary>, which is neither text "
                          "nor numbers; it holds the images themselves: write them to files"),
    "an image": (lambda root: _flat(root) / "0.png", "x/0.png: is an image, not a data set; expected"),
    "a text": (_written("notes.txt", b"hello"), "notes.txt: is neither a table nor a list of images with their labels; expected"),
    "an archive": (_written("photos.zip", b"PK"), "photos.zip: is an archive; unpack it, and pass its folder to thaw init"),
    "an empty table": (_written("t.csv", b""), "t.csv: is empty"),
    "a damaged table": (_written("t.parquet", b"PAR1"), "t.parquet: is damaged, or is not a table: "),
    "a table without files": (_written("t.csv", b"a,b\n1,2\n"), "t.csv: no column has image files that are in "),
    "a table of other rows": (_written("t.csv", b"a,b\n1,2\n1,2,3,4\n"), "t.csv: is damaged, or is not a table: "),
    "one class": (lambda root: class_folders(root / "x", {"cat": 5}), "x: holds only one class (cat); at least 2 are needed"),
    "classes of one image": (lambda root: class_folders(root / "x", {"cat": 5, "dog": 1}),
                             "x: fewer than two classes have two images, one to train with and one to validate with"),
    "damaged idx": (lambda root: _written("x/train-images-idx3-ubyte", b"no")(_empty(root).parent).parent,
                    "x: holds neither train-labels-idx1-ubyte nor"),
    "an array without labels": (lambda root: np.savez(root / "x.npz", a=np.zeros(3)) or root / "x.npz",
                                 "x.npz: has no array train_images"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_understood_is_told_with_what_is_expected(here, monkeypatch, capsys, name):
    make, message = REFUSED[name]
    path = make(here)
    before = sorted(here.rglob("*"))
    assert run(monkeypatch, str(path.relative_to(here))) == 2
    out, err = capsys.readouterr()
    assert err.removeprefix("error: ").replace(f"{here}/", "").startswith(message)
    assert (out, "Traceback" in err) == ("", False)
    assert sorted(here.rglob("*")) == before


TYPED = {
    "a column of class folders": (
        ["photos", "--label", "x"],
        "--label: applies to tables, but photos holds 2 class folders",
    ),
    "a group of class folders": (["photos", "--group", "x"], "--group x: there is no such column (columns: none)"),
    "a task of IDX files": (
        ["mnist", "--task", "regression"],
        "--task: applies to tables and folders, but mnist is IDX files",
    ),
    "a group that contradicts itself": (
        ["exams.csv", "--group", "patient"],
        "1 image has rows that differ",
    ),
}


@pytest.mark.parametrize("name", TYPED)
def test_what_is_typed_acts_or_is_refused(here, monkeypatch, capsys, name):
    class_folders(here / "photos", {"cat": 5, "dog": 5})
    idx_files(here / "mnist", [0, 1] * 5)
    _contradicting("A0.png,A,p1\n")(here)
    words, message = TYPED[name]
    assert run(monkeypatch, *words) == 2
    assert message in capsys.readouterr().err
    assert not (here / "search.yaml").exists()


def test_a_typed_group_is_kept_and_the_guessed_split_that_divides_it_is_not(here, monkeypatch):
    table(here, "csv", {"A": 16, "B": 16}, lambda i: sides(i) | {"patient": f"p{i // 3}"})
    assert run(monkeypatch, "exams.csv", "--group", "patient") == 0
    config = load_search(read_source(here / "search.yaml"))
    assert (config.recipe.data.columns.group, config.recipe.data.columns.split) == ("patient", None)


def test_the_command_in_a_doubt_writes_the_same_file(here, monkeypatch):
    class_folders(here / "ck", {"happy": 0, "sad": 0})
    for label in ("happy", "sad"):
        for i in range(12):
            save(here / "ck" / label / f"S{i // 2:03}_{i}.png")
    assert run(monkeypatch, "ck", "-o", "my search.yaml") == 0
    (doubt,) = re.findall("# please check: .*: thaw init (.*)", (here / "my search.yaml").read_text())
    assert run(monkeypatch, *shlex.split(doubt)) == 0
    config = load_search(read_source(here / "my search.yaml"))
    assert config.recipe.data.columns.group == "group"
    assert open_source(config.recipe.data).groups.max() == 5


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


@pytest.mark.parametrize(("voxels", "side", "depth"), [(4, 16, 8), (9, 16, 16), (50, 56, 56), (512, 96, 64)])
def test_volumes_keep_about_their_size_up_to_what_a_machine_can_bear(voxels, side, depth):
    assert (volume_side(voxels), volume_depth(voxels)) == (side, depth)


@pytest.mark.parametrize("trained", [2, 3, 9, 17, 33, 65, 4097, 6401])
@pytest.mark.parametrize("volumes", [False, True])
def test_no_batch_has_a_single_image(trained, volumes):
    assert trained % batch_size(trained, volumes=volumes) != 1


@pytest.mark.parametrize(
    ("trained", "batch", "epochs"),
    [
        (40, 8, (8, 12, 16)),
        (400, 16, (8, 12, 16)),
        (800, 32, (8, 12, 16)),
        (4999, 32, (5, 8, 12)),
        (5000, 64, (5, 8, 12)),
        (10_000, 64, (5, 8, 12)),
        (10_001, 64, (3, 6, 9)),
        (50_000, 64, (3, 6, 9)),
    ],
)
def test_few_images_get_small_batches_and_many_epochs(trained, batch, epochs):
    assert (batch_size(trained), size_advice(trained).epochs) == (batch, epochs)


# --- what must not end init -------------------------------------------------------------------------------------------


def test_a_list_that_cannot_be_used_beside_class_folders_is_a_doubt(here):
    root = class_folders(here / "photos", {"cat": 6, "dog": 6})
    boxes = [{"image_id": 1, "category_id": 1}, {"image_id": 1, "category_id": 2}]
    names = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    coco = {"images": [{"id": 1, "file_name": "0.png"}], "annotations": boxes, "categories": names}
    (root / "instances.json").write_text(json.dumps(coco))
    config, text = loaded(root, here)
    assert config.recipe.data.source == "folder"
    assert "# please check: not used: photos/instances.json: " in text


def test_blanks_around_paths_need_a_table_without_them(here):
    file = table(here, "csv", {"A": 6, "B": 6})
    file.write_text(file.read_text().replace(",", " , ").replace("\n", " \n"))
    config, text = loaded(file, here)
    assert len(open_source(config.recipe.data).labels) == 12
    assert "the table is not read as it stands, because" in text


def test_a_patient_on_both_sides_of_a_split_of_folders_drops_the_split(here):
    for part in ("train", "val"):
        for name in ("cat", "dog"):
            for i in range(4):
                save(here / "photos" / part / name / f"patient{i}_{part}.png")
    file = Path("search.yaml")
    text, rows = starter(Path("photos"), file, Wishes(group="patient"))
    assert rows is not None
    assert "the split that the folders name is not used, because" in text


@pytest.mark.parametrize("plan", ["three_depths", "head_only", "progressive_unfreezing"])
def test_a_plan_that_is_named_takes_the_place_of_the_stages(here, plan):
    root = class_folders(here / "photos", {"cat": 40, "dog": 6})
    file = Path("search.yaml")
    file.write_text(starter(root.relative_to(here), file, Wishes(plan=plan)).text)
    config = load_search(read_source(file))
    assert plan_of(config.recipe.model_dump(mode="json")) == plan
