"""`thaw checkpoints`: inspects and manages the checkpoints of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search.commands.names import short
from search.commands.options import Name, Runs, TrustCode
from trainables.core.printable import command_line

if TYPE_CHECKING:
    from search.progress.terminal import Console
    from trainables.run_folder.layout import TrialLayout

_WORDS = {"list": (), "save": (), "verify": (), "compare": ("A", "B"), "report": (), "backup": ("DEST",), "prune": ()}
"""Action -> the arguments that it takes."""


def checkpoints(
    name: Name,
    action: Annotated[str, typer.Argument(metavar="ACTION", help=f"{', '.join(_WORDS)}.")] = "list",
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ARGUMENT",
            help="compare takes two of: best, newest, an epoch, a file. backup takes a folder or URL.",
        ),
    ] = None,
    runs: Runs = Path("runs"),
    trial: Annotated[int | None, typer.Option(min=0, metavar="N", help="Trial, if the run is a search.")] = None,
    best_only: Annotated[bool, typer.Option("--best-only", help="With prune: keep only the best checkpoint.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="With report: .html or .md file. Default: checkpoints.html in the run.",
        ),
    ] = None,
    trust_code: TrustCode = False,
) -> None:
    """List, save, verify, compare, copy or remove checkpoints.

    save asks a run that is being trained for a checkpoint of its current epoch, which is kept for good. report writes a
    page about all of them; prune removes those that the policy in the recipe does not keep.

    Example: thaw checkpoints photos compare 4 best --trial 7
    """
    from search.artifacts.checkpoint_actions import folder_of
    from search.config.yaml_source import InputError
    from search.progress.terminal import Console
    from trainables.core.own_code import trust_all

    if trust_code:
        trust_all()
    arguments = tuple(words or ())
    if action not in _WORDS:
        swapped = f"the run comes first: {command_line('checkpoints', action, name)}" if name in _WORDS else None
        choices = f"unknown action; choose from {', '.join(_WORDS)}"
        raise InputError(f"{command_line('checkpoints', name, action)}: {swapped or choices}")
    if len(arguments) != len(_WORDS[action]):
        raise InputError(f"usage: {' '.join(('thaw checkpoints', name, action, *_WORDS[action]))}")
    if best_only and action != "prune":
        raise InputError("--best-only needs the action prune")
    if output is not None and action != "report":
        raise InputError("--output needs the action report")
    folder, console = folder_of(name, runs, trial), Console()
    if action == "prune":
        _prune(folder, console, best_only=best_only)
    elif action == "report":
        _report(folder, console, output)
    else:
        _ACTIONS[action](folder, console, *arguments)


def _list(folder: TrialLayout, console: Console) -> None:
    from search.artifacts.checkpoint_tables import listing, summary
    from trainables.run_folder.checkpoint_registry import read_registry

    entries = read_registry(folder.registry)
    console.print(listing(entries, folder))
    console.out(summary(entries, folder), highlight=False)


def _verify(folder: TrialLayout, console: Console) -> None:
    from search.artifacts.checkpoint_actions import verified

    bad = False
    for path, fault in verified(folder):
        bad = bad or fault is not None
        console.out(fault or f"good: {path.name}", highlight=False)
    raise typer.Exit(1 if bad else 0)


def _compare(folder: TrialLayout, console: Console, a: str, b: str) -> None:
    from search.artifacts.checkpoint_actions import compared
    from search.artifacts.checkpoint_tables import comparison

    console.print(comparison(*compared(folder, a, b)))


def _report(folder: TrialLayout, console: Console, output: Path | None) -> None:
    from results_analysis.report.checkpoints.write import write_report

    for file in write_report(folder, output):
        console.out(f"Wrote: {short(file)}", highlight=False)


def _save(folder: TrialLayout, console: Console) -> None:
    from search.artifacts.save_on_demand import request_save, saved_on_demand, wait_for_save

    before = saved_on_demand(folder)
    request_save(folder)
    console.out("waiting for the end of the current epoch", highlight=False)
    console.out(f"Saved: {short(wait_for_save(folder, before))}", highlight=False)


def _backup(folder: TrialLayout, console: Console, place: str) -> None:
    from trainables.checkpoints.backup import back_up

    console.out(f"Copy: {back_up(folder, place)}", highlight=False)


def _prune(folder: TrialLayout, console: Console, *, best_only: bool) -> None:
    from search.artifacts.checkpoint_actions import prune

    gone = prune(folder, best_only=best_only)
    for path in gone:
        console.out(f"removed: {path.name}", highlight=False)
    console.out("nothing to remove" if not gone else f"{len(gone)} removed", highlight=False)


_ACTIONS: dict[str, Callable[..., None]] = {
    "list": _list,
    "save": _save,
    "verify": _verify,
    "compare": _compare,
    "backup": _backup,
}
