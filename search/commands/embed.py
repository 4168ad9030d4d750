"""`thaw embed`: features of images, before any training or of a trained model, with a map and clusters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from search.commands.names import short
from search.commands.options import Device, Images, LabelColumn, OnnxRuntime, PathColumn, Threads, TrustCode

_PRETRAINED = "Before training: "


def embed(
    given: Annotated[
        list[str],
        typer.Argument(
            metavar="[MODEL] DATA…",
            help="A trained model's folder, then images, folders, tables or .npz files. Or, before any training, one thing that "
            "thaw init knows, a folder of images, or a search file.",
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help=".parquet or .npz file to write.")],
    backbone: Annotated[
        str | None,
        typer.Option(help=f"{_PRETRAINED}pretrained network. Default: efficientnet_lite0, or the search file's."),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(metavar="WEIGHTS", help=f"{_PRETRAINED}its weights, as in model.weights.")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(min=8, metavar="PIXELS", help=f"{_PRETRAINED}image size. Default: as thaw init.")
    ] = None,
    reduce: Annotated[
        Literal["pca", "umap", "tsne"] | None,
        typer.Option(help="Add columns x and y, and draw a map: FILE.png, and FILE.html to explore."),
    ] = None,
    cluster: Annotated[
        Literal["kmeans", "hdbscan"] | None, typer.Option(help="Add a column of clusters, and say how good they are.")
    ] = None,
    clusters: Annotated[
        int | None, typer.Option(min=2, metavar="K", help="Clusters of kmeans. Default: 2 … 20, by silhouette.")
    ] = None,
    min_cluster_size: Annotated[
        int | None,
        typer.Option(min=2, metavar="N", help="Fewest images of an hdbscan cluster. Default: 1 %, at least 5."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of maps and clusters.")] = 0,
    onnx: OnnxRuntime = False,
    on_bad: Annotated[
        Literal["skip", "fail"] | None,
        typer.Option(help="Unreadable images: leave them out, or stop. Default: skip with a model, else as thaw init."),
    ] = None,
    path_column: PathColumn = None,
    label_column: LabelColumn = None,
    images: Images = None,
    device: Device = "auto",
    threads: Threads = None,
    trust_code: TrustCode = False,
) -> None:
    """Write the features of images, with a map and clusters.

    Features are the inputs of the last layer: of a trained model, or of a pretrained network before any training.

    Example: thaw embed photos/ -o features.parquet --reduce umap
    """
    from search.artifacts.embeddings import FORMATS, Analysis, Embedded, analysed, write_embedded, write_pictures
    from search.artifacts.predictions import check_format
    from search.config.yaml_source import InputError
    from search.progress.terminal import Console
    from trainables.core.config_errors import counted
    from trainables.run_folder.layout import PackageLayout

    check_format(output, FORMATS)
    analysis = Analysis(reduction=reduce, clustering=cluster, clusters=clusters, smallest=min_cluster_size, seed=seed)
    analysis.check()
    console, first = Console(stderr=True), Path(given[0])
    network = {"--backbone": backbone, "--weights": weights, "--image-size": image_size}

    def of_model() -> Embedded:
        from search.artifacts.embeddings import of_results
        from search.artifacts.predictions import open_model, run_on
        from trainables.model_package.input_images import Columns

        if typed := [option for option, value in network.items() if value is not None]:
            raise InputError(
                f"{typed[0]}: {first} is a trained model, with a network of its own; leave out one of the two"
            )
        if len(given) == 1:
            raise InputError(f"{first} is a trained model: name the images to embed after it")
        model = open_model(first, onnx=onnx, device=device, threads=threads, trust_code=trust_code)
        columns = Columns(path=path_column, label=label_column, images=images)
        items, results = run_on(model, given[1:], columns, on_bad=on_bad or "skip", console=console, what="embedding")
        return of_results(model.manifest, items, results)

    def before_training() -> Embedded:
        from search.artifacts.embedding_data import NetworkChoice, open_data
        from search.artifacts.embeddings import embed_before_training
        from trainables.data.detection.wishes import Wishes

        if len(given) > 1:
            raise InputError(
                f"{first} is not a model (it holds no model.json); without one, name one folder, table or file"
            )
        if onnx:
            raise InputError("--onnx: applies to trained models")
        choice = NetworkChoice(
            backbone=backbone,
            weights=weights,
            image_size=image_size,
            device=device,
            threads=threads,
            on_bad=on_bad,
            seed=seed,
        )
        wishes = Wishes(images=Path(images) if images else None, path=path_column, label=label_column)
        opened = open_data(first, choice, wishes, console)
        console.out(f"network: {opened.description}", highlight=False)
        return embed_before_training(opened, console, pictures=reduce is not None)

    embedded = analysed(of_model() if PackageLayout(first).manifest.is_file() else before_training(), analysis, console)
    write_embedded(embedded, output)
    size = f"{counted(len(embedded.table), 'image')}, {embedded.features.shape[1]} features each"
    console.out(f"{short(output)}: {size}", highlight=False)
    if reduce:
        for file in write_pictures(embedded, analysis, output):
            console.out(short(file), highlight=False)
