"""`status.json` of a run: what its driver says of itself, for who watches from elsewhere; and asking it to stop."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Literal

from pydantic import ConfigDict, Field, ValidationError

from trainables.core.atomic_write import replacing
from trainables.core.config_errors import Config
from trainables.core.rungs import Rungs
from trainables.run_folder.layout import SCHEMA_VERSION, RunLayout
from trainables.run_folder.trial_record import now

State = Literal["running", "complete", "stopped", "failed"]


class RunStatus(Config):
    """Of one attempt: a start or a resume."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    version: int = Field(SCHEMA_VERSION, alias="schema", ge=1, le=SCHEMA_VERSION)
    attempt: int
    state: State = "running"
    """`running` also of a driver that was killed; whether it is alive its lock tells."""
    host: str = Field(default_factory=socket.gethostname)
    pid: int = Field(default_factory=os.getpid)
    started: str = Field(default_factory=now)
    """UTC, ISO 8601."""
    ended: str | None = None
    trials: int
    """How many the search has."""
    rungs: Rungs = Rungs()
    """Where trials are compared."""
    usage: str | None = None
    """What of the machine or cluster is in use: `CPU 16/16 · GPU 2/2`."""

    def write(self, layout: RunLayout) -> None:
        with replacing(layout.status) as file:
            file.write(self.model_dump_json(indent=2))


def read_status(layout: RunLayout) -> RunStatus | None:
    """What the newest driver said; None of a run that has nothing of the kind, or nothing that can be read."""
    try:
        return RunStatus.model_validate(json.loads(layout.status.read_bytes()))
    except (FileNotFoundError, ValueError, ValidationError):
        return None


def seconds(time: str) -> float:
    """UTC, ISO 8601 -> seconds since 1970."""
    return datetime.fromisoformat(time).timestamp()


class Attempt:
    """A driver's status while it runs."""

    def __init__(self, layout: RunLayout, status: RunStatus):
        self.layout, self.status = layout, status

    def tell(self, usage: str | None) -> None:
        if usage != self.status.usage:
            self._become(usage=usage)

    @contextmanager
    def told(self) -> Iterator[None]:
        """Says that it runs, and in the end how it ended; `complete` must have been set where it is."""
        self.complete = False
        self.status.write(self.layout)
        try:
            yield
        except BaseException:
            self._become(state="failed", ended=now(), usage=None)
            raise
        self._become(state="complete" if self.complete else "stopped", ended=now(), usage=None)

    def _become(self, **changes: object) -> None:
        self.status = self.status.model_copy(update=changes)
        self.status.write(self.layout)


# --- stopping -------------------------------------------------------------------------------------------------------


def ask_to_stop(layout: RunLayout) -> None:
    """Asks the driver, on whatever machine that sees the folder."""
    with replacing(layout.stop) as file:
        file.write(now())


def forget_stop(layout: RunLayout) -> None:
    """So that the next driver is not stopped for what the last one was asked."""
    layout.stop.unlink(missing_ok=True)
