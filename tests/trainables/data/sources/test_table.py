"""Tables of images: CSV, TSV and Parquet say the same; every mistake in one is told at its column."""

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from trainables.core.config_errors import ConfigError
from trainables.data.dataset import Dataset, open_dataset
from trainables.data.sources.open_source import doubt_about_test, open_source
from trainables.data.sources.source import Source
from trainables.recipe.data_config import DataConfig

WRITERS = {
    "csv": lambda frame, file: frame.to_csv(file, index=False),
    "tsv": lambda frame, file: frame.to_csv(file, index=False, sep="\t"),
    "parquet": lambda frame, file: frame.to_parquet(file, index=False),
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("THAW_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def photos(tmp_path) -> pd.DataFrame:
    """Twenty-four images of brightness 10 · i, of densities 1 to 4 in turn, two of one patient in a row of eight."""
    for i in range(24):
        path = tmp_path / f"set{i % 2}" / f"{i:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("L", (12, 12), 10 * i).save(path)
    return pd.DataFrame(
        {
            "path": [f"set{i % 2}/{i:02}.png" for i in range(24)],
            "label": [i % 4 + 1 for i in range(24)],
            "patient": [f"{i // 2 % 12:03}" for i in range(24)],
            "part": ["train"] * 12 + ["val"] * 8 + ["test"] * 4,
        }
    )


@pytest.fixture
def write(tmp_path):
    """Writes a table and gives the config that names it."""

    def write_table(frame: pd.DataFrame | str | bytes, kind: str = "csv", **config: object) -> DataConfig:
        file = tmp_path / f"table.{kind}"
        if isinstance(frame, pd.DataFrame):
            WRITERS[kind](frame, file)
        else:
            file.write_bytes(frame.encode() if isinstance(frame, str) else frame)
        return DataConfig.model_validate({"source": "table", "path": str(file), "image_size": 8, **config})

    return write_table


def brightness(dataset: Dataset) -> list[int]:
    return (dataset.images.mean(axis=(1, 2, 3)) / 10).astype(int).tolist()


def problems(config: DataConfig) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        open_dataset(config)
    return {".".join(map(str, p.path)): p.message for p in caught.value.problems}


# --- what is read ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", WRITERS)
def test_images_and_labels_belong_together_in_every_format(photos, write, kind):
    dataset = open_dataset(write(photos.sample(frac=1, random_state=0), kind))
    assert dataset.classes == ("1", "2", "3", "4")
    assert sorted(brightness(dataset)) == list(range(24))
    assert [i % 4 for i in brightness(dataset)] == dataset.labels.tolist()
    assert np.bincount(dataset.labels[dataset.validation]).tolist() == [1, 1, 1, 1]


def test_every_format_gives_the_same_data(photos, write):
    prints = {kind: open_dataset(write(photos, kind)) for kind in WRITERS}
    assert len({dataset.fingerprint for dataset in prints.values()}) == 1
    assert len({tuple(dataset.validation) for dataset in prints.values()}) == 1


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([10, 9, 2, 10], ("2", "9", "10")),
        ([1.0, 2.0, 0.5, 1.0], ("0.5", "1", "2")),
        (["10", "9", "b", "B"], ("10", "9", "B", "b")),
        (["1.0", " 1", "2 ", "2.00"], ("1", "2")),
        (["007", "7", "7", "7"], ("007", "7")),
        (["None", "mild", "none", "mild"], ("None", "mild", "none")),
        ([True, False, True, False], ("false", "true")),
    ],
)
def test_labels_are_names_or_numbers(photos, write, labels, classes):
    source = open_source(write(photos[:4].assign(label=labels), "parquet"))
    assert source.classes == classes


def test_other_columns_and_an_images_folder_are_named(photos, write, tmp_path):
    frame = photos.rename(columns={"path": "file", "label": "density"}).assign(path=0, label=None)
    frame["file"] = frame["file"].str.removeprefix("set0/").str.replace("set1/", "../set1/")
    columns = {"path": "file", "label": "density"}
    dataset = open_dataset(write(frame, columns=columns, images=str(tmp_path / "set0")))
    assert brightness(dataset) == list(range(24))


