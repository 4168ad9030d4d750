"""`thaw results`: the trials of a search, or of several."""

from __future__ import annotations

import io
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search.commands.names import local
from search.commands.options import Runs

if TYPE_CHECKING:
    import pandas as pd

    from trainables.core.vocabulary import Metric

_ROWS = 50
"""Shown in a terminal where nobody says how many."""


class Format(StrEnum):
    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    MARKDOWN = "markdown"
    PARQUET = "parquet"


def results(
    names: Annotated[list[str], typer.Argument(metavar="RUN...", help="Names of runs, or their folders.")],
    runs: Runs = Path("runs"),
    sort: Annotated[
        str | None, typer.Option(help="Column to sort by, score by default; -column turns it round.")
    ] = None,
    where: Annotated[str | None, typer.Option(help="Which trials: \"status == 'finished' and score > 0.5\".")] = None,
    columns: Annotated[str | None, typer.Option(help="Only these columns: 'trial,score,train.loss.*'.")] = None,
    top: Annotated[
        int | None,
        typer.Option(min=0, help=f"Only the first so many; 0: all. By default {_ROWS} in a table, all in files."),
    ] = None,
    pareto: Annotated[
        bool, typer.Option("--pareto", help="Only trials that no other beats in all objectives.")
    ] = False,
    form: Annotated[
        Format | None, typer.Option("--format", help="By default what the output's name says, else a table.")
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="File to write instead of showing.")] = None,
) -> None:
    """Show the trials of searches."""
    from results_analysis import RunError, find_run, load, load_all, results_table
    from results_analysis.tables.file_formats import FORMATS, format_of, write

    places = [find_run(local(name, runs), runs) for name in names]
    found = load(places[0]) if len(places) == 1 else load_all(places)
    asked = None if columns is None else [name.strip() for name in columns.split(",")]
    kind = form or (output and format_of(output)) or Format.TABLE
    if kind == Format.TABLE:
        table = results_table(found, sort=sort, where=where, pareto=pareto)
        _show(table, found.metric, _ROWS if top is None else top or None, asked, output)
        return
    if kind == Format.PARQUET and output is None:
        raise RunError("--format parquet is no text: name a file with -o")
    content = FORMATS[kind](results_table(found, sort=sort, where=where, pareto=pareto, columns=asked, top=top or None))
    if output is not None:
        write(content, output)
    else:
        typer.echo(content, nl=False)


def _show(
    table: pd.DataFrame, metric: Metric | None, top: int | None, columns: list[str] | None, output: Path | None
) -> None:
    """The table on the terminal, or as it would be there in a file."""
    from rich.console import Console

    from results_analysis import render
    from results_analysis.runs.columns import chosen
    from results_analysis.tables.file_formats import write

    console = Console()
    names = None if columns is None else chosen(table.columns, columns)
    drawn = render(table, metric, width=console.width, top=top, columns=names)
    if output is None:
        console.print(drawn)
        return
    paper = Console(file=io.StringIO(), width=console.width)
    with paper.capture() as text:
        paper.print(drawn)
    write(text.get(), output)
