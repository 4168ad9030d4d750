"""One process at a time writes a run's folder."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

import filelock

from search.config.yaml_source import InputError
from trainables.run_folder.layout import RunLayout, TrialLayout

_PATIENCE_S = 0.3
"""For who only looks whether the folder is owned, and holds the lock for that moment."""


@contextmanager
def owned(layout: RunLayout | TrialLayout) -> Iterator[None]:
    """Holds a run's folder against others; makes it where there is none. The lock of a dead process does not hold.

    Raises:
        InputError: if another process has it.
    """
    layout.root.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(layout.lock, timeout=_PATIENCE_S):
            try:
                yield
            finally:
                if list(layout.root.iterdir()) == [layout.lock]:  # nothing came of it
                    layout.lock.unlink()
                    layout.root.rmdir()
    except filelock.Timeout:
        raise InputError(f"{layout.root} is in use: it is running in another process") from None


def is_owned(layout: RunLayout) -> bool:
    """Whether a process holds the run's folder, on this machine or on another that shares it and its locks."""
    try:
        with layout.lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # closing lets go of it
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
