"""`thaw watch`: a search as its folder tells it, from another shell or after its end."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console
from rich.live import Live

from results_analysis import Run, load
from search.progress.folder_watcher import Follower
from search.progress.render import Picture, draw
from search.progress.search_state import Tally
from search.run_folder.run_lock import is_owned
from search.run_folder.status_file import RunStatus, read_status, seconds
from trainables.core.rungs import Rungs
from trainables.run_folder.layout import RunLayout

EVERY_S = 1.0


class Watcher:
    """Pictures of a run."""

    def __init__(self, folder: Path):
        """
        Raises:
            RunError: if it is no run's, or its config cannot be read.
        """
        self._run: Run = load(folder)
        self._layout = RunLayout(folder)
        self._attempt: int | None = None
        self.running = False
        """Whether a driver had the run when it was looked at last."""

    def look(self) -> Picture:
        """What the folder says now."""
        # Before the rest is read, so that a driver that ends meanwhile has written all of it.
        self.running = is_owned(self._layout)
        status = read_status(self._layout)
        if self._attempt is None or (status is not None and status.attempt != self._attempt):
            self._begin(status)
        self._follower.look()
        now = time.time()
        state = state_line(
            self._run.name, self._tally, status, running=self.running, stopping=self._layout.stop.exists()
        )
        return Picture(
            self._run.name, self._tally, now=now, state=state, usage=status.usage if status and self.running else None
        )

    def _begin(self, status: RunStatus | None) -> None:
        """Of a resumed search all is read anew: its pace is that of the new attempt."""
        settings = self._run.config.get("search") or {}
        self._attempt = status.attempt if status else 0
        self._tally = Tally(
            status.trials if status else settings.get("trials", 0),
            self._run.metric,
            started=seconds(status.started) if status else 0.0,
            rungs=status.rungs if status else Rungs(),
        )
        self._follower = Follower(self._layout, self._tally)


def state_line(name: str, tally: Tally, status: RunStatus | None, *, running: bool, stopping: bool) -> str | None:
    """What is to be said of a run's driver; None: it is running."""
    if running:
        if stopping:
            return "stopping"
        # Of the attempt before: the new driver has not come to say anything.
        return None if status is None or status.state == "running" else "starting"
    if status is not None and status.state == "complete":
        return "complete"
    what = "not running"
    if status is not None:
        killed = f"its driver was killed (process {status.pid} on {status.host})"
        what = {"running": killed, "stopped": "stopped", "failed": "its driver failed"}[status.state]
    return what + (f"; go on with thaw resume {name}" if tally.ended < tally.total else "")


def watch(folder: Path, console: Console, *, once: bool) -> None:
    """Shows a run until its driver ends, or once."""
    watcher = Watcher(folder)
    picture = watcher.look()
    if once or not console.is_terminal or not watcher.running:
        console.print(draw(picture))
        return
    with Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(draw(picture, height=console.height), refresh=True)
            if not watcher.running:
                return
            time.sleep(EVERY_S)
            picture = watcher.look()
