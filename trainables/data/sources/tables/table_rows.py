"""Rows of a table of labelled images, checked: every image once, with one label, one group and one part of the split."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from trainables.core.config_errors import ConfigError, Problem, counted, listed, nearest
from trainables.data.messages import path_error
from trainables.data.sources.class_mapping import sorted_names
from trainables.data.sources.split_names import Part, part_of
from trainables.data.sources.tables.numeric_labels import by_number, without_number
from trainables.data.sources.tables.sample_weights import weight_names, weight_problems
from trainables.data.sources.tables.table_cells import Cells
from trainables.data.sources.tables.table_file import ColumnError, TableError, open_table_file
from trainables.data.sources.tables.times import time_problems, times_of
from trainables.recipe.data_settings.label_names import group_name, label_name
from trainables.recipe.data_settings.table_columns import Columns
from trainables.storage.urls import is_url, joined


class Rows(NamedTuple):
    """Images of a table, each once: either those of the test split, or all others."""

    files: list[str]
    """[n] paths as written in the table."""
    names: tuple[str, ...]
    """Labels that occur, in the order of classes."""
    labels: np.ndarray
    """[n] int64, positions in `names`."""
    groups: np.ndarray | None
    """[n] int64, group numbers; None without a group column."""
    judges: np.ndarray | None
    """[n] bool, True where the split column says `val`; None without such rows."""
    times: np.ndarray | None = None
    """[n] float64; None without a time column."""
    weights: np.ndarray | None = None
    """[n] float64, finite and at least 0; None without a weight column."""
    notes: tuple[str, ...] = ()
    """Rows that are left out, counted."""


def read_rows(
    file: str,
    columns: Columns,
    folder: str,
    *,
    numeric: bool = False,
    test: bool = False,
    on_conflict: Literal["error", "drop"] = "error",
) -> Rows:
    """Reads and checks the rows of a table.

    Args:
        file: path or URL of the table.
        columns: role -> name of the column.
        folder: path or URL of the folder that paths are relative to.
        numeric: labels are numbers; their names are texts that `float` parses.
        test: read the rows of the test split; otherwise all other rows.
        on_conflict: `drop` leaves out images whose rows contradict each other; `error` raises an error that lists them.
    Raises:
        ConfigError: at `data.path` or at a column, if the file is not a table, lacks a column, or its rows have missing values or
            contradict each other.
    """
    cells = read_columns(file, columns)
    _check(*(_gaps(cells, role) for role in ("path", "group", "split")), _unknown_parts(cells))
    cells["path"] = _by_place(cells["path"], folder)
    if "group" in cells:
        cells["group"] = cells["group"].merged(group_name)
    judges, rows = None, np.arange(len(cells["path"].codes))
    if "split" in cells:
        cells["split"] = cells["split"].merged(lambda text: str(part_of(text)))
    # Checked with the test rows: no image and no patient may be in both parts.
    cells, rows, notes = _without_conflicts(cells, rows, ("group", "split"), on_conflict)
    _check(_crossings(cells))
    if "split" in cells:
        chosen = np.flatnonzero(_rows_of("test", cells["split"]) == test)
        cells, rows = {role: column.taken(chosen) for role, column in cells.items()}, rows[chosen]
    unlabelled = without_number(cells["label"], rows) if numeric else _gaps(cells, "label", rows)
    _check(unlabelled, *(_gaps(cells, role, rows) for role in ("weight", "time")), _unfit_weights(cells, rows))
    _check(time_problems(*cells["time"], rows) if "time" in cells else [])
    cells["label"] = (by_number if numeric else _by_name)(cells["label"])
    if "weight" in cells:  # 1 and 1.0 are the same weight
        values = weight_names(cells["weight"].values)
        cells["weight"] = Cells.renamed(values, list(dict.fromkeys(values)), cells["weight"].codes)
    cells, rows, more = _without_conflicts(cells, rows, ("label", "weight", "time"), on_conflict)
    if more and not numeric:
        cells["label"] = _by_name(cells["label"])  # a class may have lost all its images
    names = cells["label"].values
    if len(names) < 2:
        raise _column_error(
            "label",
            f"holds only one label ({names[0]}); at least 2 are needed" if names else "holds no row to train with",
        )
    once = np.sort(np.unique(cells["path"].codes, return_index=True)[1])
    if repeated := len(rows) - len(once):
        more += (f"left out: {counted(repeated, 'row')} naming an image again",)
    if "split" in cells:
        validates = _rows_of("val", cells["split"])[once]
        judges = validates if validates.any() else None
    paths = cells["path"]
    return Rows(
        [paths.values[code] for code in paths.codes[once].tolist()],
        names,
        cells["label"].codes[once],
        cells["group"].codes[once] if "group" in cells else None,
        judges,
        times_of(cells["time"].values, cells["time"].codes[once]) if "time" in cells else None,
        np.array(cells["weight"].values, np.float64)[cells["weight"].codes[once]] if "weight" in cells else None,
        notes + more,
    )


def has_test(file: str, columns: Columns) -> bool:
    """Returns True if a table with a split column has rows of the test split."""
    return any(part_of(value) == "test" for value in read_columns(file, columns)["split"].values)


# --- reading --------------------------------------------------------------------------------------------------------


def read_columns(file: str, columns: Columns) -> dict[str, Cells]:
    """Reads the columns that have a role: role -> cells.

    Raises:
        ConfigError: at `data.path`, or at columns that do not exist.
    """
    named = columns.named()
    try:
        table = open_table_file(file)
        _check_names(table.names, columns)
        cells = table.cells(list(named.values()), exact={columns.path})
    except ColumnError as error:
        raise _column_error(next(role for role, name in named.items() if name == error.name), str(error)) from None
    except TableError as error:
        raise path_error(str(error)) from None
    return {role: cells[name] for role, name in named.items()}


def _check_names(names: Sequence[str], columns: Columns) -> None:
    problems = []
    for role, name in columns.named().items():
        if name not in names:
            close = nearest(name, names)
            close = f"; {close}" if close.startswith("did") else ""
            message = f"the table has no column {name!r}{close} (columns: {listed([repr(n) for n in names], 20)})"
            problems.append(Problem(("data", "columns", role), message))
        elif names.count(name) > 1:
            problems.append(Problem(("data", "columns", role), f"the table has {names.count(name)} columns {name!r}"))
    if problems:
        raise ConfigError(problems)


def _rows_of(part: Part, split: Cells) -> np.ndarray:
    """Mask [n] of the rows of one part of a split."""
    is_part: np.ndarray = np.array([part_of(value) == part for value in split.values])
    return is_part[split.codes]  # type: ignore[no-any-return]


def _by_place(paths: Cells, folder: str) -> Cells:
    """Paths of which those that lead to the same place are one, as they are first written: `a.png`, `./a.png`, `/photos/a.png`."""

    def place(path: str) -> str:
        if is_url(path) or is_url(folder):
            return joined(folder, path)
        return os.path.normpath(path if path.startswith("/") else f"{folder}/{path}")

    return paths.merged(place)


def _by_name(labels: Cells) -> Cells:
    """Labels that occur, in the order of their names; `1` and `1.0` become the same label."""
    names = [label_name(value) for value in labels.values]
    present = {names[code] for code in np.unique(labels.codes).tolist()}
    return Cells.renamed(names, sorted_names(present), labels.codes)


# --- checks of rows -------------------------------------------------------------------------------------------------


def _gaps(cells: dict[str, Cells], role: str, rows: np.ndarray | None = None) -> list[Problem]:
    """Problem that lists the rows without a value in a column; empty if there are none.

    Args:
        cells: role -> cells.
        role: role of the column; need not exist.
        rows: positions in the table of the rows of `cells`; None: all rows.
    """
    if role not in cells or not len(gaps := np.flatnonzero(cells[role].codes < 0)):
        return []
    gaps = (gaps if rows is None else rows[gaps]) + 1
    named = listed([str(row) for row in gaps.tolist()])
    many = "rows have" if len(gaps) > 1 else "row has"
    return [_problem(role, f"{len(gaps)} {many} no value (row numbers count from 1 below the header): {named}")]


def _unfit_weights(cells: dict[str, Cells], rows: np.ndarray) -> list[Problem]:
    return weight_problems(*cells["weight"], rows) if "weight" in cells else []


def _unknown_parts(cells: dict[str, Cells]) -> list[Problem]:
    values = cells["split"].values if "split" in cells else ()
    if wrong := [repr(value) for value in values if part_of(value) is None]:
        return [_problem("split", f"holds {listed(wrong)}; its values must be train, val or test")]
    return []


def _without_conflicts(
    cells: dict[str, Cells], rows: np.ndarray, roles: Sequence[str], on_conflict: Literal["error", "drop"]
) -> tuple[dict[str, Cells], np.ndarray, tuple[str, ...]]:
    """Cells and rows without the images whose rows have different values in some columns, and a note that counts them.

    Args:
        cells: role -> cells.
        rows: [n] positions in the table of the rows of `cells`.
        roles: roles of the columns to compare; need not exist.
        on_conflict: `error`: raise an error instead.
    """
    found = {role: _at_odds(cells["path"], cells[role]) for role in roles if role in cells}
    found = {role: images for role, images in found.items() if images}
    if not found:
        return cells, rows, ()
    if on_conflict == "error":
        mend = "correct them, or leave these images out with data.on_conflict: drop"
        _check(
            *(
                [_problem(role, f"{_have_rows_that_differ(images)}: {listed(list(images.values()))}; {mend}")]
                for role, images in found.items()
            )
        )
    dropped = {image: text for images in found.values() for image, text in images.items()}
    kept = np.flatnonzero(~np.isin(cells["path"].codes, list(dropped)))
    which = listed(list(dropped.values()), 3)
    note = f"left out (data.on_conflict): {counted(len(dropped), 'image')} with rows that differ: {which}"
    return {role: column.taken(kept) for role, column in cells.items()}, rows[kept], (note,)


def _have_rows_that_differ(images: dict[int, str]) -> str:
    return f"{len(images)} images have rows that differ" if len(images) > 1 else "1 image has rows that differ"


def _crossings(cells: dict[str, Cells]) -> list[Problem]:
    """Problem that lists groups that the given split divides; empty if there are none."""
    if not {"group", "split"} <= set(cells) or not (found := _at_odds(cells["group"], cells["split"])):
        return []
    divided = listed(list(found.values()))
    return [_problem("group", f"{len(found)} groups are on more than one side of the given split: {divided}")]


def _at_odds(items: Cells, values: Cells) -> dict[int, str]:
    """Items with more than one value: their code -> item and values, as in `'a.png' ('1', '2')`."""
    pairs = np.sort(items.codes * (len(values.values) + 1) + values.codes)
    pairs = pairs[np.diff(pairs, prepend=-2) != 0]  # ten times as fast as np.unique
    item, value = pairs // (len(values.values) + 1), pairs % (len(values.values) + 1)
    several = np.unique(item[1:][item[1:] == item[:-1]])
    return {
        i: f"{items.values[i]!r} ({', '.join(repr(values.values[j]) for j in value[item == i].tolist())})"
        for i in several.tolist()
    }


def _check(*found: list[Problem]) -> None:
    if problems := [problem for problems in found for problem in problems]:
        raise ConfigError(problems)


def _problem(role: str, message: str) -> Problem:
    return Problem(("data", "columns", role), message)


def _column_error(role: str, message: str) -> ConfigError:
    return ConfigError([_problem(role, message)])
