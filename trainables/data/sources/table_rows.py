"""Tables of labelled images: CSV, TSV and Parquet files with one row per image."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trainables.core.config_errors import ConfigError, Problem, listed, nearest
from trainables.data.messages import path_error
from trainables.data.sources.class_mapping import sorted_names
from trainables.data.sources.numeric_labels import by_number, without_number
from trainables.data.sources.sample_weights import weight_names, weight_problems
from trainables.data.sources.table_cells import Cells
from trainables.recipe.data_config import Columns, label_name
from trainables.storage.urls import is_url, read_bytes

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_PARQUET = frozenset({".parquet", ".pq"})
_MISSING = frozenset({"", "NA", "N/A", "#N/A", "<NA>", "NaN", "nan", "NULL", "null"})
"""Texts that mean a missing value. Not `None`, which can be a class, such as "no finding"."""
_TRAINING, _VALIDATION, _TEST = range(3)
_SIDES = {"train": _TRAINING, "val": _VALIDATION, "validation": _VALIDATION, "test": _TEST}


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
    """[n] bool, True where the split column says `val`; None without a split column."""
    weights: np.ndarray | None = None
    """[n] float64, finite and at least 0; None without a weight column."""


def read_rows(file: str, columns: Columns, *, numeric: bool = False, test: bool = False) -> Rows:
    """Reads and checks the rows of a table.

    Args:
        file: path or URL of the table.
        columns: role -> name of the column.
        numeric: labels are numbers; their names are texts that `float` parses.
        test: read the rows of the test split; otherwise all other rows.
    Raises:
        ConfigError: at `data.path` or at a column, if the file is not a table, lacks a column, or its rows have missing values or
            contradict each other.
    """
    cells = read_columns(file, columns)
    _check(*(_gaps(cells, role) for role in ("path", "group", "split")), _unknown_sides(cells))
    # Checked with the test rows: no image and no patient may be in both parts.
    _check(*(_contradictions(cells, role) for role in ("group", "split")), _crossings(cells))
    judges = rows = None
    if "split" in cells:
        side = np.array([_SIDES.get(value.lower(), -1) for value in cells["split"].values])[cells["split"].codes]
        rows = np.flatnonzero((side == _TEST) == test)
        cells, judges = {role: column.taken(rows) for role, column in cells.items()}, side[rows] == _VALIDATION
    else:
        rows = np.arange(len(cells["label"].codes))
    unlabelled = without_number(cells["label"], rows) if numeric else _gaps(cells, "label", rows)
    _check(unlabelled, _gaps(cells, "weight", rows), _unfit_weights(cells, rows))
    cells["label"] = (by_number if numeric else _by_name)(cells["label"])
    if "weight" in cells:  # 1 and 1.0 are the same weight
        values = weight_names(cells["weight"].values)
        cells["weight"] = Cells.renamed(values, list(dict.fromkeys(values)), cells["weight"].codes)
    _check(_contradictions(cells, "label"), _contradictions(cells, "weight"))
    names = cells["label"].values
    if len(names) < 2:
        raise _column_error(
            "label",
            f"holds only one label ({names[0]}); at least 2 are needed" if names else "holds no row to train with",
        )
    once = np.sort(np.unique(cells["path"].codes, return_index=True)[1])  # equal rows are one image
    paths = cells["path"]
    return Rows(
        [paths.values[code] for code in paths.codes[once].tolist()],
        names,
        cells["label"].codes[once],
        cells["group"].codes[once] if "group" in cells else None,
        None if judges is None else judges[once],
        np.array(cells["weight"].values, np.float64)[cells["weight"].codes[once]] if "weight" in cells else None,
    )


def has_test(file: str, columns: Columns) -> bool:
    """Returns True if a table with a split column has rows of the test split."""
    return any(_SIDES.get(value.lower()) == _TEST for value in read_columns(file, columns)["split"].values)


# --- reading --------------------------------------------------------------------------------------------------------


def read_columns(file: str, columns: Columns) -> dict[str, Cells]:
    """Reads the columns that have a role: role -> cells.

    Raises:
        ConfigError: at `data.path`, or at columns that do not exist.
    """
    kind = os.path.splitext(file)[1].lower()  # noqa: PTH122  it may be a URL
    if not is_url(file):
        if Path(file).is_dir():
            raise path_error(f"{file}: is a folder; source 'table' takes a CSV, TSV or Parquet file")
        if not Path(file).exists():
            raise path_error(f"{file}: does not exist")
    if kind not in _DELIMITERS and kind not in _PARQUET:
        raise path_error(f"{file}: does not have the name of a table, which ends in .csv, .tsv or .parquet")
    import pyarrow

    try:
        content = read_bytes(file) if is_url(file) else None
        names = _header(file, content, kind)
        _check_names(names, columns)
        table = _read(
            file if content is None else pyarrow.BufferReader(content), kind, sorted(columns.named().values())
        )
        if table.num_rows == 0:
            raise ValueError("holds no rows")
    except ConfigError:
        raise
    except UnicodeDecodeError as error:
        raise path_error(f"{file}: is not written in UTF-8: {error.reason} at byte {error.start}") from None
    except (OSError, ValueError, csv.Error, pyarrow.ArrowException) as error:
        raise path_error(f"{file}: {_reason(error)}") from None
    return {role: _cells(table.column(name), role) for role, name in columns.named().items()}


def _header(file: str, content: bytes | None, kind: str) -> list[str]:
    if kind in _PARQUET:
        import pyarrow
        import pyarrow.parquet

        return list(pyarrow.parquet.read_schema(file if content is None else pyarrow.BufferReader(content)).names)
    with (
        Path(file).open("rb") if content is None else io.BytesIO(content) as raw,
        io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as lines,
    ):
        header = next((row for row in csv.reader(lines, delimiter=_DELIMITERS[kind]) if row), None)
    if header is None:
        raise ValueError("is empty")
    return header


def _check_names(names: Sequence[str], columns: Columns) -> None:
    problems = []
    for role, name in columns.named().items():
        if name not in names:
            close = nearest(name, names)
            close = f"{close} " if close.startswith("did") else ""
            message = f"the table has no column {name!r}; {close}(columns: {listed([repr(n) for n in names], 20)})"
            problems.append(Problem(("data", "columns", role), message))
        elif names.count(name) > 1:
            problems.append(Problem(("data", "columns", role), f"the table has {names.count(name)} columns {name!r}"))
    if problems:
        raise ConfigError(problems)


def _read(file: Any, kind: str, names: list[str]) -> Any:
    if kind in _PARQUET:
        import pyarrow.parquet

        return pyarrow.parquet.read_table(file, columns=names, partitioning=None)
    import pyarrow
    import pyarrow.csv

    return pyarrow.csv.read_csv(
        file,
        # Read as texts, because 007 may be the name of a patient.
        convert_options=pyarrow.csv.ConvertOptions(
            include_columns=names, column_types=dict.fromkeys(names, pyarrow.string())
        ),
        parse_options=pyarrow.csv.ParseOptions(delimiter=_DELIMITERS[kind], newlines_in_values=True),
    )


def _cells(column: Any, role: str) -> Cells:
    import pyarrow
    import pyarrow.compute as pc

    try:
        texts = pc.cast(column, pyarrow.large_string())
    except pyarrow.ArrowException:
        raise _column_error(role, f"holds {column.type}, which is neither text nor numbers") from None
    if role != "path":  # a file name may end with a blank
        texts = pc.utf8_trim_whitespace(texts)
    coded = pyarrow.chunked_array([texts.combine_chunks()]).chunk(0).dictionary_encode()
    values = coded.dictionary.to_numpy(zero_copy_only=False).tolist()  # three times as fast as to_pylist
    codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    if missing := [i for i, value in enumerate(values) if value in _MISSING]:
        codes[np.isin(codes, missing)] = -1
    if role == "path" and any("./" in value or "//" in value for value in values):
        # a.png and ./a.png are the same image
        places = [value if is_url(value) else os.path.normpath(value) for value in values]
        return Cells.renamed(places, list(dict.fromkeys(places)), codes)
    return Cells(tuple(values), codes)


def _by_name(labels: Cells) -> Cells:
    """Labels that occur, in the order of their names; `1` and `1.0` become the same label."""
    names = [label_name(value) for value in labels.values]
    present = {names[code] for code in np.unique(labels.codes).tolist()}
    return Cells.renamed(names, sorted_names(present), labels.codes)


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "does not exist"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    text = str(error).strip().partition("\n")[0]
    return text if text.startswith(("is ", "holds ")) else f"is damaged, or is not a table: {text}"


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


def _unknown_sides(cells: dict[str, Cells]) -> list[Problem]:
    values = cells["split"].values if "split" in cells else ()
    if wrong := [repr(value) for value in values if value not in _MISSING and value.lower() not in _SIDES]:
        return [_problem("split", f"holds {listed(wrong)}; its values must be train, val or test")]
    return []


def _contradictions(cells: dict[str, Cells], role: str) -> list[Problem]:
    """Problem that lists images whose rows have different values; empty if there are none."""
    if role not in cells or not (found := _at_odds(cells["path"], cells[role])):
        return []
    return [_problem(role, f"{len(found)} images have rows that differ: {listed(found)}")]


def _crossings(cells: dict[str, Cells]) -> list[Problem]:
    """Problem that lists groups that the given split divides; empty if there are none."""
    if not {"group", "split"} <= set(cells) or not (found := _at_odds(cells["group"], cells["split"])):
        return []
    return [_problem("group", f"{len(found)} groups are on more than one side of the given split: {listed(found)}")]


def _at_odds(items: Cells, values: Cells) -> list[str]:
    """Items with more than one value, and these values: `'a.png' ('1', '2')`."""
    pairs = np.sort(items.codes * (len(values.values) + 1) + values.codes)
    pairs = pairs[np.diff(pairs, prepend=-2) != 0]  # ten times as fast as np.unique
    item, value = pairs // (len(values.values) + 1), pairs % (len(values.values) + 1)
    several = np.unique(item[1:][item[1:] == item[:-1]])
    return [
        f"{items.values[i]!r} ({', '.join(repr(values.values[j]) for j in value[item == i].tolist())})"
        for i in several.tolist()
    ]


def _check(*found: list[Problem]) -> None:
    if problems := [problem for problems in found for problem in problems]:
        raise ConfigError(problems)


def _problem(role: str, message: str) -> Problem:
    return Problem(("data", "columns", role), message)


def _column_error(role: str, message: str) -> ConfigError:
    return ConfigError([_problem(role, message)])
