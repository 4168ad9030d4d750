"""Guesses the roles of a table's columns from their names and contents."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from trainables.core.config_errors import listed
from trainables.recipe.data_config import Columns

if TYPE_CHECKING:
    import pandas as pd

_PATHS = (
    "path", "imagepath", "filepath", "file", "filename", "image", "img", "imagefile", "imagename", "photo",
    "picture",
)  # fmt: skip
_LABELS = (
    "label", "class", "classname", "labelname", "target", "diagnosis", "category", "species", "grade", "density",
    "dx", "y",
)  # fmt: skip
_GROUPS = (
    "patient", "subject", "participant", "person", "donor", "animal", "individual", "family", "video", "clip",
    "sequence", "case", "study", "exam", "session", "slide", "specimen", "plot",
)  # fmt: skip
_NO_LABELS = {
    "sex", "gender", "age", "side", "laterality", "view", "site", "hospital", "scanner", "device", "fold",
    "year",
}  # fmt: skip
"""Columns with few values that are rarely the labels."""
_SPLITS = ("split", "set", "subset", "partition")
_SIDES = {"train", "val", "validation", "test"}
"""Valid values of a split column, in lower case."""
_CHECKED_VALUES = 50
"""Values of a column that are tried as file names."""
_MOST_FOLDERS = 50


class GuessError(ValueError):
    """The roles of a table's columns cannot be guessed."""


class Guess(NamedTuple):
    """Guessed roles of columns."""

    columns: Columns
    images: Path | None
    """Folder that paths are relative to; None: the table's own."""
    doubts: tuple[str, ...]
    """Doubtful points for a person to check, one a line."""


def guess_columns(table: pd.DataFrame, folder: Path) -> Guess:
    """Guesses the roles of a table's columns.

    Args:
        table: all values as texts; missing values are NaN or None.
        folder: folder of the table.
    Raises:
        GuessError: if no column holds image files or labels, or a column gives a split that cannot be used.
    """
    names = [str(name) for name in table.columns]
    table = table.set_axis(names, axis=1)
    path, images, other_paths = _path_column(table, folder)
    split = _split_column(table, [name for name in names if name != path])
    left = [name for name in names if name not in {path, split, *other_paths}]
    group = _group_column(table, left)
    label, other_labels = _label_column(table, [name for name in left if name != group])
    doubts = []
    if other_paths:
        doubts.append(f"image files are also in {_quoted(other_paths)}")
    if other_labels:
        doubts.append(f"the label might also be {_quoted(other_labels)}")
    return Guess(Columns(path=path, label=label, group=group, split=split), images, tuple(doubts))


def plain(name: str) -> str:
    """Column name reduced to its word: `Patient_ID` -> `patient`."""
    letters = re.sub(r"[^a-z]", "", name.casefold())
    return re.sub(r"(id|no|nr|number|uid|code)$", "", letters) or letters


def _quoted(names: Sequence[str]) -> str:
    return listed([repr(name) for name in names], 6)


def _by_hint(names: Sequence[str], hints: Sequence[str]) -> list[str]:
    """Names that are among the hints, in the order of the hints."""
    return sorted((name for name in names if plain(name) in hints), key=lambda name: hints.index(plain(name)))


def _path_column(table: pd.DataFrame, folder: Path) -> tuple[str, Path | None, list[str]]:
    """Column of image files, the folder they are relative to, and other columns that hold files."""
    inside = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    places = {name: _place_of(table[name], [folder, *inside[:_MOST_FOLDERS]]) for name in table.columns}
    holding = [name for name, place in places.items() if place is not None]
    if not holding:
        seen = listed([f"{name} ({_example(table[name])})" for name in table.columns], 8)
        raise GuessError(f"no column has image files that are in {folder} or one of its sub-folders; columns: {seen}")
    chosen = (_by_hint(holding, _PATHS) or holding)[0]
    place = places[chosen]
    return chosen, None if place == folder else place, [name for name in holding if name != chosen]


def _place_of(column: pd.Series, folders: Sequence[Path]) -> Path | None:
    """Folder in which most values are files; None if there is none."""
    values = column.dropna().drop_duplicates().iloc[:_CHECKED_VALUES].astype(str).tolist()
    found = {folder: sum(_is_file(folder, value) for value in values) for folder in folders}
    best = max(folders, key=lambda folder: found[folder])
    return best if found[best] > len(values) / 2 else None


def _is_file(folder: Path, value: str) -> bool:
    try:
        return (folder / value).is_file()
    except (OSError, ValueError):  # the name is too long or contains a zero byte
        return False


def _example(column: pd.Series) -> str:
    known = column.dropna()
    return repr(str(known.iloc[0])[:40]) if len(known) else "empty"


def _split_column(table: pd.DataFrame, names: Sequence[str]) -> str | None:
    for name in names:
        values = {str(value).strip().lower() for value in table[name].dropna().unique()}
        if "train" in values and values <= _SIDES:
            if not values & {"val", "validation"}:
                raise GuessError(
                    f"the column {name!r} has no 'val' rows for validation; mark some of its rows as 'val'"
                )
            return name
        if plain(name) in _SPLITS and 2 <= len(values) <= 4 and values & {"train", "training", "test", "testing"}:
            found = listed(sorted(map(repr, values)))
            raise GuessError(f"the column {name!r} holds {found}; the values of a split must be train, val or test")
    return None


def _group_column(table: pd.DataFrame, names: Sequence[str]) -> str | None:
    """Column of patients or the like, some of which occur more than once; None if there is none."""
    return next((name for name in _by_hint(names, _GROUPS) if 1 < table[name].nunique() < len(table)), None)


def _label_column(table: pd.DataFrame, names: Sequence[str]) -> tuple[str, list[str]]:
    """Column of labels, and others that could be meant."""
    distinct = {name: int(table[name].nunique()) for name in names}
    few = [name for name in names if 2 <= distinct[name] <= max(2, len(table) // 2)]
    if not few:
        raise GuessError(
            f"no column holds labels: expected one with a few values that repeat; found {_quoted(names) or 'no other column'}"
        )
    if hinted := _by_hint(few, _LABELS):
        return hinted[0], hinted[1:]
    ranked = sorted(few, key=lambda name: (plain(name) in _NO_LABELS, distinct[name]))
    return ranked[0], [name for name in ranked[1:] if plain(name) not in _NO_LABELS]
