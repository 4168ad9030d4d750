"""Arguments and options shared by several commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

SearchFile = Annotated[Path, typer.Argument(metavar="FILE", help="Search file (YAML).")]
Runs = Annotated[Path, typer.Option("--runs", metavar="DIR", envvar="THAW_RUNS", help="Folder of all runs.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="PATH=VALUE", help="Values that override the file, such as train.batch_size=64."),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name or folder of the run.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite the file if it exists.")]

TrustCode = Annotated[
    bool,
    typer.Option("--trust-code", help="Run code that the model, exported config or run names (module:function)."),
]

Model = Annotated[Path, typer.Argument(metavar="MODEL", help="Model folder written by thaw export --model.")]
Paths = Annotated[
    list[str],
    typer.Argument(
        metavar="PATH", help="Images, folders, globs, URLs, tables of paths (.csv, .tsv, .parquet) or .npz files."
    ),
]
OnnxRuntime = Annotated[bool, typer.Option("--onnx", help="Run the ONNX file of the model instead of torch.")]
OnBadImage = Annotated[
    Literal["skip", "fail"],
    typer.Option(help="Unreadable images: leave them out, or stop without writing anything."),
]
PathColumn = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Table column of image paths. Default: as in training, else `path`."),
]
LabelColumn = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Table column of labels. Default: as in training, else `label`, if there is one."
    ),
]
Images = Annotated[
    str | None,
    typer.Option(metavar="DIR", help="Folder that the paths of a table are relative to. Default: the table's folder."),
]
Device = Annotated[
    Literal["auto", "cpu", "cuda", "mps"],
    typer.Option(help="auto uses an NVIDIA GPU if there is one; mps is Apple's."),
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="CPU threads. Default: as in training, which reproduces the same bits.")
]
