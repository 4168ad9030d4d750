"""What a run cannot answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class RunError(ValueError):
    """A run that is not there, cannot be read, or cannot answer what was asked of it."""


@contextmanager
def as_run_error() -> Iterator[None]:
    """What cannot be read or asked is the run's problem."""
    try:
        yield
    except ValueError as error:
        raise error if isinstance(error, RunError) else RunError(str(error)) from None
