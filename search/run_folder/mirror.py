"""`search.mirror`: a copy of the run elsewhere that follows it while it runs, and never keeps it waiting."""

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
from search.run_folder.freshness import headway_in, headway_of
from search.run_folder.mirrored_files import MirroredFiles
from search.run_folder.status_file import ask_to_stop
from trainables.run_folder.layout import RunLayout
from trainables.run_folder.trial_record import now
from trainables.storage.remote_folder import RemoteFolder

OWNER = ".driver"
"""Beside the copy's files: the driver that writes there. Who takes over writes another; who finds another stops writing."""

_EVERY_S = 10.0
"""The copy is at most so old, and what it takes to bring it up to date; after the end of a trial it is not waited for."""
_IDLE = 4
"""So much longer than the last update took passes before the next: it costs a fifth of a core at most."""
_CHECKED_EVERY_S = 2.0
"""While a copy is brought up to date it is looked at so often whether somebody has taken over."""
_PATIENCE_S = 60.0
"""For an update in the end that does not get ahead."""


class TakenOverError(Exception):
    """Another driver goes on with the copy. Its text says which."""


@contextmanager
def mirrored(config: SearchConfig, layout: RunLayout) -> Iterator[Mirror | None]:
    """Keeps the copy up to date inside, and once more in the end; None where none is asked for. The folder must be `owned`.

    Raises:
        InputError: before anything else, if the copy cannot be written or is another run's.
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
    """The copy, and the thread that follows the run."""

    def __init__(self, layout: RunLayout, url: str):
        """Takes the copy over from whoever wrote it.

        Raises:
            InputError: if it cannot be written, is another run's, or has gone on elsewhere.
        """
        self.url, self._layout = url, layout
        self._owner = json.dumps(
            {"host": socket.gethostname(), "pid": os.getpid(), "since": now(), "token": secrets.token_hex(8)}
        ).encode()
        self._take_over()
        self._asked, self._ending = threading.Event(), threading.Event()
        self._refused: str | None = None
        """Why the copy is behind."""
        self._steps = 0
        self._thread = threading.Thread(target=self._follow, name="mirror", daemon=True)
        self._thread.start()

    def request(self) -> None:
        """There is something new that matters. Returns at once."""
        self._asked.set()

    def close(self) -> None:
        """Waits for the newest state to be copied, for as long as that gets ahead; says so if it does not."""
        self._ending.set()
        self._asked.set()
        while self._thread.is_alive():
            before = self._steps
            self._thread.join(_PATIENCE_S)
            if self._thread.is_alive() and self._steps == before:
                self._refused = self._refused or f"no answer within {_PATIENCE_S:.0f} s"
                break
        if not self._layout.config.exists():  # nothing came of it
            with suppress(OSError):
                self._copy.remove([OWNER])
        elif self._refused:
            _warn(f"{self.url} is behind: {self._refused}; thaw resume brings it up to date")

    # --- whose it is ------------------------------------------------------------------------------------------------

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
                f"search.mirror: {self.url} is the run itself; go on with a copy of it: thaw resume {self.url}"
            )
        if self._copy.read(ours.config.name) is None:
            return
        if not ours.config.exists():
            raise InputError(
                f"search.mirror: {self.url} holds a run already: go on with it (thaw resume {self.url}), or choose another "
                "search.name"
            )
        theirs = headway_in(self._copy.read(ours.study.name), self._copy.read(ours.attempt.name))
        if not headway_of(ours).has(theirs):
            raise InputError(
                f"search.mirror: {self.url} has what {ours.root} has not: the search has gone on elsewhere, or it is another. "
                f"Go on there: thaw resume {self.url}; or choose another search.mirror"
            )

    def _check_owner(self) -> None:
        if time.monotonic() - self._checked < _CHECKED_EVERY_S:
            return
        owner = self._copy.read(OWNER)
        self._checked = time.monotonic()
        if owner is None:
            self._take_over()
            raise OSError("somebody has emptied it")
        if owner != self._owner:
            raise TakenOverError(f"{self.url} is written by {_named(owner)} now, which has taken the search over")

    # --- the thread -------------------------------------------------------------------------------------------------

    def _follow(self) -> None:
        while True:
            self._asked.clear()
            ending, began = self._ending.is_set(), time.monotonic()
            try:
                self._update()
            except TakenOverError as error:
                self._refused = None
                _warn(f"{error}; this one stops")
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
        except Exception as error:  # whatever it is, the search is worth more than its copy
            if not self._refused:
                _warn(f"{self.url} cannot be written: {error}; the search goes on, and the copy will be made up for")
            self._refused = str(error)
        else:
            if self._refused:
                print(f"{self.url} is up to date again", file=sys.stderr)
            self._refused = None


class MirrorCallback(Callback):
    """Has the end of a trial copied at once."""

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
        said = json.loads(owner)
        return f"process {int(said['pid'])} on {str(said['host'])!r}"
    except (ValueError, LookupError, TypeError):
        return "another driver"


def _warn(line: str) -> None:
    print(f"warning: {line}", file=sys.stderr)
