"""What stands on a command line, as images a model takes: files, folders, globs, tables, arrays."""

import nibabel
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from trainables.data.formats.images import BadImageError
from trainables.data.sources.open_source import open_source
from trainables.model_package.input_images import Columns, find_images
from trainables.model_package.manifest import Inference, Input, Levels, Manifest, PackageError, Target
from trainables.recipe.data_config import DataConfig
from trainables.recipe.data_settings.table_columns import Columns as RecipeColumns


def manifest(*, depth=None, channels=3, bits=8, labels=None, task="classification"):
    return Manifest(
        task=task,
        backbone="resnet18",
        blocks=("stem",),
        head="linear",
        cosine_scale=None,
        classes=("cat", "dog") if task == "classification" else (),
        labels=labels,
        target=Target(mean=0, std=1) if task == "regression" else None,
        learned_prior=None,
        input=Input(
            image_size=8,
            depth=depth,
            resize="",
            channels=channels,
            bits=bits,
            frame=None,
            window=None,
            mean=(0.5,) * 3,
            std=(0.5,) * 3,
            standardises=False,
        ),
        inference=Inference(
            cut=0, prefix_batch=32, prefix_dtype="fp32", batch_size=4, precision="fp32", cpu_threads=1, device="cpu"
        ),
        weights_sha256="",
        origin={},
        validation={},
    )


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """photos/cat/1.png, photos/dog/2.png, photos/other/3.png and a note, seen from the working directory."""
    monkeypatch.chdir(tmp_path)
    for value, name in enumerate(("cat/1", "dog/2", "other/3"), start=1):
        file = tmp_path / "photos" / f"{name}.png"
        file.parent.mkdir(parents=True)
        Image.fromarray(np.full((4, 6, 3), value, np.uint8)).save(file)
    (tmp_path / "photos" / "note.txt").write_text("mine")
    return tmp_path


def found(*given, columns=None, **how):
    items = find_images(given, manifest(**how), columns)
    return [(item.name, item.truth) for item in items]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["photos/cat/1.png"], [("photos/cat/1.png", None)]),
        (["photos/dog/2.png", "photos/cat/1.png"], [("photos/dog/2.png", None), ("photos/cat/1.png", None)]),
        (["photos"], [("photos/cat/1.png", "cat"), ("photos/dog/2.png", "dog"), ("photos/other/3.png", None)]),
        (["photos/"], [("photos/cat/1.png", "cat"), ("photos/dog/2.png", "dog"), ("photos/other/3.png", None)]),
        (["photos/dog"], [("photos/dog/2.png", None)]),
        (["photos/*/[12].png"], [("photos/cat/1.png", None), ("photos/dog/2.png", None)]),
        (["photos/note.txt"], [("photos/note.txt", None)]),  # that it is no image is seen when it is read
    ],
)
def test_files_folders_and_globs_give_images_in_their_order(photos, given, expected):
    assert found(*given) == expected


