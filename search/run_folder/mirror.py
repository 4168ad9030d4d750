"""`search.mirror`: a copy of the run elsewhere that is updated while the search runs, without ever making it wait."""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ray.tune import Callback

from search.config.search_config import SearchConfig
from search.config.yaml_source import InputError
from search.run_folder.freshness import freshness_in, freshness_of
from search.run_folder.mirrored_files import MirroredFiles
from search.run_folder.status_file import ask_to_stop
from trainables.core.printable import command_line
from trainables.run_folder.layout import RunLayout
from trainables.run_folder.trial_record import now
from trainables.storage.remote_folder import RemoteFolder

OWNER = ".driver"
"""File in the copy that names the driver writing to it. A driver that takes over writes its own name; a driver that
finds another's name stops."""

_EVERY_S = 10.0
"""Seconds between two updates, unless the end of a trial asks for one earlier."""
_IDLE = 4
"""Pause after an update, as a multiple of its duration: updates take at most a fifth of a core."""
_CHECKED_EVERY_S = 2.0
"""Seconds between two checks, during an update, whether another driver has taken over."""
_PATIENCE_S = 60.0
"""Seconds without progress after which the last update is given up."""


class TakenOverError(Exception):
    """Raised when another driver has taken over the copy; the message names it."""


@contextmanager
def mirrored(config: SearchConfig, layout: RunLayout) -> Iterator[Mirror | None]:
    """Keeps the copy up to date within the context, with a last update at its end. Yields None if no mirror is set. The
    folder must be `owned`.

    Raises:
        InputError: on entry, if the copy cannot be written or belongs to another run.
    """
    if config.mirror is None:
        yield None
        return
    mirror = Mirror(layout, config.mirror)
    try:
        yield mirror
    finally:
        mirror.close()


class Mirror:
    """The copy, and the thread that updates it."""

    def __init__(self, layout: RunLayout, url: str):
        """Takes over the copy from the driver that wrote it before.

        Raises:
            InputError: if it cannot be written, belongs to another run, or was resumed elsewhere.
        """
        self.url, self._layout = url, layout
        self._owner = json.dumps(
            {"host": socket.gethostname(), "pid": os.getpid(), "since": now(), "token": secrets.token_hex(8)}
        ).encode()
        self._take_over()
        self._asked, self._ending = threading.Event(), threading.Event()
        self._refused: str | None = None
        """Reason why the copy is not up to date."""
        self._steps = 0
        self._thread = threading.Thread(target=self._follow, name="mirror", daemon=True)
        self._thread.start()

    def request(self) -> None:
        """Asks for an update soon. Returns at once."""
        self._asked.set()

    def close(self) -> None:
        """Waits until the latest state is copied, as long as there is progress; otherwise prints a warning."""
        self._ending.set()
        self._asked.set()
        while self._thread.is_alive():
            before = self._steps
            self._thread.join(_PATIENCE_S)
            if self._thread.is_alive() and self._steps == before:
                self._refused = self._refused or f"no answer within {_PATIENCE_S:.0f} s"
                break
        if not self._layout.config.exists():  # the search did not get as far as its first attempt
            with suppress(OSError):
                self._copy.remove([OWNER])
        elif self._refused:
            _warn(f"{self.url} is behind: {self._refused}; thaw resume brings it up to date")

    # --- ownership --------------------------------------------------------------------------------------------------

    def _take_over(self) -> None:
        try:
            self._copy = RemoteFolder(self.url)
            self._refuse_another()
            self._copy.write({OWNER: self._owner})
            self._checked = time.monotonic()
            self._files = MirroredFiles(self._layout, self._copy)
        except OSError as error:
            raise InputError(f"search.mirror: {self.url} cannot be used: {error}") from None

    def _refuse_another(self) -> None:
        ours = self._layout
        if (place := self._copy.on_disk) is not None and place.resolve() == ours.root.resolve():
            raise InputError(
                f"search.mirror: {self.url} is the run itself; resume a copy of it instead: {command_line('resume', self.url)}"
            )
        if self._copy.read(ours.config.name) is None:
            return
        if not ours.config.exists():
            raise InputError(
                f"search.mirror: {self.url} already holds a run: resume it ({command_line('resume', self.url)}), or choose another "
                "search.name"
            )
        theirs = freshness_in(self._copy.read(ours.study.name), self._copy.read(ours.attempt.name))
        if not freshness_of(ours).includes(theirs):
            raise InputError(
                f"search.mirror: {self.url} has data that {ours.root} lacks: the search was resumed elsewhere, or it is "
                f"another one. Resume it from there: {command_line('resume', self.url)}; or choose another search.mirror"
            )

    def _check_owner(self) -> None:
        if time.monotonic() - self._checked < _CHECKED_EVERY_S:
            return
        owner = self._copy.read(OWNER)
        self._checked = time.monotonic()
        if owner is None:
            self._take_over()
            raise OSError("its files were removed")
        if owner != self._owner:
            raise TakenOverError(f"{self.url} is written by {_named(owner)} now, which has taken over the search")

    # --- the thread -------------------------------------------------------------------------------------------------

    def _follow(self) -> None:
        while True:
            self._asked.clear()
            ending, began = self._ending.is_set(), time.monotonic()
            try:
                self._update()
            except TakenOverError as error:
                self._refused = None
                _warn(f"{error}; this driver stops")
                ask_to_stop(self._layout)
                return
            if ending:
                return
            idle = _IDLE * (time.monotonic() - began)
            self._ending.wait(idle)
            self._asked.wait(max(0.0, _EVERY_S - idle))

    def _update(self) -> None:
        try:
            for _ in self._files.update():
                self._steps += 1
                self._check_owner()
        except TakenOverError:
            raise
        except Exception as error:  # whatever it is: the search matters more than its copy
            if not self._refused:
                _warn(f"{self.url} cannot be written: {error}; the search continues, and the copy will catch up")
            self._refused = str(error)
        else:
            if self._refused:
                print(f"{self.url} is up to date again", file=sys.stderr)
            self._refused = None


class MirrorCallback(Callback):
    """Asks for an update of the copy when a trial ends."""

    def __init__(self, mirror: Mirror):
        self._mirror = mirror

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray pickles callbacks into its snapshots; nobody reads ours

    def on_trial_complete(self, **_: Any) -> None:
        self._mirror.request()

    def on_trial_error(self, **_: Any) -> None:
        self._mirror.request()


def _named(owner: bytes) -> str:
    try:
        owner_fields = json.loads(owner)
        return f"process {int(owner_fields['pid'])} on {str(owner_fields['host'])!r}"
    except (ValueError, LookupError, TypeError):
        return "another driver"


def _warn(line: str) -> None:
    print(f"warning: {line}", file=sys.stderr)
