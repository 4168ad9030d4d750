"""The registry of a run's checkpoints: a line for each that was ever written, also of those rotated out. Plain data.

The files are the truth: whoever opens a run to go on with it makes the registry agree with them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from trainables.core.atomic_write import replacing
from trainables.core.config_errors import Config, dotted, problems_of
from trainables.core.vocabulary import Metric
from trainables.run_folder.layout import CHECKPOINT_FILE, RunFileError


class BlockChange(Config):
    """The parameters of a block after an epoch."""

    norm: float | None = None
    """Length of all of them as one vector; None where it is no finite number."""
    change: float | None = None
    """Length of what they moved by since the checkpoint before, over `norm`; None where it is not known: the block had been frozen
    until then."""


class Entry(Config):
    """One checkpoint."""

    file: str = Field(pattern=CHECKPOINT_FILE)
    epoch: int = Field(ge=1)
    step: int = Field(ge=0)
    """Steps of the optimizer until then."""
    stage: str
    time: str
    """When its epoch was done; UTC, ISO 8601."""
    train_loss: float | None = None
    val_loss: float | None = None
    score: float | None = None
    metrics: dict[str, float | None] = Field(default_factory=dict)
    config: str | None = None
    """`config_hash` of the recipe."""
    commit: str | None = None
    """Of the user's own code (`provenance.project_commit`)."""
    size: int = Field(ge=0)
    """Bytes."""
    checksum: str | None = None
    """`checkpoint_file.checksum_of` the file."""
    best: bool = False
    """The best epoch so far."""
    milestone: str | None = None
    """`10` or `50%`, as the policy has it."""
    blocks: dict[str, BlockChange] = Field(default_factory=dict)
    """Of the blocks that training had changed by then, and of the head."""


def config_hash(recipe: Mapping[str, Any]) -> str:
    """Names a recipe, given as plain data."""
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]


def metrics_in(report: Mapping[str, Any]) -> dict[str, float | None]:
    """The metrics among the fields of an epoch's line."""
    return {metric.value: report[metric.value] for metric in Metric if metric.value in report}


def append_entry(file: Path, entry: Entry) -> None:
    with file.open("a", encoding="utf-8") as lines:
        lines.write(entry.model_dump_json() + "\n")


def write_registry(file: Path, entries: Iterable[Entry]) -> None:
    with replacing(file, sync=False) as lines:
        lines.writelines(entry.model_dump_json() + "\n" for entry in entries)


def read_registry(file: Path) -> list[Entry]:
    """Its entries by epoch; none if there is no such file. Of two of an epoch the later one counts.

    A last line that is torn is left out: its writer was killed.

    Raises:
        RunFileError: if a line cannot be read, with file and line.
    """
    lines = file.read_bytes().splitlines() if file.exists() else []
    entries: dict[int, Entry] = {}
    for position, line in enumerate(lines, start=1):
        try:
            data = json.loads(line)
        except (ValueError, RecursionError) as error:
            if position == len(lines):
                break
            raise RunFileError(f"{file}:{position}: not a line of JSON ({error})") from None
        try:
            entry = Entry.model_validate(data)
        except ValidationError as error:
            first = problems_of(error, Entry, data if isinstance(data, dict) else {})[0]
            raise RunFileError(f"{file}:{position}: {dotted(first.path)}: {first.message}") from None
        entries[entry.epoch] = entry
    return [entries[epoch] for epoch in sorted(entries)]
