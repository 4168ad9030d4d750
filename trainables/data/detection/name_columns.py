"""Columns that file names, folders and DICOM headers make up, by which images may belong together."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.data.detection.draft import Draft
from trainables.data.detection.guess_columns import check_names
from trainables.data.detection.wishes import Wishes
from trainables.data.formats import dicom
from trainables.recipe.data_settings.label_names import label_name

if TYPE_CHECKING:
    import pandas as pd

_WORDS = r"patient|subject|subj|sub|person|participant|donor|animal|mouse|case|lesion|specimen|slide|video|clip|session|study"
_SURE = frozenset({*_WORDS.split("|"), "patient id", "source image"})
"""Columns whose names leave no doubt that they are groups."""
_WORD = re.compile(
    rf"(?<![a-z])({_WORDS})s?[-_ ]?(?:id|no|nr)?[-_ ]?([a-z]?\d+[a-z]?|[A-Z]\d*)(?![a-z0-9])", re.IGNORECASE
)
"""Word of a group, and its number: `patient12`, `sub-01`."""
_COUNTER = re.compile(r"[\W_]*\(?\d+\)?[\W\d_]*$")
_MOSTLY = 0.8
"""Share of the images from which a column is worth having; each of the others is then a group of its own."""
_MOST_HEADERS = 20_000
"""DICOM files up to which all headers are read."""


def label_in(name: str) -> str | None:
    """Beginning of a file name before its number, `great_pyrenees` of `great_pyrenees_12.jpg`; None if there is no number."""
    stem = name.partition(".")[0] if name.count(".") == 1 else name.rpartition(".")[0]
    start = _COUNTER.sub("", stem)
    return start if start and start != stem and not _WORD.search(stem) else None


def add_groups(draft: Draft, wishes: Wishes, columns: Sequence[str] = ()) -> None:
    """Adds the groups that names of files and folders, or DICOM headers, tell, if they leave no doubt; else adds a doubt.

    Args:
        draft: images without groups.
        wishes: may name one of these columns.
        columns: columns of a table, for messages.
    Raises:
        UnknownDataError: if the user names another column.
    """
    assert draft.rows is not None
    known = name_columns(draft.rows[draft.rows["path"].notna()], draft.place)
    if wishes.group:
        check_names(Wishes(group=wishes.group), [*columns, *known])
        draft.group_by(wishes.group, known[wishes.group])
        return
    least, images = (2 if draft.task == "regression" else len(draft.labels)), draft.rows["path"].nunique()
    fit = {name: values for name, values in known.items() if least < values.nunique() < images}
    sure = next((name for name in fit if name in _SURE), None)
    if sure:
        draft.group_by(sure, fit[sure])
        example = fit[sure].dropna().iloc[0]
        draft.doubt(
            f"images with the same {sure} in their name or header, such as {example!r}, stay on one side of the split"
        )
    elif fit:
        name, values = next(iter(fit.items()))
        again = wishes.command(draft.place, group=name)
        example = f"{values.nunique():,} different, such as {values.dropna().iloc[0]!r}"
        draft.doubt(f"images may belong together by their {name} ({example}); if they do: {again}")


def name_columns(rows: pd.DataFrame, folder: Path) -> dict[str, pd.Series]:
    """Columns by which images may belong together: name -> text of each image.

    Args:
        rows: images with `path` and `label`.
        folder: the folder that holds them.
    """
    import pandas as pd

    if rows.empty:
        return {}
    below = [os.path.relpath(file, folder.absolute()) for file in rows["path"]]
    columns: dict[str, list[str | None]] = {}
    if rows["path"].iloc[0].lower().endswith((".dcm", ".dicom")) or _is_dicom(rows["path"].iloc[0]):
        columns["patient id"] = [dicom.patient_of(file) for file in rows["path"]] if len(rows) <= _MOST_HEADERS else []
    found = [{word.casefold(): f"{word}{number}".casefold() for word, number in _WORD.findall(path)} for path in below]
    for word in dict.fromkeys(word for words in found[:100] for word in words):
        columns[word] = [words.get(word) for words in found]
    # Roboflow augments before it exports: `cat_jpg.rf.3c59.jpg` and `cat_jpg.rf.9f2b.jpg` are made of one image.
    columns["source image"] = [
        path.rpartition("/")[2].partition(".rf.")[0] if ".rf." in path else None for path in below
    ]
    columns["folder"] = [_inner_folder(path, label) for path, label in zip(below, rows["label"], strict=True)]
    columns["name"] = [_start_of(os.path.basename(path)) for path in below]  # noqa: PTH119
    found_in = {name: pd.Series(values, rows.index, dtype=object) for name, values in columns.items() if values}
    return {name: values for name, values in found_in.items() if values.notna().mean() >= _MOSTLY}


def _inner_folder(path: str, label: str) -> str | None:
    folders = list(Path(path).parts[:-1])
    at = next((i for i, folder in enumerate(folders) if label_name(folder) == label), len(folders))
    return "/".join(folders[at:]) if len(folders) > at + 1 else None


def _start_of(name: str) -> str | None:
    """First part of a name of several, if it has a number: `S005` of `S005_001_00000011.png`."""
    first, *others = re.split(r"[-_ ]", os.path.splitext(name)[0])  # noqa: PTH122
    return first if others and re.search(r"\d", first) else None


def _is_dicom(file: str) -> bool:
    with Path(file).open("rb") as stream:
        return dicom.is_dicom(stream)
