"""`thaw embed`: features of images, as they enter a model's last layer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from search.commands.names import short
from search.commands.options import (
    Device,
    Images,
    LabelColumn,
    Model,
    OnBadImage,
    OnnxRuntime,
    PathColumn,
    Paths,
    Threads,
    TrustCode,
)


def embed(
    model: Model,
    paths: Paths,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help=".parquet or .npz file to write.")],
    onnx: OnnxRuntime = False,
    on_bad: OnBadImage = "skip",
    path_column: PathColumn = None,
    label_column: LabelColumn = None,
    images: Images = None,
    device: Device = "auto",
    threads: Threads = None,
    trust_code: TrustCode = False,
) -> None:
    """Write the features of images, for clustering and plots.

    Features are the inputs of the model's last layer.

    Example: thaw embed photos-model new/ -o features.parquet
    """
    from search.artifacts.predictions import check_format, open_model, run_on, write_features
    from search.progress.terminal import Console
    from trainables.core.config_errors import counted
    from trainables.model_package.input_images import Columns

    check_format(output, (".parquet", ".npz"))
    console = Console(stderr=True)
    columns = Columns(path=path_column, label=label_column, images=images)
    network = open_model(model, onnx=onnx, device=device, threads=threads, trust_code=trust_code)
    items, results = run_on(network, paths, columns, on_bad=on_bad, console=console, what="embedding")
    write_features(network.manifest, items, results, output)
    console.out(
        f"{short(output)}: {counted(len(items), 'image')}, {results.outcome.features.shape[1]} features each",
        highlight=False,
    )
