"""Files about the best epoch of a run: its metrics, and its prediction for each validation image."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainables.checkpoints.checkpoint_file import load_checkpoint
from trainables.checkpoints.checkpoint_folder import CheckpointFolder
from trainables.core.atomic_write import replacing
from trainables.core.printable import printable
from trainables.data.dataset import Dataset
from trainables.recipe.recipe import Recipe
from trainables.run_folder.checkpoint_registry import metrics_in
from trainables.run_folder.layout import TrialLayout
from trainables.run_folder.trial_columns import DIAGNOSTICS
from trainables.training.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Predictions for the m validation images of a data set."""

    dataset: Dataset
    values: np.ndarray
    """[m, c] probabilities of the classes, or [m] numbers; float64."""

    def columns(self) -> dict[str, Any]:
        """Columns of a table with one row an image: `image` (file, or place in an array), `group` (its number) if there are groups,
        `label`, `prediction`; in classification also `confidence`, and `p_…` for each class."""
        data = self.dataset
        at, names = data.validation, data.details.names if data.details else None
        columns: dict[str, Any] = {"image": [printable(names[i]) if names else str(i) for i in at.tolist()]}
        if data.groups is not None:
            columns["group"] = data.groups[at]
        if data.targets is not None:
            return {**columns, "label": data.targets[at], "prediction": self.values}
        classes = np.array(data.classes, dtype=object)
        return {
            **columns,
            "label": classes[data.labels[at]],
            "prediction": classes[self.values.argmax(axis=1)],
            "confidence": self.values.max(axis=1),
            **{f"p_{name}": self.values[:, i] for i, name in enumerate(data.classes)},
        }


def best_predictions(
    recipe: Recipe, folder: TrialLayout, dataset: Dataset, *, epoch: int, trainer: Trainer | None = None
) -> Predictions:
    """Predicts the validation images with the weights that were scored in an epoch of a run.

    Args:
        recipe: recipe of the run.
        folder: folder of the run, or of a trial of a search.
        dataset: data set of the recipe.
        epoch: the epoch, usually `best_epoch` of the last report; its checkpoint must exist.
        trainer: trainer of the run, if there is one in this process; it then holds these weights. None: one is made.
    Raises:
        CheckpointError: if the checkpoint is missing or damaged.
    """
    state = load_checkpoint(CheckpointFolder(folder.checkpoints).named(str(epoch)))
    if trainer is None:
        alone = recipe.train.model_copy(update={"workers": 1})
        trainer = Trainer(recipe.model_copy(update={"train": alone}), dataset)
    trainer.load_state_dict(state["trainer"])
    return Predictions(dataset=dataset, values=trainer.predict())


def write_predictions(predictions: Predictions, folder: TrialLayout) -> None:
    """Writes `val_predictions.parquet`."""
    import pyarrow
    import pyarrow.parquet

    with replacing(folder.val_predictions, "wb") as file:
        pyarrow.parquet.write_table(pyarrow.table(predictions.columns()), file, compression="zstd")


def write_metrics(report: Mapping[str, Any], folder: TrialLayout, dataset: Dataset, *, metric: str) -> None:
    """Writes `val_metrics.json`.

    Args:
        report: report of the best epoch.
        folder: folder of the run.
        dataset: data set of the run.
        metric: metric that is the score.
    """
    metrics: dict[str, Any] = {**metrics_in(report), **{name: report[name] for name in DIAGNOSTICS if name in report}}
    found = {name: report[name] for name in ("epoch", "stage", "score")}
    found |= {"metric": metric, "images": len(dataset.validation), "metrics": metrics}
    if dataset.targets is None:
        by_class = zip(*report["per_class"].values(), strict=True)
        values = [dict(zip(report["per_class"], of_class, strict=True)) for of_class in by_class]
        found |= {"per_class": dict(zip(dataset.classes, values, strict=False))}
        found |= {"classes": list(dataset.classes), "confusion": report["confusion"]}
    with replacing(folder.val_metrics) as file:
        json.dump(found, file, indent=2, ensure_ascii=False)
