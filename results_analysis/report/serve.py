"""Serves a report to this machine only, and rewrites it while the run continues."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from results_analysis.runs.run import Run, RunError
from results_analysis.runs.training_run import Trained
from trainables.run_folder.layout import RunFileError

EVERY_S = 10.0
"""Seconds between two checks of the run's files."""
_OURS = frozenset({"localhost", "127.0.0.1"})


def report_server(file: Path, port: int) -> ThreadingHTTPServer:
    """Server of one file, on the loopback interface only.

    Args:
        file: the report.
        port: port to listen on; 0: any free one.
    Raises:
        OSError: if the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(body=True)

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def _answer(self, *, body: bool) -> None:
            # DNS rebinding: another site may point its name at this server; its requests name that host.
            if (self.headers.get("Host") or "").rsplit(":", 1)[0] not in _OURS:
                self.send_error(HTTPStatus.FORBIDDEN)
            elif self.path.split("?")[0] != "/":
                self.send_error(HTTPStatus.NOT_FOUND)
            else:
                version = (
                    file.stat().st_mtime_ns
                )  # before reading: if the file is rewritten in between, the page reloads
                text = file.read_bytes()
                self.send_response(HTTPStatus.OK)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(text)))
                self.send_header("Cache-Control", "no-store")
                self.send_header("ETag", f'"{version}"')
                self.end_headers()
                if body:
                    self.wfile.write(text)

        def log_message(self, format: str, *args: object) -> None:
            """Logs nothing, so that the terminal shows only where the page is."""

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


def state_of(run: Run | Trained) -> tuple[tuple[str, int], ...]:
    """State of a run's files; it changes whenever a trial starts, ends or finishes an epoch."""
    found: list[tuple[str, int]] = []
    for folder in run.layout.all_trials() if isinstance(run, Run) else [run.folder]:
        for file in (folder.trial, folder.epochs, folder.val_predictions, folder.error):
            try:
                found.append((f"{folder.root.name}/{file.name}", file.stat().st_mtime_ns))
            except FileNotFoundError:
                continue
    return tuple(found)


def keep_writing(
    run: Run | Trained, write: Callable[[], object], ended: threading.Event, *, every_s: float = EVERY_S
) -> None:
    """Writes the report whenever the run has changed, until `ended` is set.

    Args:
        run: the run to watch.
        write: writes the report.
        ended: set from another thread to stop.
        every_s: seconds between two checks.
    """
    before = state_of(run)
    while not ended.wait(every_s):
        now = state_of(run)
        if now == before:
            continue
        try:
            write()
        except (RunError, RunFileError, OSError):
            continue  # a half-written file or a full disk: the next check may succeed
        before = now
