"""Users' own code, which files name as `module:function`: a command runs it only if it trusts the file that names it.

A file that the user wrote and gives to a command is trusted; a model, an exported config and a run's folder may come from anybody.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path

_trusted: set[str] | None = None
"""Names that may be imported; None: all of them, as in a worker, which only gets what its driver has checked, and in Python."""

ADVICE = "if you trust it, add --trust-code"


@contextmanager
def only_trusted_code() -> Iterator[None]:
    """Within the block, code is refused unless `trust` or `trust_all` has been called."""
    global _trusted
    before, _trusted = _trusted, set()
    try:
        yield
    finally:
        _trusted = before


def trust(names: Iterable[str]) -> None:
    """Lets this process import some functions, given as `module:function`."""
    if _trusted is not None:
        _trusted.update(names)


def trust_all() -> None:
    """Lets this process import all functions."""
    global _trusted
    _trusted = None


def is_trusted(name: str) -> bool:
    """True if this process may import a function."""
    return _trusted is None or name in _trusted


def refusal(name: str) -> str:
    """Message about a function that is not trusted: the file that would be imported."""
    module = name.partition(":")[0].partition(".")[0]
    spec = PathFinder.find_spec(module, [str(Path.cwd()), *sys.path])  # imports nothing
    where = f"{module}, which is not here," if spec is None else spec.origin or module
    return f"{name} is code: {where} would be imported and run; {ADVICE}"
