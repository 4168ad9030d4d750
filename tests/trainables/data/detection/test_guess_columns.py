"""Roles of a table's columns, by their names and by what is in them."""

import pandas as pd
import pytest

from trainables.data.detection.column_words import words_of
from trainables.data.detection.kinds.tables import ImageFolders, draft_of
from trainables.data.detection.wishes import Wishes
from trainables.data.sources.source import UnknownDataError


@pytest.fixture
def folder(tmp_path):
    """Twelve files a0 … a11 here, in scans/ and, as masks, in masks/."""
    for i in range(12):
        for place in ("a{}.png", "scans/s{}.png", "masks/a{}_mask.png"):
            file = tmp_path / place.format(i)
            file.parent.mkdir(exist_ok=True)
            file.touch()
    return tmp_path


FILES = [f"a{i}.png" for i in range(12)]
LABELS = ["cat", "dog", "cat"] * 4
PATIENTS = [f"p{i // 2}" for i in range(12)]
SPLIT = ["train"] * 8 + ["val"] * 2 + ["test"] * 2


def guess(folder, wishes=None, **columns):
    texts = {name: [None if v is None else str(v) for v in values] for name, values in columns.items()}
    table = pd.DataFrame(texts, dtype=object)
    return draft_of(table, folder / "t.csv", wishes or Wishes(), ImageFolders(folder))


@pytest.mark.parametrize(
    ("columns", "roles"),
    [
        ({"path": FILES, "label": LABELS}, {"path": "path", "label": "label"}),
        ({"label": LABELS, "path": FILES}, {"path": "path", "label": "label"}),
        ({"what": LABELS, "where": FILES}, {"path": "where", "label": "what"}),
        ({"File Name": FILES, "Class": LABELS, "n": range(12)}, {"path": "File Name", "label": "Class"}),
        (
            {"file": FILES, "dx": LABELS, "Patient_ID": PATIENTS, "Split": SPLIT},
            {"path": "file", "label": "dx", "group": "Patient_ID", "split": "Split"},
        ),
        ({"f": FILES, "y": LABELS, "set": SPLIT}, {"path": "f", "label": "y", "split": "set"}),
        ({"f": FILES, "y": LABELS, "use": ["Training", "Validation"] * 6}, {"path": "f", "label": "y", "split": "use"}),
        ({"f": FILES, "y": LABELS, "split": ["train", "test"] * 6}, {"path": "f", "label": "y", "split": "split"}),
        ({"f": FILES, "y": LABELS, "subject": PATIENTS}, {"path": "f", "label": "y", "group": "subject"}),
        ({"f": FILES, "y": LABELS, "video": PATIENTS, "patient": PATIENTS}, {"path": "f", "label": "y", "group": "patient"}),
        ({"f": FILES, "y": LABELS, "patient": range(12)}, {"path": "f", "label": "y"}),  # each image is its own
        ({"f": FILES, "sex": ["f", "m"] * 6, "birads": ["1", "2", "3"] * 4}, {"path": "f", "label": "birads"}),
        ({"f": FILES, "age": [30 + i for i in range(12)], "label": LABELS}, {"path": "f", "label": "label"}),
        ({"f": FILES, "published": [2019, 2020] * 6, "views": range(90, 102)}, {"path": "f", "label": "views"}),
        ({"f": FILES, "class_id": [0, 1, 0] * 4, "class_name": LABELS}, {"path": "f", "label": "class_name"}),
    ],
    ids=lambda value: ",".join(value),
)  # fmt: skip
def test_columns_are_recognised(folder, columns, roles):
    found = guess(folder, **columns)
    assert found.columns == roles
    assert found.data == {"source": "table", "path": str(folder / "t.csv"), "columns": roles}


GROUPS = [
    "mrn", "patient_name", "PatientID", "lesion_id", "StudyInstanceUID", "SeriesInstanceUID", "subject", "subject_id",
    "case_id", "eye", "specimen", "slide_id", "wsi", "animal_id", "participant", "person_id", "individual", "donor",
    "identity", "video_id", "clip", "scene", "camera-location", "session", "plate", "well", "batch",
]  # fmt: skip


