"""`thaw predict`: predictions of a model for images."""

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


def predict(
    model: Model,
    paths: Paths,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help=".csv, .json or .parquet file. Default: print CSV."),
    ] = None,
    top: Annotated[
        int | None, typer.Option(min=1, metavar="K", help="Only the K most probable classes. Default: all of them.")
    ] = None,
    corrected: Annotated[
        bool,
        typer.Option(
            "--corrected",
            help="Probabilities as if all classes were equally common.",
        ),
    ] = False,
    onnx: OnnxRuntime = False,
    on_bad: OnBadImage = "skip",
    path_column: PathColumn = None,
    label_column: LabelColumn = None,
    images: Images = None,
    device: Device = "auto",
    threads: Threads = None,
    trust_code: TrustCode = False,
) -> None:
    """Predict the classes (or numbers) of images.

    Example: thaw predict photos-model new/ -o predictions.csv
    """
    from results_analysis.tables.file_formats import to_csv
    from search.artifacts.predictions import (
        check_format,
        known_score,
        open_model,
        prediction_table,
        run_on,
        write_table,
    )
    from search.progress.terminal import Console
    from trainables.model_package.input_images import Columns
    from trainables.model_package.network import predictions

    check_format(output, (".csv", ".json", ".parquet"))
    console = Console(stderr=True)
    columns = Columns(path=path_column, label=label_column, images=images)
    network = open_model(model, onnx=onnx, device=device, threads=threads, trust_code=trust_code)
    items, results = run_on(network, paths, columns, on_bad=on_bad, console=console, what="predicting")
    predicted = predictions(network.manifest, results.outcome.outputs, corrected=corrected)
    table = prediction_table(network.manifest, items, predicted, top=top)
    if output is None:
        typer.echo(to_csv(table), nl=False)
    else:
        write_table(table, output)
        console.out(f"{short(output)}: {len(table)} predictions", highlight=False)
    for line in known_score(network.manifest, items, predicted):
        console.out(line, highlight=False)
