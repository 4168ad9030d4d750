"""`building.json` of a trial: what it computes for its cache and how far it is, for who watches the search. Plain data."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path

from trainables.core.atomic_write import replacing


class Building:
    """Writes the file at most once in a while, and takes it away when all is computed."""

    def __init__(self, file: Path, *, every_s: float = 1.0):
        """
        Args:
            every_s: what is computed in less is never written.
        """
        self._file, self._every_s = file, every_s
        self._due, self._done = 0.0, 0
        file.unlink(missing_ok=True)  # of a worker that was killed

    def progress(self, what: str) -> Callable[[int, int], None]:
        """To be called as `progress(done, total)` while `what` is done: `computing features`."""

        def show(done: int, total: int) -> None:
            now = time.monotonic()
            if done <= self._done or not self._done:
                self._due = now + self._every_s  # another one begins
            self._done = done if done < total else 0
            with contextlib.suppress(OSError):  # what is computed matters more than that it is seen
                if done >= total:
                    self._file.unlink(missing_ok=True)
                elif now >= self._due:
                    self._due = now + self._every_s
                    with replacing(self._file) as file:
                        json.dump({"what": what, "done": done, "total": total}, file)

        return show


def read_building(file: Path) -> tuple[str | None, float]:
    """`computing features 1200/3000` and since when it is known, in seconds since 1970; None where nothing is computed."""
    try:
        at = file.stat().st_mtime
        told = json.loads(file.read_bytes())
        return f"{told['what']} {told['done']}/{told['total']}", at
    except (OSError, ValueError, KeyError, TypeError):
        return None, 0.0
