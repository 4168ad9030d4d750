"""Lock of a run folder: only one process at a time writes to it."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

import filelock

from search.config.yaml_source import InputError
from trainables.run_folder.layout import RunLayout, TrialLayout

_PATIENCE_S = 0.3
"""Seconds to wait for the lock, because `is_owned` holds it for a moment."""


@contextmanager
def owned(layout: RunLayout | TrialLayout) -> Iterator[None]:
    """Locks a run folder against other processes, and creates it if needed. The lock of a dead process has no effect.

    Raises:
        InputError: if another process has locked it.
    """
    layout.root.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(layout.lock, timeout=_PATIENCE_S):
            try:
                yield
            finally:
                if list(layout.root.iterdir()) == [layout.lock]:  # nothing was written
                    layout.lock.unlink()
                    layout.root.rmdir()
    except filelock.Timeout:
        raise InputError(f"{layout.root} is in use: it is running in another process") from None


def is_owned(layout: RunLayout | TrialLayout) -> bool:
    """True if a process has locked the run folder, on this machine or on another that shares its storage and its locks."""
    try:
        with layout.lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # closing releases it
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
