"""`thaw mlflow`: a search for who keeps theirs in MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from search.commands.options import Name, Runs


def mlflow(
    name: Name,
    runs: Runs = Path("runs"),
    uri: Annotated[
        str, typer.Option("--uri", envvar="MLFLOW_TRACKING_URI", help="MLflow's store or server.")
    ] = "sqlite:///mlflow.db",
) -> None:
    """Write a search's trials into MLflow: values, curves, how each ended. Said again, it adds what is new."""
    from results_analysis import find_run, load
    from results_analysis.export.mlflow import to_mlflow

    experiment = to_mlflow(load(find_run(name, runs)), uri)
    typer.echo(f"{uri}: experiment {experiment!r}")
