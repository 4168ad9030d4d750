"""Runs images through a trained model, for `thaw predict` and `thaw embed`, and writes tables of predictions."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from results_analysis.tables.file_formats import to_csv
from search.config.yaml_source import InputError
from search.progress.progress_bar import bar
from search.progress.terminal import Console
from trainables.core.atomic_write import replacing
from trainables.core.config_errors import counted, listed
from trainables.core.printable import printable
from trainables.model_package.input_images import Columns, Item, find_images
from trainables.model_package.manifest import Manifest
from trainables.model_package.network import Network, load_package
from trainables.model_package.predict import Results, run
from trainables.tasks.metrics import evaluate
from trainables.tasks.regression_metrics import evaluate_numbers

if TYPE_CHECKING:
    import pandas as pd

OnBad = Literal["skip", "fail"]
_NAMED = 10
"""Number of unreadable images that an error names one by one."""


def open_model(folder: Path, *, onnx: bool, device: str, threads: int | None, trust_code: bool) -> Network:
    """Loads the network of a package, on torch or on onnxruntime.

    Args:
        folder: the package.
        onnx: True for its ONNX model on onnxruntime.
        device: `auto`, `cpu`, `cuda` or `mps`, for torch.
        threads: CPU threads; None: as many as validation had.
        trust_code: True to import the function that the package names for its network; onnxruntime needs none.
    """
    if not onnx:
        return load_package(folder, device=device, threads=threads, trust_code=trust_code)
    from trainables.model_package.onnx_model import load_onnx

    return load_onnx(folder, threads=threads)


def run_on(
    network: Network, given: Sequence[str], columns: Columns, *, on_bad: OnBad, console: Console, what: str
) -> tuple[list[Item], Results]:
    """Runs images through a network. Unreadable ones are named on the console, one per line.

    Args:
        network: network of a package.
        given: images, folders or tables, as in `find_images`.
        columns: columns of tables.
        on_bad: `skip` leaves unreadable images out; `fail` raises an error.
        console: shows the progress.
        what: title of the progress bar.
    Returns:
        The images that could be read, and their results.
    Raises:
        PackageError: if there is nothing to predict.
        InputError: if an image cannot be read and `on_bad` is `fail`, or if none can be read.
    """
    items = find_images(given, network.manifest, columns, note=lambda line: console.out(line, highlight=False))
    with bar(console, what) as show:
        results = run(network, items, progress=show)
    bad = list(results.bad.values())
    if bad and (on_bad == "fail" or len(bad) == len(items)):
        more = f"\n  … and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
        raise InputError(
            f"{len(bad)} of {len(items)} images cannot be read:\n  " + "\n  ".join(map(printable, bad[:_NAMED])) + more
        )
    for reason in bad:
        console.out(f"left out: {printable(reason)}", highlight=False)
    if bad:
        console.out(f"left out in all: {len(bad)} of {counted(len(items), 'image')}", highlight=False)
    return [items[i] for i in results.kept.tolist()], results


def prediction_table(
    manifest: Manifest, items: Sequence[Item], predicted: np.ndarray, *, top: int | None = None
) -> pd.DataFrame:
    """Table with a row per image: `path`, `truth` if it is known for any of them, and the prediction.

    Args:
        manifest: manifest of the package.
        items: the images.
        predicted: [n, c] probabilities, or [n] numbers.
        top: number of classes to list, most probable first; None: the most probable one, and the probability of every
            class.
    """
    import pandas as pd

    columns: dict[str, Any] = {"path": [printable(item.name) for item in items]}
    if any(item.truth is not None for item in items):
        columns["truth"] = [item.truth for item in items]
    if manifest.task == "regression":
        return pd.DataFrame({**columns, "prediction": predicted})
    names = np.array(manifest.classes, dtype=object)
    count = 1 if top is None else min(top, len(names))
    # stable: of equally probable classes the first, as in validation
    order = np.argsort(-predicted, axis=1, kind="stable")[:, :count]
    for place in range(count):
        ending = "" if place == 0 else f"_{place + 1}"
        columns[f"prediction{ending}"] = names[order[:, place]]
        columns[f"probability{ending}"] = predicted[np.arange(len(items)), order[:, place]]
    if top is None:
        columns |= {f"p_{name}": predicted[:, j] for j, name in enumerate(manifest.classes)}
    return pd.DataFrame(columns)


def known_score(manifest: Manifest, items: Sequence[Item], predicted: np.ndarray) -> list[str]:
    """Metrics of the images whose truth is known, and counts of those whose truth is not, as lines; empty if no image has a label.

    Args:
        manifest: manifest of the package.
        items: the images.
        predicted: [n, c] probabilities, or [n] numbers.
    """
    known = [i for i, item in enumerate(items) if item.truth is not None]
    strange = Counter(item.label for item in items if item.truth is None and item.label is not None)
    unlabelled = sum(item.label is None for item in items)
    lines = []
    if known:
        truth, of = [items[i].truth for i in known], f"on {counted(len(known), 'image')} whose truth is known"
        if manifest.task == "regression":
            metrics = evaluate_numbers(predicted[known], np.array(truth, np.float64)).metrics
            lines.append(f"{of}: mae {metrics['mae']:.4g}, r2 {metrics['r2']:.4f}, spearman {metrics['spearman']:.4f}")
        else:
            metrics = evaluate(predicted[known], [manifest.classes.index(str(name)) for name in truth]).metrics
            lines.append(
                f"{of}: accuracy {metrics['accuracy']:.4f}, balanced accuracy {metrics['balanced_accuracy']:.4f}"
            )
    if strange:
        what = "no class of the model" if manifest.task == "classification" else "no number"
        labels = listed([f"{label!r} ({count})" for label, count in strange.most_common()], 6)
        lines.append(f"with a label that is {what}: {counted(strange.total(), 'image')}: {labels}")
    if unlabelled and (known or strange):
        lines.append(f"without a label: {counted(unlabelled, 'image')}")
    return lines


# --- files ----------------------------------------------------------------------------------------------------------


def check_format(file: Path | None, formats: Sequence[str]) -> None:
    """Checks the ending of an output file.

    Raises:
        InputError: if the file's name has none of these endings.
    """
    if file is not None and file.suffix.lower() not in formats:
        raise InputError(f"{file}: the ending determines the format; valid are {', '.join(formats)}")


def write_table(table: pd.DataFrame, file: Path) -> None:
    """Writes a table as CSV, JSON (a list of objects) or Parquet, by the file's ending."""
    kind = file.suffix.lower()
    if kind == ".parquet":
        content = io.BytesIO()
        table.to_parquet(content, index=False)
        with replacing(file, "wb") as stream:
            stream.write(content.getbuffer())
        return
    with replacing(file) as stream:
        if kind == ".json":
            table.to_json(stream, orient="records", indent=2, force_ascii=False, double_precision=15)
        else:
            stream.write(to_csv(table))
