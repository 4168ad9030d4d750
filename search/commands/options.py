"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Runs = Annotated[Path, typer.Option("--runs", envvar="THAW_RUNS", help="Folder that holds the runs.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="Values that beat the file's: train.batch_size=64")]
Name = Annotated[str, typer.Argument(help="The run's name, or its folder.")]

Model = Annotated[Path, typer.Argument(help="The model's folder, as `thaw export --model` wrote it.")]
Paths = Annotated[
    list[str], typer.Argument(help="Images, folders, globs, URLs, tables of paths (.csv, .tsv, .parquet), .npz files.")
]
OnBadImage = Annotated[
    Literal["skip", "fail"],
    typer.Option(help="What happens if images cannot be read: leave them out, or write nothing."),
]
PathColumn = Annotated[str, typer.Option(metavar="NAME", help="Of tables: the column of image files.")]
Images = Annotated[
    str | None, typer.Option(metavar="FOLDER", help="Of tables: where paths start from; by default the table's folder.")
]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="auto: the GPU where there is one.")]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Of the CPU; by default as many as in training, which gives the same bits.")
]
