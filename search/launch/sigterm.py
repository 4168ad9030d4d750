"""Handles SIGTERM, which schedulers send to preempt a process, like Ctrl+C."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """Turns SIGTERM into SIGINT within the context: runs and Ray stop cleanly only on SIGINT."""

    def interrupt(_signal: int, frame: FrameType | None) -> None:
        # Not raise_signal(SIGINT): a shell script's background jobs inherit SIGINT ignored, and would ignore SIGTERM, too.
        on_ctrl_c = signal.getsignal(signal.SIGINT)
        if not callable(on_ctrl_c):
            raise KeyboardInterrupt
        on_ctrl_c(signal.SIGINT, frame)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
