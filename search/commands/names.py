"""Files and runs as people name them."""

from __future__ import annotations

import sys
from pathlib import Path

from trainables.storage.destination import without_passwords


def short(path: Path) -> str:
    """Relative to here where that is shorter."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def said(run: Path) -> str:
    """How the user names a run on the command line."""
    return run.name if run.parent == Path("runs").absolute() else short(run)


def local(run: str, runs: Path) -> str:
    """A run's name or folder; of one at a URL the folder below `runs` to which it is brought."""
    from trainables.storage.urls import is_url

    if not is_url(run):
        return run
    from search.run_folder.fetch_mirror import fetch

    folder = fetch(run, runs)
    print(f"{short(folder)}: the run at {without_passwords(run)}", file=sys.stderr)
    return str(folder)
