"""Registry of a run's checkpoints: a line for each checkpoint ever written, including those rotated out. Plain data.

When a run is resumed, the registry is made to agree with the checkpoint files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from trainables.core.atomic_write import append_whole, replacing
from trainables.core.config_errors import Config, dotted, problems_of
from trainables.core.vocabulary import Metric
from trainables.run_folder.layout import CHECKPOINT_FILE, RunFileError


class BlockChange(Config):
    """Size and change of a block's parameters after an epoch."""

    norm: float | None = None
    """Norm of all parameters as one vector; None if it is not finite."""
    change: float | None = None
    """Norm of their change since the previous checkpoint, divided by `norm`; None if it is unknown because the block was frozen
    until then."""


class Entry(Config):
    """Registry entry of one checkpoint."""

    file: str = Field(pattern=CHECKPOINT_FILE)
    epoch: int = Field(ge=1)
    step: int = Field(ge=0)
    """Optimizer steps so far."""
    stage: str
    time: str
    """End of its epoch; UTC, ISO 8601."""
    train_loss: float | None = None
    val_loss: float | None = None
    score: float | None = None
    metrics: dict[str, float | None] = Field(default_factory=dict)
    config: str | None = None
    """`config_hash` of the recipe."""
    commit: str | None = None
    """Commit of the user's own code (`provenance.project_commit`)."""
    size: int = Field(ge=0)
    """Size of the file, in bytes."""
    checksum: str | None = None
    """`checkpoint_file.checksum_of` the file."""
    best: bool = False
    """True if its epoch is the best so far."""
    milestone: str | None = None
    """Milestone of the policy that the epoch reaches, such as `10` or `50%`."""
    on_demand: bool = False
    """True if somebody asked for it; it is kept for good."""
    save_s: float | None = None
    """Seconds that writing it took; None if unknown."""
    blocks: dict[str, BlockChange] = Field(default_factory=dict)
    """Changes of the head and of the blocks that have trained so far, by name."""

    @property
    def is_permanent(self) -> bool:
        """True if it is never rotated out."""
        return self.on_demand or self.milestone is not None

    def marks(self, *, best_epoch: int | None) -> list[str]:
        """Reasons why it may be kept: `best`, its milestone, `on demand`."""
        found = [
            "best" if self.epoch == best_epoch else "",
            self.milestone or "",
            "on demand" if self.on_demand else "",
        ]
        return [mark for mark in found if mark]


def config_hash(recipe: Mapping[str, Any]) -> str:
    """Hash that identifies a recipe, given as plain data."""
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]


def metrics_in(report: Mapping[str, Any]) -> dict[str, float | None]:
    """Metrics among the fields of an epoch report."""
    return {metric.value: report[metric.value] for metric in Metric if metric.value in report}


def append_entry(file: Path, entry: Entry) -> None:
    """Appends an entry to a registry."""
    append_whole(file, entry.model_dump_json() + "\n")


def write_registry(file: Path, entries: Iterable[Entry]) -> None:
    """Writes a registry in place of the existing one."""
    with replacing(file, sync=False) as lines:
        lines.writelines(entry.model_dump_json() + "\n" for entry in entries)


def read_registry(file: Path) -> list[Entry]:
    """Reads a registry, ordered by epoch; empty if there is no such file. The last entry of an epoch counts.

    A truncated last line is ignored: the process that wrote it was killed.

    Raises:
        RunFileError: if a line cannot be read; names file and line.
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