@pytest.mark.parametrize("name", GROUPS)
def test_a_group_is_recognised_by_the_words_of_its_name(folder, name):
    assert guess(folder, f=FILES, y=LABELS, **{name: PATIENTS}).columns["group"] == name
    coarse = guess(folder, f=FILES, y=LABELS, **{name: ["g1", "g2", "g2"] * 4})  # no more of them than labels
    assert "group" not in coarse.columns


@pytest.mark.parametrize(
    ("columns", "which"),
    [
        ({"batch": ["g1", "g2", "g2", "g1"] * 3}, "'batch'"),
        ({"patient": PATIENTS, "video": [f"v{i % 5}" for i in range(12)]}, "'video'"),
        ({"code": PATIENTS}, "'code'"),
    ],
)
def test_a_column_that_may_be_a_group_is_a_doubt_with_the_command_to_use_it(folder, columns, which):
    (doubt,) = guess(folder, f=FILES, y=LABELS, **columns).doubts
    assert doubt.startswith(f"images with the same {which} may be on both sides of the split")
    assert doubt.endswith(f"thaw init {folder}/t.csv --group {which[1:-1]} --force")


@pytest.mark.parametrize("name", ["age", "Patient Age", "patient_sex", "study_date", "SeriesDescription", "width"])
def test_facts_about_a_patient_are_no_groups(folder, name):
    found = guess(folder, f=FILES, y=LABELS, **{name: [30 + i // 2 for i in range(12)]})
    assert ("group" in found.columns, found.doubts) == (False, [])


def test_lesions_of_a_patient_are_no_doubt(folder):
    found = guess(folder, f=FILES, y=LABELS, patient=[f"p{i // 4}" for i in range(12)], lesion=PATIENTS)
    assert (found.columns["group"], found.doubts) == ("patient", [])


@pytest.mark.parametrize(
    ("numbers", "task", "doubt"),
    [
        ([i % 3 for i in range(12)], "classification", None),
        ([0.5 + i for i in range(12)], "regression", "'y' holds 12 different numbers, to be predicted as such"),
        ([i % 3 + 0.5 for i in range(12)], "classification", "each of the 3 different numbers of 'y' is a class"),
    ],
)
def test_many_numbers_are_predicted_and_few_are_classes(folder, numbers, task, doubt):
    found = guess(folder, f=FILES, y=numbers)
    assert found.task == task
    assert [text.startswith(doubt) for text in found.doubts] == ([True] if doubt else [])


def test_findings_in_columns_of_their_own_are_a_doubt(folder):
    found = guess(folder, f=FILES, mass=[0, 1] * 6, edema=[0, 0, 1] * 4)
    assert found.doubts == [
        f"the label is 'mass'; it might also be 'edema': thaw init {folder}/t.csv --label edema --force"
    ]


def test_patients_in_the_paths_of_a_table_are_groups_and_may_be_named(folder):
    for i in range(12):
        (folder / f"subject{i // 2}").mkdir(exist_ok=True)
        (folder / f"subject{i // 2}" / f"S{i // 3}_{i}.png").touch()
    files = [f"subject{i // 2}/S{i // 3}_{i}.png" for i in range(12)]
    assert guess(folder, f=files, y=LABELS).rows["group"].nunique() == 6
    assert guess(folder, Wishes(group="name"), f=files, y=LABELS).rows["group"].nunique() == 4
    with pytest.raises(
        UnknownDataError, match=r"--group x: there is no such column \(columns: 'f', 'y', 'subject', 'name'\)"
    ):
        guess(folder, Wishes(group="x"), f=files, y=LABELS)


def test_one_column_for_each_class_is_one_label(folder):
    found = guess(folder, f=FILES, **{name: [int(i % 3 == j) for i in range(12)] for j, name in enumerate("ABC")})
    assert found.rows["label"].tolist() == list("ABC") * 4
    assert found.data is None  # the source reads one column


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("paths", [[f"scans/s{i}.png" for i in range(12)], "absolute"], ids=["relative", "absolute"])
def test_paths_with_folders_are_read_as_they_are(folder, paths):
    paths = [str(folder / name) for name in FILES] if paths == "absolute" else paths
    found = guess(folder, x=paths, y=LABELS)
    assert found.data == {"source": "table", "path": str(folder / "t.csv"), "columns": {"path": "x", "label": "y"}}


@pytest.mark.parametrize("below", [False, True])
def test_names_are_found_in_a_folder_below_the_table_or_beside_its_own(folder, below):
    place = folder if below else folder / "tables"
    place.mkdir(exist_ok=True)
    table = pd.DataFrame({"name": [f"s{i}.png" for i in range(12)], "y": LABELS}, dtype=object)
    found = draft_of(table, place / "t.csv", Wishes(), ImageFolders(place))
    assert found.data["images"] == str(folder / "scans")


@pytest.mark.parametrize(
    "write",
    [
        lambda i: f"s{i}",
        lambda i: f"S{i}.PNG",
        lambda i: f"scans\\s{i}.png",
        lambda i: f"C:\\Users\\me\\scans\\s{i}.png",
        lambda i: f"/home/me/elsewhere/scans/s{i}.png",
        lambda i: f"s{i}.dcm",
    ],
)
def test_files_are_found_however_their_names_are_written(folder, write):
    found = guess(folder, image=[write(i) for i in range(12)], y=LABELS)
    assert found.data is None  # no source reads such paths
    assert found.rows["path"].tolist() == [str(folder / "scans" / f"s{i}.png") for i in range(12)]
    assert found.doubts[-1].startswith("the texts of 'image' are not paths as they stand")


def test_of_files_with_one_name_those_are_meant_that_are_with_the_others(folder):
    for i in (3, 7):
        (folder / "masks" / f"s{i}.png").touch()
    found = guess(folder, image=[f"s{i}" for i in range(12)], y=LABELS)
    assert {file.rpartition("/")[0] for file in found.rows["path"]} == {str(folder / "scans")}


def test_of_files_with_one_name_those_in_the_folders_that_the_row_names_are_meant(folder):
    for i in range(12):
        for part in ("train", "test"):
            file = folder / "split" / part / LABELS[i] / f"{i:04}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    texts = [f"{label}/{i:04}" for i, label in enumerate(LABELS)]
    parts = ["Training", "Testing"] * 6
    found = guess(folder, id=texts, label=LABELS, set=parts)
    folders = {"Training": "train", "Testing": "test"}
    assert found.rows["path"].tolist() == [
        f"{folder}/split/{folders[part]}/{text}.jpg" for part, text in zip(parts, texts, strict=True)
    ]


def test_a_name_that_several_files_have_is_a_doubt(folder):
    for i in range(12):
        for part in ("left", "right"):
            (folder / part).mkdir(exist_ok=True)
            (folder / part / f"x{i}.jpg").touch()
    found = guess(folder, id=[f"x{i}" for i in range(12)], y=LABELS)
    expected = f"12 of 12 names are those of several files ({folder}/left, {folder}/right); name the right folder with --images"
    assert expected in found.doubts


def test_files_that_are_missing_are_known(folder):
    found = guess(folder, file=[*FILES[:8], "gone1.png", "gone2.png", "gone3.png", None], y=LABELS)
    assert found.columns["path"] == "file"
    assert found.rows["path"].isna().tolist() == [False] * 8 + [True] * 4


def test_a_table_without_header_has_a_row_more(folder):
    found = guess(folder, **{FILES[0]: FILES[1:], "cat": LABELS[1:]})
    assert found.rows["path"].tolist() == [str(folder / name) for name in FILES]
    assert found.rows["label"].tolist() == LABELS


def test_what_is_doubtful_is_said_with_the_command_that_changes_it(folder):
    masks = [f"masks/a{i}_mask.png" for i in range(12)]
    found = guess(folder, mask=masks, image=FILES, birads=["1", "2", "3"] * 4, shape=["r", "s"] * 6, sex=["f", "m"] * 6)
    assert found.columns == {"path": "image", "label": "shape"}
    assert found.doubts == [
        f"image files are also in 'mask': thaw init {folder}/t.csv --path mask --force",
        f"the label is 'shape'; it might also be 'birads': thaw init {folder}/t.csv --label birads --force",
    ]


# --- what the user says -----------------------------------------------------------------------------------------------


def test_what_is_typed_is_taken(folder):
    masks = [f"masks/a{i}_mask.png" for i in range(12)]
    columns = {"mask": masks, "image": FILES, "label": LABELS, "other": ["1", "2"] * 6, "when": SPLIT, "who": PATIENTS}
    wishes = Wishes(path="mask", label="other", group="who", split="when")
    assert guess(folder, wishes, **columns).columns == {
        "path": "mask",
        "label": "other",
        "group": "who",
        "split": "when",
    }
    assert guess(folder, Wishes(label="other", task="regression"), **columns).task == "regression"


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"label": "lable"}, r"--label lable: there is no such column; did you mean 'label'\? \(columns: 'image', "),
        ({"group": "Patient"}, r"--group Patient: there is no such column \(columns: 'image', 'label', 'who'\)"),
        ({"path": "who"}, r"no column has image files that are in .*; columns: who \('p0'\). Name the folder with --images"),
        ({"split": "who"}, "--split who: holds 'p0', 'p1', .*; the values of a split are train, val and test"),
        ({"task": "regression", "label": "label"}, "--task regression: the column 'label' holds 'cat', which is"),
    ],
)  # fmt: skip
def test_what_is_typed_and_cannot_be_is_refused(folder, wishes, message):
    with pytest.raises(UnknownDataError, match=message):
        guess(folder, Wishes(**wishes), image=FILES, label=LABELS, who=PATIENTS)


