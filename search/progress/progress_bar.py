"""Progress bar with an estimate of the remaining time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from search.progress.terminal import Console

_EVERY_S = 0.05
"""Seconds between two updates: a step of training may take less than a millisecond."""


@contextmanager
def bar(console: Console, what: str) -> Iterator[Callable[[int, int], None]]:
    """Yields `show(done, total)`. The bar is visible only in a terminal, from the first call until all is done."""
    with changing_bar(console) as show:
        yield partial(show, what)


@contextmanager
def changing_bar(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """Yields `show(what, done, total)`, for work of several kinds, one after the other or one within the other."""
    if not console.is_terminal:
        yield lambda _what, _done, _total: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task, shown, due = progress.add_task("", visible=False), "", 0.0

        def show(what: str, done: int, total: int) -> None:
            nonlocal shown, due
            now = time.monotonic()
            if what != shown:
                progress.reset(task, description=what)
                shown = what
            elif done < total and now < due:
                return
            due = now + _EVERY_S
            progress.update(task, completed=done, total=total, visible=True, refresh=done == total)
            if done == total:
                progress.update(task, visible=False)

        yield show
