"""`thaw export`: the config to keep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from search.commands.names import short
from search.commands.options import Name, Runs


def export(
    name: Name,
    runs: Runs = Path("runs"),
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write; by default best.yaml in the run.")
    ] = None,
    trial: Annotated[int | None, typer.Option(min=0, help="This trial; by default the best.")] = None,
) -> None:
    """Write a trial's config, with where it comes from; `thaw train` trains it again."""
    from results_analysis import export_trial, find_run, load

    typer.echo(short(export_trial(load(find_run(name, runs)), output, trial=trial)))
