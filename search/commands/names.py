"""Files and runs as people name them."""

from __future__ import annotations

from pathlib import Path


def short(path: Path) -> str:
    """Relative to here where that is shorter."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def said(run: Path) -> str:
    """How the user names a run on the command line."""
    return run.name if run.parent == Path("runs").absolute() else short(run)
