"""A copy of what a run needs to go on, in another place: a folder, or a URL that fsspec knows."""

from __future__ import annotations

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import fsspec

from trainables.run_folder.layout import TrialLayout
from trainables.storage.remote_folder import write_whole

logger = logging.getLogger(__name__)


class BackupError(OSError):
    """A copy that could not be made. Its text names the place."""


def back_up(run: TrialLayout, place: str) -> str:
    """Makes the copy equal the run: what is missing or differs is copied, checkpoints that were rotated out are removed.

    Each file appears whole or not at all; the records come last, so that they never name what is not there. A copy that is put in
    the place of the run's folder goes on like the run itself.

    Args:
        place: the folder or URL below which the run's copy lies, under the run's own name.
    Returns:
        Where the copy is.
    Raises:
        BackupError: if that cannot be done, or another run's copy is there.
    """
    target = f"{place.rstrip('/')}/{run.place.as_posix()}"
    try:
        system, root = fsspec.core.url_to_fs(target)
        _refuse_another_run(run, system, f"{root}/{run.recipe.name}", target)
        checkpoints = f"{root}/{run.checkpoints.name}"
        system.makedirs(checkpoints, exist_ok=True)
        system.invalidate_cache()
        found = system.find(
            checkpoints, maxdepth=1, detail=True
        )  # nothing, not an error, where there is no such folder
        there = {path.rpartition("/")[2]: entry["size"] for path, entry in found.items()}
        files = sorted(run.checkpoints.glob("[0-9]*.pt"))
        for file in files:
            if there.get(file.name) != file.stat().st_size:
                _copy(file, system, f"{checkpoints}/{file.name}")
        for file in (run.recipe, run.environment, run.epochs, run.log, run.registry):
            _copy(file, system, f"{root}/{file.name}")
        for name in there.keys() - {file.name for file in files}:
            system.rm_file(f"{checkpoints}/{name}")
    except BackupError:
        raise
    except Exception as error:  # each file system has its own
        raise BackupError(f"{target}: the backup failed: {str(error) or type(error).__name__}") from None
    return target


def _refuse_another_run(run: TrialLayout, system: fsspec.AbstractFileSystem, recipe: str, target: str) -> None:
    if system.exists(recipe) and system.cat_file(recipe) != run.recipe.read_bytes():
        raise BackupError(f"{target} is the copy of a run of another recipe; choose another place, or move it away")


def _copy(file: Path, system: fsspec.AbstractFileSystem, target: str) -> None:
    """A file that is not there is passed over: it was rotated out meanwhile."""
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return
    write_whole(system, target, content)


class Backup:
    """Copies beside the training: one copy at a time, and the newest state in the end. What fails is warned of."""

    def __init__(self, run: TrialLayout, place: str | None):
        self._run, self._place = run, place
        self._threads = ThreadPoolExecutor(1, "backup") if place else None
        self._last: Future[None] | None = None

    def ask(self) -> None:
        """There is something new. Returns at once."""
        # One that waits for its turn will find the newest state, too.
        if self._threads and (self._last is None or self._last.running() or self._last.done()):
            self._last = self._threads.submit(self._copy)

    def close(self) -> None:
        """Waits until all that was asked for is copied."""
        if self._threads:
            self._threads.shutdown()

    def _copy(self) -> None:
        assert self._place is not None
        try:
            back_up(self._run, self._place)
        except BackupError as error:
            logger.warning("%s", error)
