"""`building.json` of a trial: progress of what it is computing for its cache, shown by `thaw watch`. Plain data."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path

from trainables.core.atomic_write import replacing


class CacheProgress:
    """Writes the progress file at intervals, and deletes it when the computation is done."""

    def __init__(self, file: Path, *, every_s: float = 1.0):
        """Deletes a progress file that a killed worker has left.

        Args:
            file: the progress file.
            every_s: seconds between two writes; a computation that takes less is never written.
        """
        self._file, self._every_s = file, every_s
        self._due, self._done = 0.0, 0
        file.unlink(missing_ok=True)

    def progress(self, what: str) -> Callable[[int, int], None]:
        """Returns a callback `progress(done, total)` for one kind of work, such as `computing features`."""

        def show(done: int, total: int) -> None:
            now = time.monotonic()
            if done <= self._done or not self._done:
                self._due = now + self._every_s  # a new computation begins
            self._done = done if done < total else 0
            with contextlib.suppress(OSError):  # a progress file that cannot be written must not stop the computation
                if done >= total:
                    self._file.unlink(missing_ok=True)
                elif now >= self._due:
                    self._due = now + self._every_s
                    with replacing(self._file) as file:
                        json.dump({"what": what, "done": done, "total": total}, file)

        return show


def read_cache_progress(file: Path) -> tuple[str | None, float]:
    """Returns the progress, such as `computing features 1200/3000`, and the time it was written, in seconds since 1970.

    None and 0 if nothing is being computed.
    """
    try:
        at = file.stat().st_mtime
        progress = json.loads(file.read_bytes())
        return f"{progress['what']} {progress['done']}/{progress['total']}", at
    except (OSError, ValueError, KeyError, TypeError):
        return None, 0.0
