"""What a table's columns mean, by their names and by what is in them."""

from pathlib import Path

import pandas as pd
import pytest

from trainables.data.sources.guess_columns import GuessError, guess_columns, plain


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


def guess(folder, **columns):
    return guess_columns(pd.DataFrame(columns).astype("string"), folder)


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
        ({"f": FILES, "y": LABELS, "use": SPLIT}, {"path": "f", "label": "y", "split": "use"}),
        ({"f": FILES, "y": LABELS, "subject": PATIENTS}, {"path": "f", "label": "y", "group": "subject"}),
        ({"f": FILES, "y": LABELS, "video": PATIENTS, "patient": PATIENTS}, {"path": "f", "label": "y", "group": "patient"}),
        ({"f": FILES, "y": LABELS, "patient": range(12)}, {"path": "f", "label": "y"}),  # each image is its own
        ({"f": FILES, "sex": ["f", "m"] * 6, "birads": ["1", "2", "3"] * 4}, {"path": "f", "label": "birads"}),
        ({"f": FILES, "age": [str(30 + i) for i in range(12)], "label": LABELS}, {"path": "f", "label": "label"}),
    ],
    ids=lambda value: ",".join(value),
)  # fmt: skip
def test_columns_are_recognised(folder, columns, roles):
    found = guess(folder, **columns)
    assert found.columns.named() == roles
    assert found.images is None


def test_images_may_lie_in_a_folder_beside_the_table(folder):
    found = guess(folder, name=[f"s{i}.png" for i in range(12)], y=LABELS)
    assert (found.columns.path, found.images) == ("name", folder / "scans")


@pytest.mark.parametrize("paths", [[f"scans/s{i}.png" for i in range(12)], "absolute"], ids=["relative", "absolute"])
def test_paths_with_folders_are_found(folder, paths):
    paths = [str(folder / name) for name in FILES] if paths == "absolute" else paths
    found = guess(folder, x=paths, y=LABELS)
    assert (found.columns.path, found.images) == ("x", None)


def test_a_few_missing_files_do_not_hide_the_column(folder):
    found = guess(folder, file=[*FILES[:8], "gone1.png", "gone2.png", "gone3.png", None], y=LABELS)
    assert found.columns.path == "file"


def test_what_is_doubtful_is_said(folder):
    masks = [f"masks/a{i}_mask.png" for i in range(12)]
    found = guess(folder, mask=masks, image=FILES, birads=["1", "2", "3"] * 4, shape=["r", "s"] * 6, sex=["f", "m"] * 6)
    assert found.columns.named() == {"path": "image", "label": "shape"}
    assert found.doubts == ("image files are also in 'mask'", "the label might also be 'birads'")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": LABELS, "b": PATIENTS}, r"no column has image files that are in .* columns: a \('cat'\), b \('p0'\)"),
        ({"a": ["x" * 5000] * 12, "b": ["\0"] * 12}, "no column has image files"),
        ({"file": FILES}, "no column holds labels: .* found no other column"),
        ({"file": FILES, "id": range(12)}, "no column holds labels: .* found 'id'"),
        ({"file": FILES, "y": ["cat"] * 12}, "no column holds labels"),
        (
            {"file": FILES, "y": LABELS, "split": ["train", "test"] * 6},
            "the column 'split' has no 'val' rows for validation",
        ),
        (
            {"file": FILES, "y": LABELS, "split": ["training", "testing"] * 6},
            "the column 'split' holds 'testing', 'training'; the values of a split must be train, val or test",
        ),
    ],
)
def test_a_table_that_says_too_little_is_refused(folder, columns, message):
    with pytest.raises(GuessError, match=message):
        guess(folder, **columns)


@pytest.mark.parametrize(
    ("name", "bare"),
    [
        ("Patient_ID", "patient"),
        ("patientId", "patient"),
        ("PATIENT", "patient"),
        ("case no.", "case"),
        ("id", "id"),
        ("video", "video"),
    ],
)
def test_names_are_compared_without_what_people_add(name, bare):
    assert plain(name) == bare


def test_a_large_table_is_not_looked_up_file_by_file(folder, monkeypatch):
    looked_up, is_file = [], Path.is_file
    monkeypatch.setattr(Path, "is_file", lambda self: looked_up.append(self) or is_file(self))
    guess(folder, file=["./" * (i // 12) + f"a{i % 12}.png" for i in range(3000)], y=LABELS * 250)
    assert len(looked_up) < 1000