def test_folders_of_labels_that_were_mapped_give_classes(photos):
    assert found("photos", labels={"cat": "dog", "other": "cat", "dog": None}) == [
        ("photos/cat/1.png", "dog"),
        ("photos/dog/2.png", None),
        ("photos/other/3.png", "cat"),
    ]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("gone.png", r"gone\.png does not exist"),
        ("photos/*.jpg", r"photos/\*\.jpg: no file matches"),
        ("empty", "empty holds no image that this model takes; it holds nothing"),
        ("notes", r"notes holds no image that this model takes; it holds a\.txt"),
        ("scan.nii.gz", r"1 of 1 files do not fit: this model takes images, and these are volumes \(scan\.nii\.gz\)"),
        ("gone.csv", r"gone\.csv: does not exist"),
        ("empty.csv", r"empty\.csv: is empty"),
        ("broken.parquet", r"broken\.parquet: is damaged, or is not a table"),
        ("files.csv", r"files\.csv: the table has no column 'path'; valid: file; choose one with --path-column"),
        ("gaps.csv", r"gaps\.csv: 1 rows have no path \(row numbers count from 1 below the header\): 2"),
        ("broken.npz", r"broken\.npz: is not an NPZ file, or is damaged"),
        ("other.npz", r"other\.npz: has no array of images \(images, train_images, …\); it has x"),
        ("volumes.npz", r"volumes\.npz: images holds volumes \(2 × 4 × 4 × 4\)"),
    ],
)
def test_what_holds_no_image_of_the_model_is_refused(photos, given, message):
    (photos / "empty").mkdir()
    (photos / "notes").mkdir()
    (photos / "notes" / "a.txt").touch()
    (photos / "scan.nii.gz").touch()
    (photos / "empty.csv").touch()
    (photos / "broken.parquet").write_bytes(b"PAR1")
    (photos / "files.csv").write_text("file\na.png\n")
    (photos / "gaps.csv").write_text("path,x\na.png,1\n,2\n")
    (photos / "broken.npz").write_bytes(b"PK")
    np.savez(photos / "other.npz", x=np.zeros(3))
    np.savez(photos / "volumes.npz", images=np.zeros((2, 4, 4, 4), np.uint8))
    with pytest.raises(PackageError, match=message):
        found(given)


def test_images_are_refused_where_volumes_are_taken(photos):
    with pytest.raises(
        PackageError, match=r"this model takes volumes: \.nii and \.nii\.gz files \(photos/cat/1\.png\)"
    ):
        found("photos/cat/1.png", depth=4)
    with pytest.raises(
        PackageError, match=r"photos holds no volume that this model takes; it holds 1\.png, 2\.png, 3\.png"
    ):
        found("photos", depth=4)


# --- tables ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet"])
def test_a_table_gives_the_paths_that_stand_in_it_and_known_labels(photos, ending):
    table = pd.DataFrame({"path": ["cat/1.png", "dog/2.png"], "label": ["cat", "horse"]})
    file = photos / "photos" / f"list.{ending}"
    table.to_parquet(file) if ending == "parquet" else table.to_csv(
        file, index=False, sep="\t" if ending == "tsv" else ","
    )
    assert found(f"photos/list.{ending}") == [("cat/1.png", "cat"), ("dog/2.png", None)]
    (first, _) = find_images([f"photos/list.{ending}"], manifest())
    assert first.decode().max() == 1


def test_a_tables_paths_start_where_it_is_said_and_stand_where_it_is_said(photos):
    (photos / "elsewhere").mkdir()
    (photos / "elsewhere" / "list.csv").write_text("file\ncat/1.png\n")
    columns = Columns(path="file", images=str(photos / "photos"))
    (item,) = find_images(["elsewhere/list.csv"], manifest(), columns)
    assert (item.name, item.truth) == ("cat/1.png", None)
    assert item.decode().shape == (4, 6, 3)


def test_labels_of_numbers_are_targets(photos):
    (photos / "list.csv").write_text("path,label\ncat/1.png,1.5\ndog/2.png,\nother/3.png,x\n")
    truths = [1.5, None, None]
    assert [truth for _, truth in found("list.csv", task="regression", columns=Columns(images="photos"))] == truths


def test_labels_that_were_numbers_are_mapped_as_in_training(photos):
    (photos / "list.csv").write_text("path,label\nphotos/cat/1.png,1.0\nphotos/dog/2.png,2\n")
    names = ["photos/cat/1.png", "photos/dog/2.png"]
    assert found("list.csv", labels={"1": "cat", "2": "dog"}) == list(zip(names, ["cat", "dog"], strict=True))


# --- arrays ---------------------------------------------------------------------------------------------------------


