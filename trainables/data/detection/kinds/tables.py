"""Tables of images: reads them, finds their files, and takes the roles of their columns from names and contents."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trainables.core.config_errors import listed
from trainables.data.detection.column_words import PATHS, by_rank
from trainables.data.detection.draft import Draft
from trainables.data.detection.find_images import FileIndex, Match, files_below, readable_from
from trainables.data.detection.guess_columns import check_names, guess_roles, quoted
from trainables.data.detection.name_columns import add_groups
from trainables.data.detection.wishes import Wishes
from trainables.data.formats import nifti
from trainables.data.formats.images import SUFFIXES
from trainables.data.sources.source import UnknownDataError
from trainables.data.sources.tables.table_file import TableError, TableFile, open_table_file

if TYPE_CHECKING:
    import pandas as pd

ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar", ".zst")
"""Endings of archives, which nothing here unpacks."""
_NO_TABLES = (*ARCHIVES, ".npz", ".npy", ".yaml", ".yml")
_START = 10_000
"""Characters of a text by which it is told from other data."""
_WHITE = str.maketrans("", "", "\r\n\t")
_CHECKED = 50
"""Values of a column that are searched for among the files."""
_MOST_FILES, _MOST_FILES_BESIDE = 1_000_000, 100_000
"""Files after which no further folder is looked into: in the table's own folder, and in the one above, which may hold anything."""
_ONE_OF_SEVERAL = 3
"""Columns of 0 and 1 from which they may be one label."""


def detect_table(path: Path, wishes: Wishes) -> Draft | None:
    """Detects a table of images by its content.

    Raises:
        UnknownDataError: if it is damaged, its images are not found, or no column holds labels.
    """
    other = path.name.lower().endswith((*_NO_TABLES, *SUFFIXES, *nifti.SUFFIXES))
    if not path.is_file() or other:
        return None
    table, doubts = read_table(path)
    return draft_of(table, path, wishes, ImageFolders(path.parent, wishes.images), doubts)


