"""Shows a report on this machine only, and writes it anew as its run goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from results_analysis.runs.run import Run, RunError
from trainables.run_folder.layout import RunFileError

EVERY_S = 10.0
"""Seconds between two looks at the run's files."""
_OURS = frozenset({"localhost", "127.0.0.1"})


def report_server(file: Path, port: int) -> ThreadingHTTPServer:
    """A server of one file, on the loopback interface.

    Args:
        port: 0 for any that is free.
    Raises:
        OSError: if the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(body=True)

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def _answer(self, *, body: bool) -> None:
            # A page from elsewhere may have its name point here: its requests name another host.
            if (self.headers.get("Host") or "").rsplit(":", 1)[0] not in _OURS:
                self.send_error(HTTPStatus.FORBIDDEN)
            elif self.path.split("?")[0] != "/":
                self.send_error(HTTPStatus.NOT_FOUND)
            else:
                version = file.stat().st_mtime_ns  # before: a page that is written anew in between is asked for again
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
            """Nothing: the terminal tells where the page is, and that is all."""

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


def state_of(run: Run) -> tuple[tuple[str, int], ...]:
    """Changes whenever a trial begins, ends or has done an epoch."""
    found: list[tuple[str, int]] = []
    for folder in run.layout.all_trials():
        for file in (folder.trial, folder.epochs):
            try:
                found.append((f"{folder.root.name}/{file.name}", file.stat().st_mtime_ns))
            except FileNotFoundError:
                continue
    return tuple(found)


def keep_writing(run: Run, write: Callable[[], object], ended: threading.Event, *, every_s: float = EVERY_S) -> None:
    """Writes the report whenever the run has changed, until `ended` is set."""
    before = state_of(run)
    while not ended.wait(every_s):
        now = state_of(run)
        if now == before:
            continue
        try:
            write()
        except (RunError, RunFileError, OSError):
            continue  # a file that is being written, or a disk that is full for a while: the next look may find it well
        before = now