def test_arrays_of_images_are_taken_in_the_form_that_the_model_takes(photos):
    grey = np.arange(2 * 4 * 5, dtype=np.uint8).reshape(2, 4, 5)
    np.savez(photos / "grey.npz", val_images=grey, test_images=grey[:1], test_labels=np.zeros(1), x=grey)
    items = find_images(["grey.npz"], manifest())
    assert [item.name for item in items] == [
        "grey.npz:val_images[0]",
        "grey.npz:val_images[1]",
        "grey.npz:test_images[0]",
    ]
    assert np.array_equal(items[1].decode(), np.repeat(grey[1][:, :, None], 3, axis=2))
    assert np.array_equal(find_images(["grey.npz"], manifest(channels=1))[1].decode(), grey[1][:, :, None])
    deep = find_images(["grey.npz"], manifest(channels=1, bits=16))[1].decode()
    assert (deep.dtype, deep.max()) == (np.uint16, 39 * 257)


def test_deep_and_coloured_arrays_are_brought_to_8_bits_and_grey(photos):
    np.savez(photos / "deep.npz", images=np.full((1, 4, 4), 65535, np.uint16))
    np.savez(photos / "colour.npz", images=np.full((1, 4, 4, 3), (255, 0, 0), np.uint8))
    assert find_images(["deep.npz"], manifest(channels=1))[0].decode().max() == 255
    assert find_images(["colour.npz"], manifest(channels=1))[0].decode().max() == 76


def test_arrays_of_volumes_are_taken_by_models_of_volumes(photos):
    np.savez(photos / "volumes.npz", images=np.ones((2, 4, 5, 6), np.uint8))
    (first, _) = find_images(["volumes.npz"], manifest(depth=4, channels=1))
    assert first.decode().shape == (4, 5, 6, 1)


def test_arrays_are_refused_where_volumes_are_resampled_to_a_spacing(photos):
    np.savez(photos / "volumes.npz", images=np.ones((2, 4, 5, 6), np.uint8))
    model = manifest(depth=4, channels=1)
    model = model.model_copy(update={"input": model.input.model_copy(update={"spacing": (2.0, 1.0, 1.0)})})
    with pytest.raises(PackageError, match=r"volumes.npz: arrays have no voxel spacing, which this model needs"):
        find_images(["volumes.npz"], model)


# --- decoding -------------------------------------------------------------------------------------------------------


def test_images_are_decoded_to_the_channels_and_bits_of_training(photos):
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(photos / "deep.png")
    (item,) = find_images(["deep.png"], manifest(channels=1, bits=16))
    assert (item.decode().dtype, item.decode().max()) == (np.uint16, 40_000)
    (item,) = find_images(["photos/dog/2.png"], manifest(channels=1))
    assert item.decode().shape == (4, 6, 1)


def test_volumes_are_decoded_as_in_training(photos):
    nibabel.save(nibabel.Nifti1Image(np.random.default_rng(0).random((6, 5, 4)).astype(np.float32), np.eye(4)), "a.nii")
    (item,) = find_images(["a.nii"], manifest(depth=4, channels=1))
    assert item.decode().shape == (4, 5, 6, 1)


def test_a_file_that_is_no_image_is_named_when_it_is_read(photos):
    (item,) = find_images(["photos/note.txt"], manifest())
    with pytest.raises(BadImageError, match=r"photos/note\.txt: is not an image"):
        item.decode()


# --- the same labels as in training -----------------------------------------------------------------------------------

NAMES = ["None", "n/a", "1.0", "01", "101", "caf\u00e9", "cafe\u0301 noir", "-x", "a b", "NO", "train"]
"""Names of classes that one reader of labels could take otherwise than another."""


@pytest.fixture
def named(tmp_path, monkeypatch):
    """Images in class folders of these names, and a table of them."""
    monkeypatch.chdir(tmp_path)
    rows = []
    for name in NAMES:
        for i in range(2):
            folder = name.replace("/", "_")
            file = tmp_path / "photos" / folder / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (4, 4), i).save(file)
            rows.append((str(file.relative_to(tmp_path)), name))
    pd.DataFrame(rows, columns=["file", "what"]).to_csv("t.csv", index=False)
    pd.DataFrame(rows, columns=["file", "what"]).to_parquet("t.parquet")
    return tmp_path


