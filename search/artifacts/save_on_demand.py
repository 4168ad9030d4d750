"""`thaw checkpoints RUN save`: asks the process that trains a run for a checkpoint, and waits for it."""

from __future__ import annotations

import time
from pathlib import Path

from search.config.yaml_source import InputError
from search.run_folder.run_lock import is_owned
from trainables.core.vocabulary import TrialStatus
from trainables.run_folder.checkpoint_registry import read_registry
from trainables.run_folder.layout import TrialLayout
from trainables.run_folder.trial_record import read_record

_EVERY_S = 0.2


def request_save(folder: TrialLayout) -> None:
    """Asks the process that trains the run to save the current epoch when it is over.

    Raises:
        InputError: if the run is not being trained.
    """
    if not _is_trained(folder):
        raise InputError(
            f"{folder.root} is not being trained now; without `save`, this command lists the checkpoints that it has"
        )
    folder.save_request.touch()


def saved_on_demand(folder: TrialLayout) -> set[Path]:
    """Checkpoints of the run that were saved on demand and exist."""
    entries = read_registry(folder.registry)
    return {path for entry in entries if entry.on_demand and (path := folder.checkpoints / entry.file).is_file()}


def wait_for_save(folder: TrialLayout, before: set[Path]) -> Path:
    """Waits until a requested checkpoint is on disk.

    Args:
        folder: folder of the run.
        before: result of `saved_on_demand` before it was requested.
    Returns:
        Path of the checkpoint.
    Raises:
        InputError: if the run ends without it.
    """
    try:
        while True:
            is_trained = _is_trained(folder)
            if new := saved_on_demand(folder) - before:
                return max(new)
            if not is_trained:
                raise InputError(f"{folder.root} ended before its current epoch was over; nothing was saved on demand")
            time.sleep(_EVERY_S)
    finally:
        folder.save_request.unlink(missing_ok=True)


def _is_trained(folder: TrialLayout) -> bool:
    search = folder.search
    if search is None:
        return is_owned(folder)
    return is_owned(search) and read_record(folder).status is TrialStatus.RUNNING
