"""Tables: CSV, TSV and Parquet files with a row for each image."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trainables.core.config_errors import ConfigError, Problem
from trainables.data.formats.file_decoder import files_decoder
from trainables.data.sources.class_mapping import Mapped, mapped
from trainables.data.sources.repeated_files import without_repeats
from trainables.data.sources.source import (
    Reader,
    Source,
    files_key,
    labels_key,
    read_as,
    with_sides,
)
from trainables.data.sources.tables.missing_files import missing_files
from trainables.data.sources.tables.numeric_labels import untransformable
from trainables.data.sources.tables.sample_weights import check_each_class_weighs
from trainables.data.sources.tables.table_rows import has_test, read_rows
from trainables.recipe.data_config import DataConfig
from trainables.recipe.data_settings.table_columns import Columns
from trainables.storage.urls import Place, absolute, file_facts, folder_of, is_url, places_of


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
    columns = config.columns or Columns()
    rows = read_rows(file, columns, folder, numeric=numeric, test=test, on_conflict=config.on_conflict)
    if rows.judges is not None and (typed := next((k for k in ("validation", "folds") if getattr(config, k)), None)):
        given = f"the column {columns.split!r} (data.columns.split) already gives the split; keep one of the two"
        raise ConfigError([Problem(("data", typed), f"{getattr(config, typed):g}: {given}")])
    if numeric:
        targets = np.array([float(name) for name in rows.names])[rows.labels]
        if problems := untransformable(targets, rows.files, config.transform):
            raise ConfigError(problems)
        found = Mapped((), np.zeros(len(targets), np.int64), np.arange(len(targets)))
    else:
        targets, found = None, mapped(rows.names, rows.labels, config.labels)
    if not is_url(folder) and not Path(folder).is_dir():
        what = "is not a folder" if Path(folder).exists() else "does not exist"
        raise ConfigError([Problem(("data", "images"), f"{config.images}: {what}")])
    if rows.weights is not None and not test:
        check_each_class_weighs(rows.weights[found.kept], found.labels, found.classes)
    files = [rows.files[i] for i in found.kept.tolist()]
    places: list[Place] = [*places_of(files, folder)]
    facts = file_facts(places)
    if facts.gone:
        message = missing_files(files, facts.gone, folder, setting="data.images")
        raise ConfigError([Problem(("data", "columns", "path"), message)])
    key = files_key("table", facts)
    sides = {
        "group": rows.groups,
        "part of the split": rows.judges,
        "weight": rows.weights,
        "target": targets,
        "time": rows.times,
    }
    agreed = {name: column for name, column in sides.items() if column is not None}
    found, places = without_repeats(found, places, facts, agreed, config.on_conflict)
    key = labels_key(read_as(key, config), found)
    notes = rows.notes + found.notes
    source = Source(key, found.classes, found.labels, lambda: Reader(*files_decoder(places, config)), notes=notes)
    return with_sides(
        source, found, groups=rows.groups, judges=rows.judges, weights=rows.weights, targets=targets, times=rows.times
    )