def test_a_linked_table_stands_where_the_link_does(photos, write, tmp_path):
    file = Path(write(photos).path)
    (tmp_path / "store").mkdir()
    file.rename(tmp_path / "store/9f2c.csv")
    file.symlink_to(tmp_path / "store/9f2c.csv")
    assert len(open_source(DataConfig(source="table", path=str(file))).labels) == 24


def test_absolute_paths_byte_order_marks_and_quotes_are_read(photos, write, tmp_path):
    Image.new("L", (9, 9), 50).save(tmp_path / "one, two.png")
    rows = f'\ufeffpath,label\r\n"one, two.png",a\r\n{tmp_path}/set0/02.png,"b\nc"\r\n'
    source = open_source(write(rows))
    assert source.classes == ("a", "b\nc")
    assert [int(source.open().decode(i).mean()) for i in range(2)] == [50, 20]


def test_a_row_that_stands_twice_is_one_image(photos, write):
    again = photos[:3].assign(path="./" + photos["path"][:3])
    assert len(open_source(write(pd.concat([photos, again, photos[5:9]]))).labels) == 24


def test_a_table_is_grey_only_if_all_its_images_are(photos, write, tmp_path):
    assert open_source(write(photos)).open().channels == 1
    Image.new("RGB", (9, 9), (1, 2, 3)).save(tmp_path / "set0/00.png")
    assert open_source(write(photos)).open().channels == 3


# --- groups, folds and given splits ---------------------------------------------------------------------------------


def test_no_patient_is_on_both_sides(photos, write):
    for seed in range(20):
        dataset = open_dataset(write(photos, columns={"group": "patient"}, seed=seed))
        patients = photos["patient"].to_numpy()
        assert not set(patients[dataset.train]) & set(patients[dataset.validation])
        assert set(dataset.labels[dataset.train]) == set(dataset.labels[dataset.validation]) == {0, 1, 2, 3}


@pytest.mark.parametrize("columns", [{}, {"group": "patient"}])
def test_each_image_judges_in_one_fold(photos, write, columns):
    judged = [open_dataset(write(photos, columns=columns, folds=3, fold=i)).validation for i in range(3)]
    assert sorted(np.concatenate(judged)) == list(range(24))
    assert all(np.bincount(np.arange(24)[fold] % 4).min() >= 1 for fold in judged)


def test_a_given_split_is_used_and_test_rows_are_never_read(photos, write, tmp_path):
    for i in range(20, 24):
        (tmp_path / photos["path"][i]).unlink()
    photos["label"] = [*photos["label"][:20].astype(str), *[None] * 4]
    dataset = open_dataset(write(photos.assign(part=photos["part"].str.title()), columns={"split": "part"}))
    assert dataset.train.tolist() == list(range(12))
    assert dataset.validation.tolist() == list(range(12, 20))
    assert brightness(dataset) == list(range(20))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"columns": {"group": "hospital"}}, r"data\.validation: .*'1' has 1 group, .* need at least 2"),
        ({"columns": {"group": "patient"}, "folds": 9}, r"data\.folds: .*'1' has 6 groups.*; 9 folds need at least 9"),
        ({"folds": 7}, r"data\.folds: 7: .* no image of '1' \(6 images\), .*; at most 6 folds are possible"),
        ({"columns": {"split": "half"}}, r"columns\.split: 'train' has no row of '4'\n.*'val' has no row of '1'"),
    ],
)
def test_a_class_that_would_miss_on_a_side_is_an_error(photos, write, cache, config, message):
    photos["hospital"] = "of density " + photos["label"].astype(str)
    photos["half"] = ["val" if label == 4 else "train" for label in photos["label"]]
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        open_dataset(write(photos, **config))
    assert not cache.exists()  # before anything is decoded


