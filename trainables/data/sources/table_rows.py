"""Tables of labelled images: CSV, TSV and Parquet files with a row an image."""

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
"""What says that nothing is known. Not None: as a finding it is a class."""
_TRAINING, _VALIDATION, _TEST = range(3)
_SIDES = {"train": _TRAINING, "val": _VALIDATION, "validation": _VALIDATION, "test": _TEST}


class Rows(NamedTuple):
    """What a table says of its images, either without those of the test split or of those alone; each image once."""

    files: list[str]
    """[n] paths as they stand in the table."""
    names: tuple[str, ...]
    """The labels that occur, in the order of classes."""
    labels: np.ndarray
    """[n] int64, positions in `names`."""
    groups: np.ndarray | None
    """[n] int64, one number for each group; None without a group column."""
    judges: np.ndarray | None
    """[n] bool, whether the split column says `val`; None without one."""
    weights: np.ndarray | None = None
    """[n] float64, from 0 and finite; None without a weight column."""


def read_rows(file: str, columns: Columns, *, numeric: bool = False, test: bool = False) -> Rows:
    """The rows of a table that has been checked for what rows alone can show.

    Args:
        numeric: labels are numbers, and their names what `float` reads.
        test: rows of the test split alone.
    Raises:
        ConfigError: at `data.path` or at a column, if the file is no table, has not these columns, or its rows miss
            something or contradict each other.
    """
    cells = read_columns(file, columns)
    _check(*(_gaps(cells, role) for role in ("path", "group", "split")), _unknown_sides(cells))
    # Before the test rows go: neither an image nor a patient may stand there, too.
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
    if "weight" in cells:  # 1 and 1.0 are one
        values = weight_names(cells["weight"].values)
        cells["weight"] = _renamed(values, list(dict.fromkeys(values)), cells["weight"].codes)
    _check(_contradictions(cells, "label"), _contradictions(cells, "weight"))
    names = cells["label"].values
    if len(names) < 2:
        found = f"holds only one label ({names[0]})" if names else "holds no row to train with"
        raise _column_error("label", f"{found}; there is nothing to tell apart")
    once = np.sort(np.unique(cells["path"].codes, return_index=True)[1])  # a row that stands twice is one image
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
    """Whether some row of a table with a split column is of the test."""
    return any(_SIDES.get(value.lower()) == _TEST for value in read_columns(file, columns)["split"].values)


# --- reading --------------------------------------------------------------------------------------------------------


def read_columns(file: str, columns: Columns) -> dict[str, Cells]:
    """The columns with a role, by their role.

    Raises:
        ConfigError: at `data.path`, or at columns that are not there.
    """
    kind = os.path.splitext(file)[1].lower()  # noqa: PTH122  it may be a URL
    if not is_url(file):
        if Path(file).is_dir():
            raise path_error(f"{file}: is a folder; source 'table' takes a CSV, TSV or Parquet file")
        if not Path(file).exists():
            raise path_error(f"{file}: does not exist")
    if kind not in _DELIMITERS and kind not in _PARQUET:
        raise path_error(f"{file}: is no table by its name; it should end in .csv, .tsv or .parquet")
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
    except (OSError, ValueError, csv.Error, pyarrow.ArrowException) as error:  # the last are often ValueErrors, too
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
        # Texts only: 007 is the name of a patient.
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
    if role != "path":  # a file's name may end in a blank
        texts = pc.utf8_trim_whitespace(texts)
    coded = pyarrow.chunked_array([texts.combine_chunks()]).chunk(0).dictionary_encode()
    values = coded.dictionary.to_numpy(zero_copy_only=False).tolist()  # three times as fast as to_pylist
    codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    if gone := [i for i, value in enumerate(values) if value in _MISSING]:
        codes[np.isin(codes, gone)] = -1
    if role == "path" and any("./" in value or "//" in value for value in values):
        # a.png and ./a.png are one image
        places = [value if is_url(value) else os.path.normpath(value) for value in values]
        return _renamed(places, list(dict.fromkeys(places)), codes)
    return Cells(tuple(values), codes)