def test_a_folder_that_is_none_is_refused(folder):
    with pytest.raises(UnknownDataError, match="--images nowhere: does not exist"):
        ImageFolders(folder, folder.relative_to(folder) / "nowhere")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": LABELS, "b": PATIENTS}, r"no column has image files that are in .* columns: a \('cat'\), b \('p0'\)"),
        ({"a": ["x" * 5000] * 12, "b": ["\0"] * 12}, "no column has image files"),
        ({"file": FILES}, "no column holds labels: .* found no other column. Name it with --label"),
        ({"file": FILES, "y": ["cat"] * 12}, "no column holds labels"),
        ({"emotion": LABELS, "pixels": ["70 80 82 72"] * 12}, "holds pixels .* write them into an NPZ file"),
    ],
)
def test_a_table_that_says_too_little_is_refused(folder, columns, message):
    with pytest.raises(UnknownDataError, match=message):
        guess(folder, **columns)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Patient_ID", {"patient", "id"}),
        ("patientId", {"patient", "id"}),
        ("patientid", {"patient"}),
        ("PATIENT", {"patient"}),
        ("case no.", {"case"}),
        ("StudyInstanceUID", {"study", "instance", "uid"}),
        ("camera-location", {"camera", "location"}),
        ("id", {"id"}),
    ],
)
def test_names_are_cut_into_words(name, words):
    assert words <= set(words_of(name))


@pytest.mark.parametrize(
    ("name", "values"), [("is_valid", [True, False] * 6), ("fold", range(12)), ("Subset", ["a", "b"] * 6)]
)
def test_a_column_that_may_give_a_split_in_other_words_is_a_doubt(folder, name, values):
    found = guess(folder, path=FILES, label=LABELS, **{name: values})
    assert "split" not in found.columns
    (doubt,) = [doubt for doubt in found.doubts if doubt.startswith(f"{name!r} may give a split, but holds ")]
    assert doubt.endswith("; to use it, write train, val or test there")
