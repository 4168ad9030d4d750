"""Backup of everything a run needs to resume, in another folder or at a URL that fsspec supports."""

from __future__ import annotations

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import fsspec

from trainables.run_folder.layout import TrialLayout
from trainables.storage.remote_folder import write_whole

logger = logging.getLogger(__name__)


class BackupError(OSError):
    """A backup that failed. The message names the destination."""


def back_up(run: TrialLayout, place: str) -> str:
    """Makes the backup equal to the run: copies files that are missing or differ, and removes checkpoints that were rotated out.

    Each file appears whole or not at all. The records are written last, so they never name a checkpoint that is not there yet.
    A backup that is put back in the place of the run's folder can be resumed like the run itself.

    Args:
        run: folder of the run.
        place: folder or URL; the backup lies below it, under the run's own name.
    Returns:
        Path or URL of the backup.
    Raises:
        BackupError: if copying fails, or the backup of another run is there.
    """
    target = f"{place.rstrip('/')}/{run.place.as_posix()}"
    try:
        system, root = fsspec.core.url_to_fs(target)
        _refuse_another_run(run, system, f"{root}/{run.recipe.name}", target)
        checkpoints = f"{root}/{run.checkpoints.name}"
        system.makedirs(checkpoints, exist_ok=True)
        system.invalidate_cache()
        found = system.find(checkpoints, maxdepth=1, detail=True)  # a missing folder yields nothing and is not an error
        existing = {path.rpartition("/")[2]: entry["size"] for path, entry in found.items()}
        files = sorted(run.checkpoints.glob("[0-9]*.pt"))
        for file in files:
            if existing.get(file.name) != file.stat().st_size:
                _copy(file, system, f"{checkpoints}/{file.name}")
        for file in (run.recipe, run.environment, run.epochs, run.log, run.registry):
            _copy(file, system, f"{root}/{file.name}")
        for name in existing.keys() - {file.name for file in files}:
            system.rm_file(f"{checkpoints}/{name}")
    except BackupError:
        raise
    except Exception as error:  # each file system raises its own kinds
        raise BackupError(f"{target}: the backup failed: {str(error) or type(error).__name__}") from None
    return target


def _refuse_another_run(run: TrialLayout, system: fsspec.AbstractFileSystem, recipe: str, target: str) -> None:
    if system.exists(recipe) and system.cat_file(recipe) != run.recipe.read_bytes():
        raise BackupError(f"{target} is the backup of a run with another recipe; choose another place, or move it away")


def _copy(file: Path, system: fsspec.AbstractFileSystem, target: str) -> None:
    """Copies a file; skips one that has been rotated out in the meantime."""
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return
    write_whole(system, target, content)


class Backup:
    """Makes backups in the background, one at a time; the last one has the newest state. Failures are logged as warnings."""

    def __init__(self, run: TrialLayout, place: str | None):
        self._run, self._place = run, place
        self._threads = ThreadPoolExecutor(1, "backup") if place else None
        self._last: Future[None] | None = None

    def request(self) -> None:
        """Requests a backup of the newest state; returns at once."""
        # A backup that is still waiting for its turn will copy the newest state as well.
        if self._threads and (self._last is None or self._last.running() or self._last.done()):
            self._last = self._threads.submit(self._copy)

    def close(self) -> None:
        """Waits until all requested backups are done."""
        if self._threads:
            self._threads.shutdown()

    def _copy(self) -> None:
        assert self._place is not None
        try:
            back_up(self._run, self._place)
        except BackupError as error:
            logger.warning("%s", error)
