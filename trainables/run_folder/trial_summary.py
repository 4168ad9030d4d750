"""`TrialSummary`: results of a trial from its epoch reports, for the tables of trials. Plain data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError, create_model

from trainables.core.config_errors import Config, dotted, problems_of
from trainables.run_folder.epoch_report import FIELDS, read_epochs
from trainables.run_folder.layout import RunFileError
from trainables.run_folder.trial_columns import AT_BEST, Column, Part

_COLUMNS: Mapping[str, tuple[str, Column]] = {
    column.name or field: (field, column)
    for part in Part
    for field, traits in FIELDS.items()
    for column in traits.columns
    if column.part is part
}
"""Name of a column -> the field of the reports that it follows from, and how; from left to right."""

_DEFINITIONS: Any = {name: (column.kind, column.empty) for name, (_, column) in _COLUMNS.items()}
_Columns: Any = create_model("_Columns", __base__=Config, **_DEFINITIONS)


class TrialSummary(_Columns):
    """Summary of a trial's epochs, written when it ends, so that tables of thousands of trials need not read all their epochs."""

    epochs_bytes: int | None = None
    """Size of `epochs.jsonl` when the summary was made, in bytes; if it differs, epochs have been written since."""

    def row(self) -> dict[str, Any]:
        """Columns of the trial in a table of trials."""
        values = self.model_dump(exclude={"epochs_bytes"})
        metrics = values.pop("metrics")
        return {**values, **{name: metrics.get(name) for name in AT_BEST}}

    @property
    def is_complete(self) -> bool:
        """False where it was written before there was one of the columns."""
        return self.model_fields_set == type(self).model_fields.keys()


def column_kinds() -> dict[str, Any]:
    """Names of the columns of `TrialSummary.row` and types of their values, from left to right."""
    found: dict[str, Any] = {}
    for name, (_, column) in _COLUMNS.items():
        found |= dict.fromkeys(AT_BEST, float | None) if name == "metrics" else {name: column.kind}
    return found


def summary_in(file: Path) -> TrialSummary:
    """Summarises the `epochs.jsonl` of a trial, which may not exist yet: last epoch, metrics of the best one, flags and costs.

    Raises:
        RunFileError: if the file cannot be read; names the file.
    """
    size = size_of(file) or 0  # taken before reading, so that it differs if epochs are appended meanwhile
    reports = read_epochs(file)
    try:
        of_reports = {
            name: column.rule(field, reports) if reports else column.empty for name, (field, column) in _COLUMNS.items()
        }
    except (TypeError, ValueError, OverflowError, LookupError, AttributeError) as error:
        raise RunFileError(f"{file}: an epoch report has a value of another type: {error}") from None
    values = {**of_reports, "epochs_bytes": size}
    try:
        return TrialSummary.model_validate(values)
    except ValidationError as error:
        problems = problems_of(error, TrialSummary, values)
        raise RunFileError("\n".join(f"{file}: {dotted(p.path)}: {p.message}" for p in problems)) from None


def size_of(file: Path) -> int | None:
    """Size of a file in bytes; None if it does not exist."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return None
