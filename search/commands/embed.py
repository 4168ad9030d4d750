"""`thaw embed`: images as what a model's last layer sees of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from search.commands.names import short
from search.commands.options import Device, Images, Model, OnBadImage, PathColumn, Paths, Threads


def embed(
    model: Model,
    paths: Paths,
    output: Annotated[Path, typer.Option("-o", "--output", help=".parquet or .npz")],
    onnx: Annotated[bool, typer.Option("--onnx", help="Run the model's ONNX file, not torch.")] = False,
    on_bad: OnBadImage = "skip",
    path_column: PathColumn = "path",
    images: Images = None,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Write the features of images, as the model's last layer takes them, for reduction and clustering."""
    from rich.console import Console

    from search.artifacts.predictions import check_format, open_model, run_on, write_features
    from trainables.model_package.input_images import Columns

    check_format(output, (".parquet", ".npz"))
    console = Console(stderr=True)
    network = open_model(model, onnx=onnx, device=device, threads=threads)
    columns = Columns(path=path_column, images=images)
    items, results = run_on(network, paths, columns, on_bad=on_bad, console=console, what="embedding")
    write_features(network.manifest, items, results, output)
    console.out(
        f"{short(output)}: {len(items)} images, {results.outcome.features.shape[1]} features each", highlight=False
    )
