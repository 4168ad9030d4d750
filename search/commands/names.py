"""Paths and run names as users read and type them."""

from __future__ import annotations

import sys
from pathlib import Path

from trainables.core.printable import command_line, shown
from trainables.run_folder.layout import RunLayout
from trainables.storage.destination import without_passwords


def short(path: Path) -> str:
    """Path relative to the current folder, if it is below it."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def cli_name(run: Path) -> str:
    """Name or path by which a command finds the run; see `command_line`."""
    return path_word(Path(run.name) if run.parent == Path("runs").absolute() else run)


def path_word(path: Path) -> str:
    """Path as a word of a command, relative to the current folder if it is below it; never taken for an option."""
    text = short(path) if path.is_absolute() else str(path)
    return f"./{text}" if text.startswith("-") else text


def say(text: str, *, error: bool = False) -> None:
    """Prints lines, without characters that a terminal would obey.

    Args:
        text: one or several lines.
        error: True for standard error.
    """
    print(shown(text), file=sys.stderr if error else sys.stdout)


def search_again(run: RunLayout) -> str:
    """Command that starts the search of a run again, in a new folder."""
    return command_line("search", path_word(run.config), "--new")


def local(run: str, runs: Path) -> str:
    """Name or folder of a run; a run at a URL is first downloaded to a folder below `runs`."""
    from trainables.storage.urls import is_url

    if not is_url(run):
        return run
    from search.run_folder.fetch_mirror import fetch

    folder = fetch(run, runs)
    say(f"{short(folder)}: copy of {without_passwords(run)}", error=True)
    return str(folder)
