"""`TrialRecord`: record of a trial that the driver of the search writes to `trial.json`. Plain data."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import ConfigDict, Field, ValidationError
from pydantic_core import from_json

from trainables.core.atomic_write import replacing
from trainables.core.config_errors import Config, dotted, problems_of
from trainables.core.vocabulary import TrialStatus
from trainables.run_folder.layout import SCHEMA_VERSION, RunFileError, TrialLayout
from trainables.run_folder.trial_summary import TrialSummary, size_of, summary_in


class Parent(Config):
    """Trial and epoch that another trial continues from, in population-based training."""

    trial: int = Field(ge=0)
    epoch: int = Field(ge=1)
    """Last epoch taken over from the parent."""
    stage: int = Field(ge=0)
    """Position of the stage in which the trial continues."""


class TrialRecord(Config):
    """Record of one trial of a search, without its epochs."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    version: int = Field(SCHEMA_VERSION, alias="schema", ge=1, le=SCHEMA_VERSION)
    number: int = Field(ge=0)
    params: dict[str, Any]
    """Searched values by dotted recipe path; for a trial with a parent, the values it continues with."""
    parent: Parent | None = None
    status: TrialStatus
    reason: str | None = None
    """Reason why it was pruned, failed or is infeasible."""
    objectives: dict[str, float] = Field(default_factory=dict)
    """Values of `search.objectives` by name, always including `score`; if the trial ended early, the values reached by then. Empty
    before it ended, and if it failed."""
    started: str
    """Start time, UTC, ISO 8601."""
    ended: str | None = None
    summary: TrialSummary | None = None
    """Summary of its epochs, written when it ended."""

    def write(self, folder: TrialLayout) -> None:
        """Writes the record to the trial's folder."""
        with replacing(folder.trial) as file:
            file.write(self.model_dump_json(indent=2))

    def summary_now(self, folder: TrialLayout) -> TrialSummary:
        """Summary of the trial's epochs: the recorded one, or a new one if that lacks a column or epochs have been written since.

        Raises:
            RunFileError: if the epochs cannot be read; names the file.
        """
        size = size_of(folder.epochs)
        if self.summary and (size is None or (size == self.summary.epochs_bytes and self.summary.is_complete)):
            return self.summary
        return summary_in(folder.epochs)


def now() -> str:
    """Current time, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def read_record(folder: TrialLayout) -> TrialRecord:
    """Reads the record of a trial.

    Raises:
        FileNotFoundError: if the trial has none (yet).
        RunFileError: if it is damaged, from a newer version or of another trial; names the file.
    """
    file = folder.trial
    try:
        data = from_json(file.read_bytes())
    except ValueError as error:
        raise RunFileError(f"{file}: not valid JSON ({error})") from None
    if not isinstance(data, dict):
        raise RunFileError(f"{file}: not a JSON object")
    version = data.get("schema")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise RunFileError(
            f"{file}: schema {version} is newer than {SCHEMA_VERSION}, the newest known here; update thaw"
        )
    try:
        record = TrialRecord.model_validate(data)
    except ValidationError as error:
        problems = problems_of(error, TrialRecord, data)
        raise RunFileError("\n".join(f"{file}: {dotted(p.path)}: {p.message}" for p in problems)) from None
    if record.number != folder.number:
        raise RunFileError(f"{file}: number: {record.number} in the folder of trial {folder.number}")
    return record
