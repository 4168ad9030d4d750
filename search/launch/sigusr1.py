"""Handles SIGUSR1, which asks a training run for a checkpoint."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from trainables.run_folder.checkpoint_registry import read_registry
from trainables.run_folder.layout import RunFileError, TrialLayout


class SaveSignals:
    """Signals of a run's process that ask for a checkpoint, and the checkpoints that answer them."""

    def __init__(self, folder: TrialLayout):
        self._folder = folder
        self._asked = False
        try:
            self._answered = self._saved()
        except RunFileError:  # resuming mends it
            self._answered = set()

    def ask(self) -> None:
        """Asks the run to save its current epoch, like `thaw checkpoints RUN save`."""
        with suppress(OSError):  # of a full disk; raised by a signal it would end the run
            self._folder.save_request.touch()
        self._asked = True

    def answer(self) -> Path | None:
        """Path of a checkpoint that was saved since the last signal; None if there was no signal, or it is not saved yet."""
        if not self._asked:
            return None
        new = self._saved() - self._answered
        self._answered |= new
        self._asked = not new
        return max(new, default=None)

    def _saved(self) -> set[Path]:
        entries = read_registry(self._folder.registry)
        return {self._folder.checkpoints / entry.file for entry in entries if entry.on_demand}


@contextmanager
def sigusr1_saves(folder: TrialLayout) -> Iterator[SaveSignals]:
    """Within the context, SIGUSR1 makes the run in the folder save its current epoch.

    Yields:
        Its signals.
    """
    signals = SaveSignals(folder)
    before = signal.signal(signal.SIGUSR1, lambda *_: signals.ask())
    try:
        yield signals
    finally:
        signal.signal(signal.SIGUSR1, before)
