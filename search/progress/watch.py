"""`thaw watch`: shows a search from its run folder, in another shell or after its end."""

from __future__ import annotations

import time
from pathlib import Path

from rich.live import Live

from results_analysis import Run, load
from search.progress.folder_watcher import Follower
from search.progress.render import Picture, draw
from search.progress.search_state import SearchState
from search.progress.terminal import Console
from search.run_folder.run_lock import is_owned
from search.run_folder.status_file import RunStatus, read_status, seconds
from trainables.core.printable import command_line
from trainables.core.rungs import Rungs
from trainables.run_folder.layout import RunLayout

EVERY_S = 1.0
"""Seconds between two looks at the folder."""


class Watcher:
    """Reads the state of a run from its folder, again and again."""

    def __init__(self, folder: Path):
        """
        Raises:
            RunError: if the folder is not a run, or its config cannot be read.
        """
        self._run: Run = load(folder)
        self._layout = RunLayout(folder)
        self._attempt: int | None = None
        self.running = False
        """True if the run had a driver at the last look."""

    def update(self) -> Picture:
        """Reads the current state of the folder."""
        # Read first: a driver that ends meanwhile has then written all of the rest.
        self.running = is_owned(self._layout)
        status = read_status(self._layout)
        if self._attempt is None or (status is not None and status.attempt != self._attempt):
            self._begin(status)
        self._follower.update()
        now = time.time()
        state = state_line(
            self._run.name, self._search_state, status, running=self.running, stopping=self._layout.stop.exists()
        )
        return Picture(
            self._run.name,
            self._search_state,
            now=now,
            state=state,
            usage=status.usage if status and self.running else None,
        )

    def _begin(self, status: RunStatus | None) -> None:
        """Starts over for a new attempt, so that the pace is that of this attempt."""
        settings = self._run.config.get("search") or {}
        self._attempt = status.attempt if status else 0
        self._search_state = SearchState(
            status.trials if status else settings.get("trials", 0),
            self._run.metric,
            started=seconds(status.started) if status else 0.0,
            rungs=status.rungs if status else Rungs(),
        )
        self._follower = Follower(self._layout, self._search_state)


def state_line(
    name: str, search_state: SearchState, status: RunStatus | None, *, running: bool, stopping: bool
) -> str | None:
    """State of a run's driver as text; None if it is running.

    Args:
        name: name of the run.
        search_state: state of its trials.
        status: what the driver last wrote; None if there is no such file.
        running: True if the run has a driver.
        stopping: True if the driver has been asked to stop.
    """
    if running:
        if stopping:
            return "stopping"
        # The status is from the attempt before: the new driver has not written its own yet.
        return None if status is None or status.state == "running" else "starting"
    if status is not None and status.state == "complete":
        return "complete"
    what = "not running"
    if status is not None:
        killed = f"its driver was killed (process {status.pid} on {status.host})"
        what = {"running": killed, "stopped": "stopped", "failed": "its driver failed"}[status.state]
    return what + (f"; resume with {command_line('resume', name)}" if search_state.ended < search_state.total else "")


def watch(folder: Path, console: Console, *, once: bool) -> None:
    """Shows a run until its driver ends, or only once.

    Args:
        folder: the run folder.
        console: shows the run.
        once: True to show the current state and return.
    """
    watcher = Watcher(folder)
    picture = watcher.update()
    if once or not console.is_terminal or not watcher.running:
        console.print(draw(picture))
        return
    with Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(draw(picture, height=console.height), refresh=True)
            if not watcher.running:
                return
            time.sleep(EVERY_S)
            picture = watcher.update()
