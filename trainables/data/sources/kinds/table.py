"""Tables: CSV, TSV and Parquet files with a row for each image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trainables.core.config_errors import ConfigError, Problem
from trainables.data.formats.file_decoder import files_decoder
from trainables.data.sources.class_mapping import Mapped, mapped
from trainables.data.sources.guess_columns import GuessError, guess_columns
from trainables.data.sources.source import (
    Detected,
    Reader,
    Source,
    UnknownDataError,
    labels_key,
    read_as,
    with_sides,
)
from trainables.data.sources.table_rows import has_test, read_rows
from trainables.recipe.data_config import Columns, DataConfig
from trainables.storage.urls import absolute, file_facts, folder_of, is_url

if TYPE_CHECKING:
    import pandas as pd

_TABLES = (".csv", ".tsv", ".parquet", ".pq")


def open_table(config: DataConfig) -> Source:
    """Opens the rows of a table that train and validate."""
    return _table(config, test=False)


def open_test_table(config: DataConfig) -> Source | None:
    """Opens the rows of a table whose split is `test`; None if there are none."""
    columns = config.columns
    if columns and columns.split and has_test(absolute(str(config.path)), columns):
        return _table(config, test=True)
    return None


def _table(config: DataConfig, *, test: bool) -> Source:
    file = absolute(str(config.path))
    folder = absolute(config.images) if config.images else folder_of(file)
    numeric = config.task == "regression"
    rows = read_rows(file, config.columns or Columns(), numeric=numeric, test=test)
    if numeric:
        targets = np.array([float(name) for name in rows.names])[rows.labels]
        found = Mapped((), np.zeros(len(targets), np.int64), np.arange(len(targets)))
    else:
        targets, found = None, mapped(rows.names, rows.labels, config.labels)
    if not is_url(folder) and not Path(folder).is_dir():
        what = "is not a folder" if Path(folder).exists() else "does not exist"
        raise ConfigError([Problem(("data", "images"), f"{config.images}: {what}")])
    files, facts = file_facts([rows.files[i] for i in found.kept.tolist()], folder)
    key = labels_key(read_as(f"table\0{facts.hex()}", config), found)
    source = Source(key, found.classes, found.labels, lambda: Reader(*files_decoder(files, config)))
    return with_sides(source, found, groups=rows.groups, judges=rows.judges, weights=rows.weights, targets=targets)


def is_table(path: Path) -> bool:
    """Returns True if a path is a file with the name of a table."""
    return path.is_file() and path.suffix.lower() in _TABLES


def detect_table(path: Path) -> Detected | None:
    """Detects a table, and guesses what its columns say.

    Raises:
        UnknownDataError: if it is damaged, or its columns cannot be guessed.
    """
    if not is_table(path):
        return None
    frame = _texts(path)
    try:
        guess = guess_columns(frame, path.parent)
    except GuessError as error:
        raise UnknownDataError(f"{path}: {error}") from None
    data: dict[str, Any] = {"source": "table", "path": str(path), "columns": guess.columns.named()}
    if guess.images is not None:
        data["images"] = str(guess.images)
    return Detected(f"a table of {len(frame):,} rows", data, guess.doubts)


def _texts(path: Path) -> pd.DataFrame:
    """Reads the whole table, as texts."""
    import pandas as pd
    import pyarrow

    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            frame = pd.read_parquet(path)
            return frame.astype("string")
        return pd.read_csv(path, sep="\t" if path.suffix.lower() == ".tsv" else ",", dtype=str, encoding="utf-8-sig")
    except (OSError, ValueError, pyarrow.ArrowException) as error:  # pandas' own errors are ValueErrors
        reason = str(error).strip().partition("\n")[0]
        raise UnknownDataError(f"{path}: is damaged, or is not a table: {reason}") from None


def tables_in(path: Path) -> list[Path]:
    """Tables in a folder, sorted by name."""
    return sorted(entry for entry in path.iterdir() if is_table(entry))
