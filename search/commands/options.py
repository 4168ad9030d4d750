"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Runs = Annotated[Path, typer.Option("--runs", envvar="THAW_RUNS", help="Folder that holds the runs.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="Values that beat the file's: train.batch_size=64")]
Name = Annotated[str, typer.Argument(help="The run's name, or its folder.")]