# --- labels ---------------------------------------------------------------------------------------------------------


def test_densities_become_two_groups(photos, write):
    dataset = open_dataset(write(photos, labels={1: "AB", 2: "AB", "3": "CD", 4.0: "CD"}))
    assert dataset.classes == ("AB", "CD")
    assert [i % 4 // 2 for i in brightness(dataset)] == dataset.labels.tolist()
    assert dataset.fingerprint != open_dataset(write(photos)).fingerprint


def test_a_label_without_class_drops_its_images_unseen(photos, write, tmp_path):
    (tmp_path / "set0/02.png").unlink()
    dataset = open_dataset(write(photos, labels={1: 0, 2: 0, 3: None, 4: 1}, columns={"group": "patient"}))
    assert dataset.classes == ("0", "1")
    assert brightness(dataset) == [i for i in range(24) if i % 4 != 2]


# --- what is noticed ------------------------------------------------------------------------------------------------


def spoil_image(frame, folder):
    os.utime(folder / "set0/00.png", ns=(0, 12345))


def relabel(frame, folder):
    frame.loc[0, "label"] = 2


def drop_row(frame, folder):
    frame.loc[7] = frame.loc[6]  # a row that stands twice is one image


def swap_rows(frame, folder):
    frame.iloc[[0, 1]] = frame.iloc[[1, 0]].to_numpy()


@pytest.mark.parametrize("change", [spoil_image, relabel, drop_row, swap_rows])
def test_changed_data_are_not_served_stale(photos, write, tmp_path, change):
    before = open_dataset(write(photos))
    assert open_dataset(write(photos)) is before
    change(photos, tmp_path)
    after = open_dataset(write(photos))
    assert after is not before
    once = photos.drop_duplicates()
    assert brightness(after) == [int(path[-6:-4]) for path in once["path"]]
    assert [after.classes[label] for label in after.labels] == [str(label) for label in once["label"]]


@pytest.mark.parametrize(("column", "value"), [("patient", "011"), ("part", "val")])
def test_another_split_is_another_data_set_of_the_same_images(photos, write, column, value):
    columns = {"group": "patient"} if column == "patient" else {"split": "part"}
    first = open_dataset(write(photos, columns=columns))
    photos.loc[0, column] = value
    calls = []
    second = open_dataset(write(photos, columns=columns), progress=lambda *counts: calls.append(counts))
    assert second is not first
    assert second.fingerprint == first.fingerprint
    assert not calls  # nothing is decoded again


def test_equal_tables_of_two_folders_are_two_sources(photos, write, tmp_path):
    shutil.copytree(tmp_path / "set0", tmp_path / "other/set0")  # with sizes and times
    here, there = (open_source(write(photos[::2], images=str(tmp_path / folder))) for folder in (".", "other"))
    assert here != there


def test_changed_test_rows_change_nothing(photos, write):
    columns = {"split": "part"}
    first = open_dataset(write(photos, columns=columns))
    assert open_dataset(write(photos[:22], columns=columns)) is first


# --- mistakes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        ("", "csv", "is empty"),
        ("\n\n", "csv", "is empty"),
        ("path,label\n", "csv", "holds no rows"),
        ("path,label\na.png,1,2\n", "csv", "is damaged, or is not a table: .*Expected 2 columns, got 3"),
        ("path,label\na.png\n", "csv", "Expected 2 columns, got 1"),
        (b"path,label\n\xe4.png,1\n", "csv", "UTF8|UTF-8"),
        (b"p\xe4th,label\n", "csv", r"is not written in UTF-8 \(byte 1\); save it as UTF-8"),
        (b"PAR1 or not", "parquet", "is damaged, or is not a table"),
        (b"", "parquet", "is empty"),
        (b"PK\x03\x04", "xlsx", "is an Excel workbook or a ZIP archive; save the sheet as CSV"),
        (b"a\0b", "csv", "is no text: it holds zero bytes"),
        (pd.DataFrame({"path": [], "label": []}), "parquet", "holds no rows"),
    ],
)
def test_what_is_no_table_is_an_error_at_its_path(write, tmp_path, content, kind, message):
    with pytest.raises(ConfigError, match=rf"^data\.path: {tmp_path}/table\.{kind}: .*({message})"):
        open_source(write(content, kind))


