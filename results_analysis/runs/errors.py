"""The error for runs that cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class RunError(ValueError):
    """A run does not exist, cannot be read, or has no answer to a request."""


@contextmanager
def as_run_error() -> Iterator[None]:
    """Turns a ValueError into a `RunError` with the same message."""
    try:
        yield
    except ValueError as error:
        raise error if isinstance(error, RunError) else RunError(str(error)) from None