def truths(source, *given):
    """Truth of each image, as prediction reads it, for a model of this source's classes."""
    trained = manifest().model_copy(
        update={"classes": source.classes, "columns": RecipeColumns(path="file", label="what")}
    )
    return [item.truth for item in find_images(given, trained)]


@pytest.mark.parametrize("given", ["t.csv", "t.parquet"])
def test_tables_say_in_prediction_what_they_say_in_training(named, given):
    config = DataConfig(source="table", path=given, columns=RecipeColumns(path="file", label="what"))
    source = open_source(config)
    assert truths(source, given) == [source.classes[label] for label in source.labels.tolist()]
    assert len(set(source.classes)) == len(NAMES)


@pytest.mark.parametrize("given", ["photos", "photos/", "./photos", "photos//", "photos/.", "../{here}/photos"])
def test_folders_say_in_prediction_what_they_say_in_training(named, given):
    source = open_source(DataConfig(source="folder", path="photos"))
    found = truths(source, given.format(here=named.name))
    assert found == [source.classes[label] for label in source.labels.tolist()]


def test_the_working_directory_says_what_its_folder_says(named, monkeypatch):
    source = open_source(DataConfig(source="folder", path="photos"))
    monkeypatch.chdir(named / "photos")
    assert truths(source, ".") == [source.classes[label] for label in source.labels.tolist()]


def test_folders_of_a_split_give_their_classes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            file = tmp_path / "photos" / part / name / "1.png"
            file.parent.mkdir(parents=True)
            Image.new("L", (4, 4)).save(file)
    assert [truth for _, truth in found("photos")] == ["cat", "dog", "cat", "dog"]


def test_a_column_that_is_asked_for_must_be_there(named):
    with pytest.raises(PackageError, match=r"no column 'wat' \(--label-column\); did you mean 'what'\?"):
        found("t.csv", columns=Columns(path="file", label="wat"))


def test_labels_may_be_those_of_training_or_the_classes_themselves(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in "abcd":
        Image.new("L", (4, 4)).save(tmp_path / name, format="PNG")
    pd.DataFrame({"path": ["a", "b", "c", "d"], "label": ["1", "cat", "5", "9"]}).to_csv("t.csv", index=False)
    assert [truth for _, truth in found("t.csv", labels={"1": "cat", "2": "dog", "5": None})] == [
        "cat",
        "cat",
        None,
        None,
    ]


def test_a_table_whose_images_are_all_elsewhere_is_told_with_where_they_are(named):
    (named / "tables").mkdir()
    (named / "t.csv").rename(named / "tables" / "t.csv")
    message = rf"tables/t\.csv: 22 of 22 image files are not in .*/tables: .*; they are in {named}: name this folder in --images"
    with pytest.raises(PackageError, match=message):
        found("tables/t.csv", columns=Columns(path="file"))
    assert len(found("tables/t.csv", columns=Columns(path="file", images="."))) == 22


def test_true_numbers_are_adjusted_for_their_time_as_in_training(tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    rows = "a.png,5,2000\na.png,5,2010-01-01\na.png,5,\na.png,x,2000\n"
    (tmp_path / "list.csv").write_text(f"path,label,year\n{rows}")
    (tmp_path / "without.csv").write_text("path,label\na.png,5\n")
    levels = Levels(by="ratio", times=(2000, 2010), levels=(1, 4))
    given = manifest(task="regression").model_copy(
        update={"time": levels, "columns": RecipeColumns(time="year", group="who")}
    )
    items = find_images([str(tmp_path / "list.csv")], given)
    assert [(item.truth, item.label) for item in items] == [(20, "5"), (5, "5"), (None, None), (None, "x")]
    assert [(item.truth, item.label) for item in find_images([str(tmp_path / "without.csv")], given)] == [(None, None)]