def test_a_missing_table_and_a_folder_are_errors_at_the_path(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    for name, message in (
        ("gone.csv", "does not exist"),
        ("folder.csv", "is a folder; a CSV, TSV or Parquet file is needed"),
    ):
        with pytest.raises(ConfigError, match=rf"^data\.path: .*{name}: {message}"):
            open_source(DataConfig(source="table", path=str(tmp_path / name)))


def cells(column, value, *rows):
    def change(frame):
        frame[column] = frame[column].astype(object)
        frame.loc[list(rows), column] = value
        return frame

    return change


@pytest.mark.parametrize(
    ("columns", "change", "place", "message"),
    [
        (
            {"label": "lable"},
            None,
            "label",
            "the table has no column 'lable'; did you mean 'label'? (columns: 'path', ",
        ),
        ({"group": "zzz"}, None, "group", "no column 'zzz' (columns: 'path', 'label', 'patient', 'part')"),
        ({}, cells("label", None, 2), "label", "1 row has no value (row numbers count from 1 below the header): 3"),
        (
            {},
            cells("label", " ", 0, 9),
            "label",
            "2 rows have no value (row numbers count from 1 below the header): 1, 10",
        ),
        (
            {},
            cells("label", "nan", *range(12)),
            "label",
            "12 rows have no value (row numbers count from 1 below the header): 1, ",
        ),
        ({}, cells("label", "NA", *range(12)), "label", ": 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, … and 2 more"),
        (
            {"split": "part"},
            cells("label", None, 2, 22),
            "label",
            "1 row has no value (row numbers count from 1 below the header): 3",
        ),
        ({}, cells("path", None, 4), "path", "1 row has no value (row numbers count from 1 below the header): 5"),
        (
            {"group": "patient"},
            cells("patient", "", 5),
            "group",
            "1 row has no value (row numbers count from 1 below the header): 6",
        ),
        (
            {"split": "part"},
            cells("part", None, 5),
            "split",
            "1 row has no value (row numbers count from 1 below the header): 6",
        ),
        (
            {"split": "part"},
            cells("part", "holdout", 5),
            "split",
            "holds 'holdout'; its values must be train, val or test",
        ),
        ({}, cells("label", 3, *range(24)), "label", "holds only one label (3); at least 2 are needed"),
        ({"split": "part"}, cells("part", "test", *range(24)), "label", "holds no row to train with"),
        ({}, cells("path", "gone.png", 3), "path", "1 of 24 image files are not in "),
        ({}, cells("path", "set0/00.png", 3), "label", "1 image has rows that differ: 'set0/00.png' ('1', '4')"),
        ({}, cells("path", "set0//../set0/00.png", 3), "label", "'set0/00.png' ('1', '4')"),
        (
            {"group": "patient"},
            cells("path", "set0/00.png", 4),
            "group",
            "rows that differ: 'set0/00.png' ('000', '002')",
        ),
        ({"split": "part"}, cells("path", "set0/00.png", 20), "split", "differ: 'set0/00.png' ('train', 'test')"),
        ({"split": "part", "group": "patient"}, cells("patient", "000", 14), "group", "'000' ('train', 'val')"),
        ({"split": "part", "group": "patient"}, cells("patient", "000", 22), "group", "'000' ('train', 'test')"),
    ],
)
def test_a_mistake_is_told_at_its_column(photos, write, columns, change, place, message):
    frame = photos if change is None else change(photos)
    found = problems(write(frame, columns=columns))
    assert list(found) == [f"data.columns.{place}"]
    assert message in found[f"data.columns.{place}"]


def test_columns_that_miss_or_stand_twice_are_told_together(write):
    found = problems(write("path,path,lab\na,b,c\n", columns={"group": "patient"}))
    assert found["data.columns.path"] == "the table has 2 columns 'path'"
    assert found["data.columns.label"].startswith("the table has no column 'label'; did you mean 'lab'?")
    assert found["data.columns.group"] == "the table has no column 'patient' (columns: 'path', 'path', 'lab')"


def test_missing_images_are_listed_together(photos, write, tmp_path):
    for i in range(12):
        (tmp_path / photos["path"][i]).unlink()
    (message,) = problems(write(photos)).values()
    assert message.startswith(f"12 of 24 image files are not in {tmp_path}: 'set0/00.png', 'set1/01.png', ")
    assert "… and 2 more" in message


def test_an_images_folder_that_is_not_there_is_an_error_of_its_own(photos, write, tmp_path):
    found = problems(write(photos, images=str(tmp_path / "gone")))
    assert found == {"data.images": f"{tmp_path}/gone: does not exist"}
    (tmp_path / "file").touch()
    assert problems(write(photos, images=str(tmp_path / "file"))) == {
        "data.images": f"{tmp_path}/file: is not a folder"
    }


def test_a_column_of_lists_is_an_error(photos, write):
    found = problems(write(photos.assign(label=[[1]] * 24), "parquet"))
    assert "which is neither text nor numbers" in found["data.columns.label"]


def test_damaged_images_are_left_to_the_decoder(photos, write, tmp_path):
    (tmp_path / "set0/02.png").write_text("not an image")
    assert isinstance(open_source(write(photos)), Source)
    assert "set0/02.png: is not an image, or its header" in problems(write(photos))["data.path"]


# --- one image, one group, whatever they are called -----------------------------------------------------------------


def test_paths_to_one_place_are_one_image(photos, write, tmp_path):
    other = photos.assign(path=[f"{tmp_path}/./set0/../{path}" for path in photos["path"]])
    source = open_source(write(pd.concat([photos, other])))
    assert len(source.labels) == 24
    assert source.notes == ("left out: 24 rows naming an image again",)


@pytest.mark.parametrize("spelling", ["{0}.0", "P{0}", "0{0}", " {0} "])
def test_groups_that_read_alike_are_one(photos, write, spelling):
    names = [name.lstrip("0") or "0" for name in photos["patient"]]
    alike = {"P{0}": [f"p{name}" for name in names]}.get(spelling, names)
    mixed = [
        spelling.format(name) if i % 2 else other for i, (name, other) in enumerate(zip(names, alike, strict=True))
    ]
    config = write(photos.assign(patient=mixed), columns={"group": "patient"})
    groups = open_source(config).groups
    assert groups is not None
    assert len(set(groups.tolist())) == 12


@pytest.mark.parametrize(
    ("role", "column", "other"), [("label", "label", 9), ("group", "patient", "x"), ("split", "part", "val")]
)
def test_images_that_contradict_themselves_are_left_out_if_that_is_asked_for(photos, write, role, column, other):
    again = photos.head(2).assign(**{column: [other] * 2})
    columns = {role: column} if role != "label" else {}
    table, used = pd.concat([photos, again]), 20 if role == "split" else 24
    found = problems(write(table, columns=columns))
    assert found[f"data.columns.{role}"].startswith("2 images have rows that differ: 'set0/00.png' (")
    assert found[f"data.columns.{role}"].endswith("or leave these images out with data.on_conflict: drop")
    source = open_source(write(table, columns=columns, on_conflict="drop"))
    assert len(source.labels) == used - 2
    assert source.notes[0].startswith("left out (data.on_conflict): 2 images with rows that differ: 'set0/00.png' (")


def test_a_file_that_two_paths_link_to_is_one_image(photos, write, tmp_path):
    (tmp_path / "link.png").symlink_to(tmp_path / "set0" / "00.png")
    same, other = (pd.concat([photos, photos.head(1).assign(path="link.png", label=n)]) for n in (1, 2))
    assert len(open_source(write(same)).labels) == 24
    assert "with more than one class" in problems(write(other))["data.path"]


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [("Training", "Validation", "TEST"), ("train", "dev", "test"), ("trn", "valid", "testing")],
)
def test_parts_of_a_split_are_known_as_people_write_them(photos, write, train, val, test):
    names = {"train": train, "val": val, "test": test}
    data = open_dataset(write(photos.assign(part=photos["part"].map(names)), columns={"split": "part"}))
    assert (len(data.train), len(data.validation)) == (12, 8)


