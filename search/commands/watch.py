"""`thaw watch` and `thaw stop`: show or end a running search from another shell."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from search.commands.names import say
from search.commands.options import Name, Runs
from trainables.core.printable import command_line


def watch(
    name: Name,
    runs: Runs = Path("runs"),
    once: Annotated[bool, typer.Option("--once", help="Show the current state and exit.")] = False,
) -> None:
    """Show the progress of a search from another shell.

    Ctrl+C ends the display, not the search.

    Example: thaw watch photos
    """
    from results_analysis import find_run
    from search.progress.terminal import Console
    from search.progress.watch import watch as show

    with suppress(KeyboardInterrupt):
        show(find_run(name, runs), Console(), once=once)


def stop(name: Name, runs: Runs = Path("runs")) -> None:
    """Stop a running search from another shell.

    Does what Ctrl+C does in the shell of the search; thaw resume continues it.

    Example: thaw stop photos
    """
    import time

    from results_analysis import find_run
    from search.commands.names import cli_name
    from search.run_folder.run_lock import is_owned
    from search.run_folder.status_file import ask_to_stop, forget_stop
    from trainables.run_folder.layout import RunLayout

    layout = RunLayout(find_run(name, runs).absolute())
    if not is_owned(layout):
        say(f"{layout.root.name} is not running")
        return
    ask_to_stop(layout)
    say(f"asked {layout.root.name} to stop; waiting for it to end")
    while is_owned(layout):
        time.sleep(0.2)
    forget_stop(layout)  # the search may have ended by itself in the meantime
    say(f"stopped; resume with: {command_line('resume', cli_name(layout.root))}")
