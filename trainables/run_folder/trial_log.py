"""`log.txt` of a trial: log messages, warnings and prints while it runs, from Python and from native libraries."""

from __future__ import annotations

import logging
import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TextIO

LONGEST = 2 * 2**20
"""Largest size of a log, in bytes; a longer one is cut to a quarter of this from its start and a quarter from its end."""

_FORMAT = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%d %H:%M:%S")


class TrialLog:
    """Redirects a worker's output to the log while it works for a trial; workers are reused for other trials."""

    def __init__(self, file: Path):
        self._file = file
        file.parent.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            pass  # entering and leaving makes Python repeat warnings that the previous trial has already shown

    @contextmanager
    def redirected(self) -> Iterator[None]:
        """Redirects all output inside the block to the log; an exception is written there and raised again."""
        with ExitStack() as stack:
            # Appending, so that lines stay whole while the worker of an older attempt still writes, or the log is shortened.
            stream = stack.enter_context(self._file.open("a", encoding="utf-8", errors="backslashreplace", buffering=1))
            for redirection in (
                _descriptors_to(stream),
                redirect_stdout(stream),
                redirect_stderr(stream),
                _logging_to(stream),
            ):
                stack.enter_context(redirection)
            try:
                yield
            except BaseException:
                traceback.print_exc()
                raise
        self._shorten()

    def _shorten(self) -> None:
        if (size := self._file.stat().st_size) <= LONGEST:
            return
        with self._file.open("r+b") as file:
            first = file.read(LONGEST // 4)
            file.seek(-LONGEST // 4, os.SEEK_END)
            last = file.read()
            file.seek(0)
            file.write(first + f"\n… {size - len(first) - len(last):,} bytes left out …\n".encode() + last)
            file.truncate()


@contextmanager
def _descriptors_to(target: TextIO) -> Iterator[None]:
    """Redirects the process's standard output and error, to which native libraries write."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    originals = {number: os.dup(number) for number in (1, 2)}
    try:
        for number in originals:
            os.dup2(target.fileno(), number)
        yield
    finally:
        for number, original in originals.items():
            os.dup2(original, number)
            os.close(original)


@contextmanager
def _logging_to(stream: TextIO) -> Iterator[None]:
    root, handler = logging.getLogger(), logging.StreamHandler(stream)
    handler.setFormatter(_FORMAT)
    level = root.level
    root.addHandler(handler)
    root.setLevel(min(level, logging.INFO) if level else logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