def test_a_split_without_validation_rows_leaves_a_share_of_training(photos, write):
    parts = ["train"] * 20 + ["test"] * 4
    data = open_dataset(write(photos.assign(part=parts), columns={"split": "part"}, validation=0.4))
    assert (len(data.train), len(data.validation)) == (12, 8)


@pytest.mark.parametrize("typed", [{"validation": 0.2}, {"folds": 5}])
def test_a_typed_share_beside_validation_rows_is_refused(photos, write, typed):
    ((name, value),) = typed.items()
    found = problems(write(photos, columns={"split": "part"}, **typed))
    assert found == {
        f"data.{name}": f"{value:g}: the column 'part' (data.columns.split) already gives the split; keep one of the two"
    }


# --- where missing files are ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "mend"),
    [
        (lambda path: path.replace("/", "\\"), "paths are written with / here, not with a backslash"),
        (lambda path: path.removesuffix(".png"), "the paths lack the ending of the files' names: '00.png'"),
        (lambda path: path.upper(), "on disk the letters' case differs: '00.png'"),
        (lambda path: f"/home/me/{path}", "files of these names are elsewhere: "),
        (lambda path: f"{path} ", "on disk there are no blanks around the name: '00.png'"),
        (
            lambda path: path.replace(".", "%2E"),
            "on disk the name has the characters themselves instead of %-codes: '00.png'",
        ),
    ],
)
def test_missing_images_are_told_with_where_they_are(photos, write, path, mend):
    (message,) = problems(write(photos.assign(path=[path(p) for p in photos["path"]]))).values()
    assert message.startswith("24 of 24 image files are not in ")
    assert mend in message


