"""`thaw embed`: features of images, their map and clusters, as a table with pictures beside it."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from results_analysis.embeddings.clusters import NOISE, Clustering, Clusters, agreement, clusters_of
from results_analysis.embeddings.image_map import Colouring, ImageMap, by_category
from results_analysis.embeddings.map_page import write_map_page
from results_analysis.embeddings.map_png import write_map
from results_analysis.embeddings.projection import (
    COMPONENTS,
    ProjectionError,
    Reduction,
    check_features,
    check_installed,
    principal_components,
    projected,
)
from results_analysis.plots.style import DRAWN
from search.artifacts.embedding_data import Opened
from search.artifacts.predictions import prediction_table, write_table
from search.config.yaml_source import InputError
from search.progress.progress_bar import bar
from search.progress.terminal import Console
from trainables.core.atomic_write import replacing
from trainables.core.config_errors import counted, listed
from trainables.core.printable import printable
from trainables.data.contact_sheet import pictures_of, tile_of
from trainables.model_package.input_images import Item
from trainables.model_package.manifest import Manifest
from trainables.model_package.network import predictions
from trainables.model_package.predict import Results

FORMATS = (".parquet", ".npz")
_THUMBNAIL = 64
"""Side of a small picture on the interactive page, in pixels."""
_AXES = {"pca": ("component 1", "component 2"), "umap": ("UMAP 1", "UMAP 2"), "tsne": ("t-SNE 1", "t-SNE 2")}


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """Map and clusters to make of the features."""

    reduction: Reduction | None = None
    clustering: Clustering | None = None
    clusters: int | None = None
    """Number of clusters of k-means; None: chosen."""
    smallest: int | None = None
    """Fewest images of a cluster of HDBSCAN; None: chosen."""
    seed: int = 0

    def check(self) -> None:
        """Raises InputError if options do not fit each other, or a library is missing."""
        if self.clusters is not None and self.clustering != "kmeans":
            raise InputError("--clusters: applies to --cluster kmeans; hdbscan finds the number itself")
        if self.smallest is not None and self.clustering != "hdbscan":
            raise InputError("--min-cluster-size: applies to --cluster hdbscan")
        try:
            check_installed(self.reduction)
        except ProjectionError as error:
            raise InputError(f"--reduce {self.reduction}: {error}") from None


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """Features of images, with what is known of each."""

    table: pd.DataFrame
    """`path`, and of `label`, `group`, `split` and `prediction` those that are known."""
    features: np.ndarray
    """[n, f] float32."""
    network: str
    """Network in words."""
    thumbnails: dict[int, str] = field(default_factory=dict)
    """Position -> small picture, as a URL that holds its data."""


# --- features ---------------------------------------------------------------------------------------------------------


def embed_before_training(opened: Opened, console: Console, *, pictures: bool) -> Embedded:
    """Embeds data with a pretrained network.

    Args:
        opened: the data and the network.
        console: shows the progress.
        pictures: make thumbnails.
    """
    from trainables.frozen_prefix.pretrained_features import pretrained_features

    tables, features, thumbnails, before = [], [], {}, 0
    total = sum(len(part) for images in opened.images for part in images.parts.values())
    shown = set(np.linspace(0, total - 1, min(total, DRAWN)).astype(int).tolist())
    for images in opened.images:
        dataset = images.dataset
        with bar(console, "computing features") as show:
            features.append(pretrained_features(opened.recipe, dataset, images.parts, progress=show))
        positions = np.concatenate(list(images.parts.values()))
        assert dataset.details is not None
        columns: dict[str, Any] = {"path": [printable(dataset.details.names[i]) for i in positions.tolist()]}
        if dataset.targets is not None:
            columns["label"] = dataset.targets[positions]
        elif dataset.classes:
            columns["label"] = np.array(dataset.classes, dtype=object)[dataset.labels[positions]]
        if dataset.groups is not None and len(dataset.groups) == len(dataset.images):
            columns["group"] = dataset.groups[positions]
        if images.is_split:
            columns["split"] = [name for name, part in images.parts.items() for _ in range(len(part))]
        tables.append(pd.DataFrame(columns))
        for row, i in enumerate(positions.tolist() if pictures else ()):
            if before + row in shown:
                thumbnails[before + row] = _thumbnail(dataset.images[i])
        before += len(positions)
    return Embedded(
        table=pd.concat(tables, ignore_index=True),
        features=np.concatenate(features),
        network=opened.description,
        thumbnails=thumbnails,
    )


def of_results(manifest: Manifest, items: Sequence[Item], results: Results) -> Embedded:
    """Features that a trained model gave.

    Args:
        manifest: manifest of the model.
        items: the images.
        results: their features and outputs.
    """
    predicted = predictions(manifest, results.outcome.outputs)
    table = prediction_table(manifest, items, predicted, top=1)
    table = table.drop(columns=["probability", "truth"], errors="ignore")
    # Where a label is no class of the model, it says all the more about the image.
    labels = [item.label if item.truth is None else item.truth for item in items]
    if any(label is not None for label in labels):
        table.insert(1, "label", labels)
    return Embedded(table=table, features=results.outcome.features, network=f"a trained {manifest.backbone}")


def _thumbnail(image: np.ndarray) -> str:
    picture, content = tile_of(pictures_of(image[None])[0], _THUMBNAIL), io.BytesIO()
    picture.save(content, "JPEG", quality=70)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode()


# --- map and clusters ---------------------------------------------------------------------------------------------------


def analysed(embedded: Embedded, analysis: Analysis, console: Console) -> Embedded:
    """Adds the columns `x`, `y` and `cluster`, and says how good the clusters are.

    Args:
        embedded: the features.
        analysis: what is asked for.
        console: shows the progress and the figures.
    Raises:
        InputError: if the features cannot be reduced or clustered.
    """
    features, table = embedded.features, embedded.table.copy()
    finite = np.isfinite(features).all(axis=1)
    if not finite.all():
        bad = listed(table["path"][~finite].tolist(), 3)
        raise InputError(f"the features of {counted(int((~finite).sum()), 'image')} are not finite numbers: {bad}")
    points = features
    try:
        if analysis.reduction:
            first = ", which compiles for about half a minute when it is first used" * (analysis.reduction == "umap")
            with console.status(f"reducing to two components: {analysis.reduction}{first}"):
                points = projected(features, analysis.reduction, seed=analysis.seed)
            table["x"], table["y"] = points.T
            if analysis.reduction != "pca" and min(features.shape) > COMPONENTS:
                line = f"{analysis.reduction}: on the first {COMPONENTS} principal components of {features.shape[1]} features"
                console.out(line, highlight=False)
        if analysis.clustering:
            check_features(features)
            with console.status(f"clustering: {analysis.clustering}"):
                if analysis.reduction in {None, "pca"}:  # two principal components are too few to cluster on
                    points, where = principal_components(features, seed=analysis.seed), "principal components"
                else:
                    where = "the map"
                clusters = clusters_of(
                    points, analysis.clustering, seed=analysis.seed, count=analysis.clusters, smallest=analysis.smallest
                )
            table["cluster"] = clusters.of
            for line in _lines(clusters, table, f"{analysis.clustering} on {where}"):
                console.out(line, highlight=False)
    except ProjectionError as error:
        raise InputError(str(error)) from None
    return replace(embedded, table=table)


def _lines(clusters: Clusters, table: pd.DataFrame, title: str) -> Iterator[str]:
    """Lines about clusters: their number and silhouette, and their agreement with the labels."""
    noise = f", {counted(clusters.noise, 'image')} in none" if clusters.noise else ""
    score = "" if clusters.silhouette is None else f", silhouette {clusters.silhouette:.3f}"
    yield f"{title}: {counted(clusters.number, 'cluster')}{noise}{score}"
    if "label" in table and table["label"].dtype.kind != "f" and table["label"].notna().any():
        known = table["label"].notna().to_numpy()
        labels = table["label"][known].astype(str).tolist()
        found = agreement(clusters._replace(of=clusters.of[known]), labels)
        yield (
            f"agreement with {counted(len(set(labels)), 'label')}: adjusted Rand {found.adjusted_rand:.3f}, NMI {found.nmi:.3f}"
        )


# --- files ------------------------------------------------------------------------------------------------------------


def write_embedded(embedded: Embedded, file: Path) -> None:
    """Writes features with what is known of each image: as columns f0, f1, … of a table, or as arrays of an NPZ file.

    Args:
        embedded: the features.
        file: output file; its ending determines the format.
    """
    table, features = embedded.table, embedded.features
    if file.suffix.lower() == ".npz":
        arrays: dict[str, Any] = {"features": features, **{name: _array(table[name]) for name in table.columns}}
        with replacing(file, "wb") as stream:
            np.savez(stream, **arrays)
        return
    names = [f"f{i}" for i in range(features.shape[1])]
    write_table(pd.concat([table, pd.DataFrame(features, columns=names)], axis=1), file)


def write_pictures(embedded: Embedded, analysis: Analysis, file: Path) -> list[Path]:
    """Draws the map into a PNG file and an interactive page beside the table.

    Args:
        embedded: the features, with the columns `x` and `y`.
        analysis: what was asked for.
        file: the table.
    Returns:
        The files.
    """
    assert analysis.reduction
    table, picture, page = embedded.table, file.with_suffix(".png"), file.with_suffix(".html")
    axes, title = _AXES[analysis.reduction], f"{counted(len(table), 'image')}\nfeatures of {embedded.network}"
    write_map(_map_of(table, axes, title, ("label" if "label" in table else "prediction", "cluster"), {}), picture)
    rows = np.linspace(0, len(table) - 1, min(len(table), DRAWN)).astype(int)
    some = table.iloc[rows].reset_index(drop=True)
    if len(some) < len(table):
        title = f"{len(some):,} of {title}"
    thumbnails = {i: embedded.thumbnails[row] for i, row in enumerate(rows.tolist()) if row in embedded.thumbnails}
    shown = _map_of(some, axes, title, ("label", "cluster", "prediction", "group", "split"), thumbnails)
    write_map_page(shown, page)
    return [picture, page]


def _map_of(
    table: pd.DataFrame, axes: tuple[str, str], title: str, columns: Sequence[str], thumbnails: dict[int, str]
) -> ImageMap:
    return ImageMap(
        title=title,
        axes=axes,
        x=table["x"].to_numpy(),
        y=table["y"].to_numpy(),
        names=table["path"].tolist(),
        colourings=[_colouring(table[name]) for name in columns if name in table],
        thumbnails=thumbnails,
    )


def _colouring(column: pd.Series[Any]) -> Colouring:
    if column.dtype.kind == "f":
        return Colouring(str(column.name), numbers=column.to_numpy())
    none = "in no cluster" if column.name == "cluster" else "unknown"
    values = [None if value is None or value == NOISE else str(value) for value in column.tolist()]
    return by_category(str(column.name), values, none=none)


def _array(column: pd.Series[Any]) -> np.ndarray:
    """Column as an array that can be read without unpickling: numbers, or texts of a fixed length. Unknown values are
    NaN or empty."""
    if column.dtype.kind in "fi":
        return column.to_numpy()
    return np.array(["" if value is None else str(value) for value in column])
