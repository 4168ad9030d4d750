"""`thaw watch` and `thaw stop`: a running search from another shell."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from search.commands.options import Name, Runs


def watch(
    name: Name,
    runs: Runs = Path("runs"),
    once: Annotated[bool, typer.Option("--once", help="Show how it stands and end.")] = False,
) -> None:
    """Show a search while it runs, or how it ended, from its folder. Ctrl+C ends the watching, not the search."""
    from rich.console import Console

    from results_analysis import find_run
    from search.progress.watch import watch as show

    with suppress(KeyboardInterrupt):
        show(find_run(name, runs), Console(), once=once)


def stop(name: Name, runs: Runs = Path("runs")) -> None:
    """End a running search as Ctrl+C does, from another shell or machine: `thaw resume` goes on with it."""
    import time

    from results_analysis import find_run
    from search.commands.names import said
    from search.run_folder.run_lock import is_owned
    from search.run_folder.status_file import ask_to_stop, forget_stop
    from trainables.run_folder.layout import RunLayout

    layout = RunLayout(find_run(name, runs).absolute())
    if not is_owned(layout):
        typer.echo(f"{layout.root.name} is not running")
        return
    ask_to_stop(layout)
    typer.echo(f"asked {layout.root.name} to stop; waiting for its driver")
    while is_owned(layout):
        time.sleep(0.2)
    forget_stop(layout)  # it may have come to its own end meanwhile
    typer.echo(f"stopped; go on with: thaw resume {said(layout.root)}")
