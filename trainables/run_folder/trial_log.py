"""`log.txt` of a trial: what is logged, warned of and printed while it runs, by Python or by the libraries below it."""

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
"""Bytes of a log; of a longer one the first and the last quarter stay."""

_FORMAT = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%d %H:%M:%S")


class TrialLog:
    """Takes over a worker's output for as long as it works for one trial: workers are reused for others."""

    def __init__(self, file: Path):
        self._file = file
        file.parent.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            pass  # Python then warns anew of what it warned of in the trial before

    @contextmanager
    def taking(self) -> Iterator[None]:
        """Inside, output goes to the log; an exception is written there and goes on."""
        with ExitStack() as stack:
            # Appending, so that nothing tears where an older attempt's worker still writes, or when the log is shortened.
            stream = stack.enter_context(self._file.open("a", encoding="utf-8", errors="backslashreplace", buffering=1))
            for taken in (
                _descriptors_to(stream),
                redirect_stdout(stream),
                redirect_stderr(stream),
                _logging_to(stream),
            ):
                stack.enter_context(taken)
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
    """Standard output and error of the process, which libraries outside Python write to."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    kept = {number: os.dup(number) for number in (1, 2)}
    try:
        for number in kept:
            os.dup2(target.fileno(), number)
        yield
    finally:
        for number, before in kept.items():
            os.dup2(before, number)
            os.close(before)


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