def test_accents_in_another_coding_are_told(photos, write, tmp_path):
    for i, path in enumerate(photos["path"]):
        (tmp_path / path).rename(tmp_path / f"cafe\u0301{i}.png")
    (message,) = problems(write(photos.assign(path=[f"caf\u00e9{i}.png" for i in range(24)]))).values()
    assert "on disk letters with accents are coded in another way (Unicode NFC or NFD)" in message


def test_images_in_a_folder_below_are_told_with_that_folder(photos, write, tmp_path):
    (tmp_path / "all").mkdir()
    for name in ("set0", "set1"):
        (tmp_path / name).rename(tmp_path / "all" / name)
    (message,) = problems(write(photos)).values()
    assert message.endswith(f"; they are in {tmp_path}/all: name this folder in data.images")


# --- test images ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "why"),
    [
        ("", "4 rows have no value (row numbers count from 1 below the header): 21, 22, 23, 24"),
        (9, "they or the others have no image of 2, 3, 4, 9"),
    ],
)
def test_test_images_that_confirm_could_not_use_are_told_before_the_search(photos, write, label, why):
    labels = [*photos["label"][:20], *[label] * 3, 1]
    table = photos.assign(label=labels if label else [*labels[:20], *[""] * 4])
    config = write(table, columns={"split": "part"})
    assert doubt_about_test(config, ("1", "2", "3", "4")) == f"thaw confirm cannot use the test images: {why}"


def test_test_images_of_the_same_classes_are_no_doubt(photos, write):
    assert doubt_about_test(write(photos, columns={"split": "part"}), ("1", "2", "3", "4")) is None
    assert doubt_about_test(write(photos), ("1", "2", "3", "4")) is None