def read_table(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """Reads a table as texts, in which missing values are None, and what prevents a source from reading it as it is.

    Raises:
        UnknownDataError: if it is damaged.
    """
    try:
        file = open_table_file(str(path))
        try:
            return file.frame(), []
        except TableError:
            return _readable_columns(file), []
    except TableError as error:
        text = path.read_bytes().decode("cp1252", errors="replace")
        if "is not written in UTF-8" not in str(error) or not text[:_START].translate(_WHITE).isprintable():
            raise UnknownDataError(str(error)) from None
    with tempfile.NamedTemporaryFile("w", suffix=path.suffix, encoding="utf-8", newline="") as copy:
        copy.write(text)
        copy.flush()
        try:
            return open_table_file(copy.name).frame(), [
                f"{path} is not written in UTF-8 but, it seems, in Windows-1252"
            ]
        except TableError as error:
            raise UnknownDataError(str(error).replace(copy.name, str(path))) from None


def _readable_columns(file: TableFile) -> pd.DataFrame:
    """Columns of a table that hold texts or numbers.

    Raises:
        TableError: if there are none, with the reason.
    """
    import pandas as pd

    columns, reason = {}, TableError(f"{file.place}: has no columns")
    for name in file.names:
        try:
            cells = file.cells([name])[name]
        except TableError as error:
            reason = error
        else:
            columns[name] = np.array([*cells.values, None], dtype=object)[cells.codes]
    if not columns:
        raise reason
    if "struct<bytes" in str(reason):
        raise TableError(
            f"{reason}; it holds the images themselves: write them to files, with a table of their paths and labels"
        )
    return pd.DataFrame(columns)


class ImageFolders:
    """Files in the places where the images of a table may be, read when they are needed: the nearest first."""

    def __init__(self, folder: Path, images: Path | None = None):
        if images and not images.is_dir():
            raise UnknownDataError(f"--images {images}: {'is not a folder' if images.exists() else 'does not exist'}")
        self.folder = folder
        beside = dict.fromkeys(_beside(folder), _MOST_FILES_BESIDE)
        self._places = {images: _MOST_FILES} if images else {folder: _MOST_FILES, **beside}
        self._read: list[FileIndex] = []

    def __iter__(self) -> Iterator[FileIndex]:
        for i, (place, most) in enumerate(self._places.items()):
            if i == len(self._read):
                self._read.append(FileIndex(files_below(place, most)))
            yield self._read[i]

    def __str__(self) -> str:
        return " or ".join(map(str, self._places))


def _beside(folder: Path) -> list[Path]:
    """Folder above, unless it is one that holds everything."""
    above = folder.absolute().parent
    return [] if above in {Path.home(), Path(above.anchor), folder.absolute()} else [above]


def draft_of(
    table: pd.DataFrame, file: Path, wishes: Wishes, folders: ImageFolders, unreadable: Sequence[str] | None = ()
) -> Draft:
    """Draft of the data section for a table.

    Args:
        table: all values as texts; missing values are None.
        file: its file.
        wishes: what the user says.
        folders: where the images may be.
        unreadable: doubts about what prevents a source from reading this file as it is; None: it is none.
    Raises:
        UnknownDataError: if its images are not found, or no column holds labels.
    """
    import pandas as pd

    _refuse_pixels(table, file)
    direct = unreadable is not None and not unreadable
    in_names = wishes.group is not None and wishes.group not in table.columns
    check_names(replace(wishes, group=None) if in_names else wishes, list(table.columns))
    path, index = _path_column(table, file, wishes, folders)
    if path is None:
        table, direct = _with_header_as_row(table), False
        path, index = _path_column(table, file, wishes, folders)
        assert path is not None
    others = [name for name in table.columns if name != path and _share_found(table[name], index) > 0.5]
    one_of = (
        [] if wishes.label else _one_of_several(table, [name for name in table.columns if name not in {path, *others}])
    )
    doubts = [f"image files are also in {quoted(others, 6)}: {wishes.command(file, path=others[0])}"] if others else []
    if one_of:
        direct = False
        names = np.array(one_of)
        chosen = names[table[one_of].astype(float).to_numpy().argmax(axis=1)]
        table = table.drop(columns=one_of).assign(label=chosen)
        doubts.append(f"the label is the name of the column that holds 1, of {quoted(one_of, 8)}")
    roles = guess_roles(table, path, others, replace(wishes, group=None) if in_names else wishes, file)
    found = index.located(table[path].tolist(), _folders_of(table, [roles.label, roles.split]))
    located = pd.Series(found.files, table.index, dtype=object)
    columns = {"path": path, "label": roles.label, "group": roles.group, "split": roles.split}
    rows = pd.DataFrame({role: table[name] for role, name in columns.items() if name is not None})
    rows["path"] = located
    if found.ambiguous:
        doubts.append(_several_files(found.ambiguous, len(table)))
    draft = Draft(
        what=f"a table of {len(table):,} rows",
        place=file,
        rows=rows,
        columns={k: v for k, v in columns.items() if v is not None},
        task=roles.task,
        doubts=[*(unreadable or ()), *doubts, *roles.doubts],
    )
    if (
        direct
        and located.notna().all()
        and (place := readable_from(table[path].tolist(), located.tolist(), file.parent))
    ):
        draft.data = {
            "source": "table",
            "path": str(file),
            "columns": dict(draft.columns),
        }
        if place.absolute() != file.parent.absolute():
            draft.data["images"] = _as_typed(place, file)
    elif direct:
        draft.doubt(
            f"the texts of {path!r} are not paths as they stand, such as {_example(table[path])}: the files were found by name"
        )
    if roles.group is None or in_names:
        add_groups(draft, wishes, list(table.columns))
    return draft


def _folders_of(table: pd.DataFrame, columns: Sequence[str | None]) -> list[set[str]]:
    """Names that the folders of each row's file may have: its label and its part of the split."""
    return list(map(set, zip(*(map(str, table[name]) for name in columns if name is not None), strict=True)))


def _several_files(ambiguous: Sequence[Sequence[Match]], rows: int) -> str:
    """Doubt about names that several files have."""
    roots = listed(sorted({match.root for match in ambiguous[0]}), 3)
    return f"{len(ambiguous):,} of {rows:,} names are those of several files ({roots}); name the right folder with --images"


def _as_typed(place: Path, file: Path) -> str:
    """Path as the user would write it: relative if the table's is."""
    return str(place) if file.is_absolute() else os.path.relpath(place)


def _path_column(
    table: pd.DataFrame, file: Path, wishes: Wishes, folders: ImageFolders
) -> tuple[str | None, FileIndex]:
    """Column of image files, None if the header is a row with one, and the files among which they are."""
    columns = [wishes.path] if wishes.path else [n for n in table.columns if n not in wishes.columns.values()]
    for index in folders:
        if any("." in name and index.matches(name) for name in table.columns):
            return None, index
        if holding := [name for name in columns if _share_found(table[name], index) > 0.5]:
            return (by_rank(holding, PATHS) or holding)[0], index
    seen = listed([f"{name} ({_example(table[name])})" for name in columns], 8)
    another = "another" if wishes.images else "the"
    raise UnknownDataError(
        f"{file}: no column has image files that are in {folders}; columns: {seen}. Name {another} folder with --images"
    )


def _with_header_as_row(table: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    names = [f"column {i + 1}" for i in range(len(table.columns))]
    header = pd.DataFrame([list(table.columns)], columns=names)
    return pd.concat([header, table.set_axis(names, axis=1)], ignore_index=True)


def _share_found(column: pd.Series, index: FileIndex) -> float:
    """Share of a column's texts that are files; 0 if they are few and short, as classes called 0 and 1 are."""
    texts = column.dropna().drop_duplicates().tolist()
    if not texts or (len(texts) < len(column) / 4 and not any("." in text for text in texts)):
        return 0.0
    some = [texts[i] for i in np.unique(np.linspace(0, len(texts) - 1, _CHECKED).astype(int)).tolist()]
    return sum(bool(index.matches(text)) for text in some) / len(some)


def _example(column: pd.Series) -> str:
    known = column.dropna()
    return repr(str(known.iloc[0])[:40]) if len(known) else "empty"


def _one_of_several(table: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Columns of 0 and 1 of which exactly one is 1 in each row."""
    binary = [name for name in names if set(table[name].unique()) <= {"0", "1", "0.0", "1.0"}]
    if len(binary) < _ONE_OF_SEVERAL:
        return []
    ones = table[binary].astype(float).sum(axis=1)
    return binary if bool((ones == 1).all()) else []


def _refuse_pixels(table: pd.DataFrame, file: Path) -> None:
    pixels = [name for name in table.columns if re.fullmatch(r"(?i)pixels?[-_ ]?\d*|\d+x\d+", name)]
    if pixels:
        raise UnknownDataError(
            f"{file}: holds pixels ({listed(pixels, 3)}) instead of image files; write them into an NPZ file with the arrays "
            "train_images [n, h, w] and train_labels [n] (numpy.savez), and pass that to thaw init"
        )