def _by_name(labels: Cells) -> Cells:
    """The labels that occur, in the order of their names; `1` and `1.0` are one."""
    names = [label_name(value) for value in labels.values]
    present = {names[code] for code in np.unique(labels.codes).tolist()}
    return _renamed(names, sorted_names(present), labels.codes)


def _renamed(names: Sequence[str], values: Sequence[str], codes: np.ndarray) -> Cells:
    """Cells under other names, of which several may be one.

    Args:
        names: of each former value.
        values: all names that occur.
    """
    position = {name: i for i, name in enumerate(values)}
    return Cells(tuple(values), np.array([*(position.get(name, -1) for name in names), -1], np.int64)[codes])


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "does not exist"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    text = str(error).strip().partition("\n")[0]
    return text if text.startswith(("is ", "holds ")) else f"is damaged, or no such table: {text}"


# --- what rows alone can show ---------------------------------------------------------------------------------------


def _gaps(cells: dict[str, Cells], role: str, rows: np.ndarray | None = None) -> list[Problem]:
    """Rows that say nothing in a column.

    Args:
        rows: positions in the table of the rows that are left of it.
    """
    if role not in cells or not len(gaps := np.flatnonzero(cells[role].codes < 0)):
        return []
    gaps = (gaps if rows is None else rows[gaps]) + 1
    named = listed([str(row) for row in gaps.tolist()])
    many = "rows have" if len(gaps) > 1 else "row has"
    return [_problem(role, f"{len(gaps)} {many} none, counted from 1 below the header: {named}")]


def _unfit_weights(cells: dict[str, Cells], rows: np.ndarray) -> list[Problem]:
    return weight_problems(*cells["weight"], rows) if "weight" in cells else []


def _unknown_sides(cells: dict[str, Cells]) -> list[Problem]:
    values = cells["split"].values if "split" in cells else ()
    if wrong := [repr(value) for value in values if value not in _MISSING and value.lower() not in _SIDES]:
        return [_problem("split", f"holds {listed(wrong)}; it should say train, val or test")]
    return []


def _contradictions(cells: dict[str, Cells], role: str) -> list[Problem]:
    """Images whose rows say different things."""
    if role not in cells or not (found := _at_odds(cells["path"], cells[role])):
        return []
    return [_problem(role, f"{len(found)} images have rows that differ: {listed(found)}")]


def _crossings(cells: dict[str, Cells]) -> list[Problem]:
    """Groups that the given split tears apart."""
    if not {"group", "split"} <= set(cells) or not (found := _at_odds(cells["group"], cells["split"])):
        return []
    return [_problem("group", f"{len(found)} groups are on more than one side of the given split: {listed(found)}")]


def _at_odds(things: Cells, said: Cells) -> list[str]:
    """What has more than one value, with its values: `'a.png' ('1', '2')`."""
    pairs = np.sort(things.codes * (len(said.values) + 1) + said.codes)
    pairs = pairs[np.diff(pairs, prepend=-2) != 0]  # ten times as fast as np.unique
    thing, value = pairs // (len(said.values) + 1), pairs % (len(said.values) + 1)
    several = np.unique(thing[1:][thing[1:] == thing[:-1]])
    return [
        f"{things.values[i]!r} ({', '.join(repr(said.values[j]) for j in value[thing == i].tolist())})"
        for i in several.tolist()
    ]


def _check(*found: list[Problem]) -> None:
    if problems := [problem for problems in found for problem in problems]:
        raise ConfigError(problems)


def _problem(role: str, message: str) -> Problem:
    return Problem(("data", "columns", role), message)


def _column_error(role: str, message: str) -> ConfigError:
    return ConfigError([_problem(role, message)])
