"""`thaw results`: the trials of a search."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from search.commands.options import Name, Runs


def results(
    name: Name,
    runs: Runs = Path("runs"),
    sort: Annotated[str, typer.Option(help="Column to sort by; -column turns it round.")] = "score",
    where: Annotated[str | None, typer.Option(help="Which trials: \"status == 'finished' and score > 0.5\".")] = None,
    top: Annotated[int | None, typer.Option(min=1, help="Only the first so many.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Every column, as CSV.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Every column, as JSON.")] = False,
) -> None:
    """Show a search's trials."""
    from rich.console import Console

    from results_analysis import find_run, load, render, results_table, to_csv, to_json

    run = load(find_run(name, runs))
    table = results_table(run, sort=sort, where=where, top=top)
    if as_csv or as_json:
        typer.echo((to_csv if as_csv else to_json)(table), nl=False)
    else:
        console = Console()
        console.print(render(table, run.metric, width=console.width))
