"""Paths and run names as users read and type them."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from trainables.core.printable import shown
from trainables.run_folder.layout import RunLayout
from trainables.storage.destination import without_passwords


def short(path: Path) -> str:
    """Path relative to the current folder, if it is below it."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def cli_name(run: Path) -> str:
    """Name or path by which a command finds the run, as it is typed in a shell."""
    return shell_path(Path(run.name) if run.parent == Path("runs").absolute() else run)


def shell_path(path: Path) -> str:
    """Path as it is typed in a shell, relative to the current folder if it is below it."""
    text = short(path) if path.is_absolute() else str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def say(text: str, *, error: bool = False) -> None:
    """Prints lines, without characters that a terminal would obey.

    Args:
        text: one or several lines.
        error: True for standard error.
    """
    print(shown(text), file=sys.stderr if error else sys.stdout)


def search_again(run: RunLayout) -> str:
    """Command that starts the search of a run again, in a new folder."""
    return f"thaw search {shell_path(run.config)} --new"


def local(run: str, runs: Path) -> str:
    """Name or folder of a run; a run at a URL is first downloaded to a folder below `runs`."""
    from trainables.storage.urls import is_url

    if not is_url(run):
        return run
    from search.run_folder.fetch_mirror import fetch

    folder = fetch(run, runs)
    say(f"{short(folder)}: copy of {without_passwords(run)}", error=True)
    return str(folder)
