"""What the columns of a table mean, guessed from their names and from what is in them."""

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
"""Columns with few values that are seldom what is asked for."""
_SPLITS = ("split", "set", "subset", "partition")
_SIDES = {"train", "val", "validation", "test"}
"""What a split column may say."""
_LOOKED_AT = 50
"""Values of a column that are looked up as files."""
_MOST_FOLDERS = 50


class GuessError(ValueError):
    """A table in which too little can be recognised."""


class Guess(NamedTuple):
    """What columns seem to mean."""

    columns: Columns
    images: Path | None
    """The folder that paths start from; None: the table's own."""
    doubts: tuple[str, ...]
    """What a person should look at, a line each."""


def guess_columns(table: pd.DataFrame, folder: Path) -> Guess:
    """The roles of a table's columns.

    Args:
        table: of texts; missing values are NaN or None.
        folder: where the table lies.
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
    """A column's name without what people add to it: `Patient_ID` -> `patient`."""
    letters = re.sub(r"[^a-z]", "", name.casefold())
    return re.sub(r"(id|no|nr|number|uid|code)$", "", letters) or letters


def _quoted(names: Sequence[str]) -> str:
    return listed([repr(name) for name in names], 6)


def _by_hint(names: Sequence[str], hints: Sequence[str]) -> list[str]:
    """Those whose name is a hint, the first hint's first."""
    return sorted((name for name in names if plain(name) in hints), key=lambda name: hints.index(plain(name)))


def _path_column(table: pd.DataFrame, folder: Path) -> tuple[str, Path | None, list[str]]:
    """The column of image files, the folder they start from, and other columns that hold files."""
    inside = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    places = {name: _place_of(table[name], [folder, *inside[:_MOST_FOLDERS]]) for name in table.columns}
    holding = [name for name, place in places.items() if place is not None]
    if not holding:
        seen = listed([f"{name} ({_example(table[name])})" for name in table.columns], 8)
        raise GuessError(f"no column names image files that are in {folder} or a folder in it; columns: {seen}")
    chosen = (_by_hint(holding, _PATHS) or holding)[0]
    place = places[chosen]
    return chosen, None if place == folder else place, [name for name in holding if name != chosen]


def _place_of(column: pd.Series, folders: Sequence[Path]) -> Path | None:
    """The folder in which most values are files; None where there is none."""
    values = column.dropna().drop_duplicates().iloc[:_LOOKED_AT].astype(str).tolist()
    found = {folder: sum(_is_file(folder, value) for value in values) for folder in folders}
    best = max(folders, key=lambda folder: found[folder])
    return best if found[best] > len(values) / 2 else None


def _is_file(folder: Path, value: str) -> bool:
    try:
        return (folder / value).is_file()
    except (OSError, ValueError):  # too long for a name, or with a zero byte in it
        return False


def _example(column: pd.Series) -> str:
    known = column.dropna()
    return repr(str(known.iloc[0])[:40]) if len(known) else "empty"


def _split_column(table: pd.DataFrame, names: Sequence[str]) -> str | None:
    for name in names:
        values = {str(value).strip().lower() for value in table[name].dropna().unique()}
        if "train" in values and values <= _SIDES:
            if not values & {"val", "validation"}:
                raise GuessError(f"the column {name!r} has no 'val' rows to judge trials by; name some of its rows so")
            return name
        if plain(name) in _SPLITS and 2 <= len(values) <= 4 and values & {"train", "training", "test", "testing"}:
            found = listed(sorted(map(repr, values)))
            raise GuessError(
                f"the column {name!r} holds {found}; to be used as a split it should say train, val or test"
            )
    return None


def _group_column(table: pd.DataFrame, names: Sequence[str]) -> str | None:
    """A column of patients or the like, some of which come more than once."""
    return next((name for name in _by_hint(names, _GROUPS) if 1 < table[name].nunique() < len(table)), None)


def _label_column(table: pd.DataFrame, names: Sequence[str]) -> tuple[str, list[str]]:
    """The column of labels, and others that might be."""
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
