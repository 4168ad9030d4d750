"""`TrialRecord`: what a search's driver writes about a trial in `trial.json`. Plain data."""

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
    """Where a trial goes on from, in population-based training."""

    trial: int = Field(ge=0)
    epoch: int = Field(ge=1)
    """After which it leaves the other one's way."""
    stage: int = Field(ge=0)
    """Position of the stage that it goes on in."""


class TrialRecord(Config):
    """One trial of a search, beside its epochs."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    version: int = Field(SCHEMA_VERSION, alias="schema", ge=1, le=SCHEMA_VERSION)
    number: int = Field(ge=0)
    params: dict[str, Any]
    """Searched values by dotted recipe path; of a trial with a parent those that it went on with."""
    parent: Parent | None = None
    status: TrialStatus
    reason: str | None = None
    """Why it was pruned, failed or is infeasible."""
    objectives: dict[str, float] = Field(default_factory=dict)
    """What it came to, by the names of `search.objectives`, `score` always among them; where it ended early, what it had come to
    by then. Empty before it ended, and where it failed."""
    started: str
    """UTC, ISO 8601."""
    ended: str | None = None
    summary: TrialSummary | None = None
    """Of its epochs, when it ended."""

    def write(self, folder: TrialLayout) -> None:
        with replacing(folder.trial) as file:
            file.write(self.model_dump_json(indent=2))

    def summary_now(self, folder: TrialLayout) -> TrialSummary:
        """The epochs in short: what is recorded, or the epochs themselves where they have been written since or the record lacks
        a column.

        Raises:
            RunFileError: if they cannot be read; names the file.
        """
        size = size_of(folder.epochs)
        if self.summary and (size is None or (size == self.summary.epochs_bytes and self.summary.is_complete)):
            return self.summary
        return summary_in(folder.epochs)


def now() -> str:
    """UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def read_record(folder: TrialLayout) -> TrialRecord:
    """
    Raises:
        FileNotFoundError: if the trial has none (yet).
        RunFileError: if it is damaged, of a newer version or of another trial; names the file.
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
