"""`status.json` of a run: state of its driver, for those who watch it from elsewhere; and requests to stop."""

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
    """Status of one attempt: a start or a resume."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    version: int = Field(SCHEMA_VERSION, alias="schema", ge=1, le=SCHEMA_VERSION)
    attempt: int
    state: State = "running"
    """State of the driver. It stays `running` if the driver was killed: only the run's lock shows whether it is alive."""
    host: str = Field(default_factory=socket.gethostname)
    pid: int = Field(default_factory=os.getpid)
    started: str = Field(default_factory=now)
    """UTC, ISO 8601."""
    ended: str | None = None
    trials: int
    """Number of trials of the search."""
    rungs: Rungs = Rungs()
    """Rungs at which trials are compared."""
    usage: str | None = None
    """Usage of the machine or cluster: `CPU 16/16 · GPU 2/2`."""

    def write(self, layout: RunLayout) -> None:
        """Writes the status to the run folder."""
        with replacing(layout.status) as file:
            file.write(self.model_dump_json(indent=2))


def read_status(layout: RunLayout) -> RunStatus | None:
    """Status of the latest driver; None if there is no file, or it cannot be read."""
    try:
        return RunStatus.model_validate(json.loads(layout.status.read_bytes()))
    except (FileNotFoundError, ValueError, ValidationError):
        return None


def seconds(time: str) -> float:
    """Converts a time (UTC, ISO 8601) to seconds since 1970."""
    return datetime.fromisoformat(time).timestamp()


class Attempt:
    """Status of a driver, written while it runs."""

    def __init__(self, layout: RunLayout, status: RunStatus):
        self.layout, self.status = layout, status

    def set_usage(self, usage: str | None) -> None:
        """Writes the usage, if it has changed."""
        if usage != self.status.usage:
            self._change(usage=usage)

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Writes that the driver runs, and at the end of the context how it ended; set `complete` before if the search
        is complete."""
        self.complete = False
        self.status.write(self.layout)
        try:
            yield
        except BaseException:
            self._change(state="failed", ended=now(), usage=None)
            raise
        self._change(state="complete" if self.complete else "stopped", ended=now(), usage=None)

    def _change(self, **changes: object) -> None:
        self.status = self.status.model_copy(update=changes)
        self.status.write(self.layout)


# --- stopping -------------------------------------------------------------------------------------------------------


def ask_to_stop(layout: RunLayout) -> None:
    """Asks the driver to stop, from any machine that shares the folder."""
    with replacing(layout.stop) as file:
        file.write(now())


def forget_stop(layout: RunLayout) -> None:
    """Removes a request to stop, so that it does not stop the next driver."""
    layout.stop.unlink(missing_ok=True)
