"""One process at a time writes a run's folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import filelock

from search.source import InputError
from trainables.layout import RunLayout, TrialLayout


@contextmanager
def owned(layout: RunLayout | TrialLayout) -> Iterator[None]:
    """Holds a run's folder against others; makes it where there is none. The lock of a dead process does not hold.

    Raises:
        InputError: if another process has it.
    """
    layout.root.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(layout.lock, timeout=0):
            try:
                yield
            finally:
                if list(layout.root.iterdir()) == [layout.lock]:  # nothing came of it
                    layout.lock.unlink()
                    layout.root.rmdir()
    except filelock.Timeout:
        raise InputError(f"{layout.root} is in use: it is running in another process") from None
