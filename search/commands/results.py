"""`thaw results`: a table of the trials of one or several searches."""

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
"""Rows of a table on the terminal, unless --top is given."""


class Format(StrEnum):
    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    MARKDOWN = "markdown"
    PARQUET = "parquet"


def results(
    names: Annotated[list[str], typer.Argument(metavar="RUN", help="Names or folders of runs.")],
    runs: Runs = Path("runs"),
    sort: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Column to sort by, score by default; -COLUMN reverses the order."),
    ] = None,
    where: Annotated[
        str | None, typer.Option(metavar="EXPR", help='Only trials that match, as in "score > 0.5".')
    ] = None,
    columns: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Only these columns, as in 'trial,score,train.*'.")
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="N", help=f"Number of rows; 0: all. Default: {_ROWS} in a table, all in other formats."
        ),
    ] = None,
    pareto: Annotated[
        bool, typer.Option("--pareto", help="Only trials that no other trial beats in every objective.")
    ] = False,
    form: Annotated[
        Format | None, typer.Option("--format", help="Default: by the extension of the output file, else a table.")
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write to this file.")] = None,
) -> None:
    """Show a table of the trials of one or more searches.

    Example: thaw results photos --where "status == 'finished'" --top 10
    """
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
        raise RunError("--format parquet is binary: name a file with -o")
    content = FORMATS[kind](results_table(found, sort=sort, where=where, pareto=pareto, columns=asked, top=top or None))
    if output is not None:
        write(content, output)
    else:
        typer.echo(content, nl=False)


def _show(
    table: pd.DataFrame, metric: Metric | None, top: int | None, columns: list[str] | None, output: Path | None
) -> None:
    """Print the table, or write it to a file as the terminal would show it."""
    from results_analysis import render
    from results_analysis.runs.columns import matching_columns
    from results_analysis.tables.file_formats import write
    from search.progress.terminal import Console

    console = Console()
    names = None if columns is None else matching_columns(table.columns, columns)
    drawn = render(table, metric, width=console.width, top=top, columns=names)
    if output is None:
        console.print(drawn)
        return
    paper = Console(file=io.StringIO(), width=console.width)
    with paper.capture() as text:
        paper.print(drawn)
    write(text.get(), output)
