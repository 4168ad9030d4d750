"""`thaw mlflow`: copies a search to MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from search.commands.names import say
from search.commands.options import Name, Runs


def mlflow(
    name: Name,
    runs: Runs = Path("runs"),
    uri: Annotated[
        str, typer.Option("--uri", envvar="MLFLOW_TRACKING_URI", metavar="URI", help="MLflow store or server.")
    ] = "sqlite:///mlflow.db",
) -> None:
    """Copy a search to MLflow: values, curves, outcomes.

    Running it again adds what is new.

    Example: thaw mlflow photos --uri sqlite:///mlflow.db
    """
    from results_analysis import find_run, load
    from results_analysis.export.mlflow import to_mlflow

    experiment = to_mlflow(load(find_run(name, runs)), uri)
    say(f"{uri}: experiment {experiment!r}")
