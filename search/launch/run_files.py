"""Files that a training run leaves about its best epoch and its history: metrics, predictions and pictures."""

from __future__ import annotations

import logging

from results_analysis.plots.training_run.confusion_png import write_confusion
from results_analysis.plots.training_run.history_png import write_history
from trainables.checkpoints.checkpoint_file import CheckpointError
from trainables.data.dataset import Dataset
from trainables.recipe.recipe import Recipe
from trainables.run_folder.epoch_report import read_epochs
from trainables.run_folder.layout import TrialLayout
from trainables.run_folder.trial_columns import best_report
from trainables.training.trainer import Trainer
from trainables.trial.validation_files import best_predictions, write_metrics, write_predictions

_log = logging.getLogger(__name__)


def write_run_files(recipe: Recipe, folder: TrialLayout, dataset: Dataset, *, trainer: Trainer | None = None) -> None:
    """Writes `val_metrics.json`, `history.png`, `confusion.png` and `val_predictions.parquet` for the epochs that there are.

    Args:
        recipe: recipe of the run.
        folder: its folder.
        dataset: its data.
        trainer: its trainer, if there is one in this process; see `best_predictions`.
    """
    reports = read_epochs(folder.epochs)
    if not reports:
        return
    write_history(reports, recipe.train.metric, folder.history_plot)
    best = best_report(reports)
    if best is None:
        return
    write_metrics(best, folder, dataset, metric=recipe.train.metric)
    if best["confusion"]:
        write_confusion(best["confusion"], dataset.classes, folder.confusion_plot)
    try:
        predictions = best_predictions(recipe, folder, dataset, epoch=best["epoch"], trainer=trainer)
    except CheckpointError as error:
        _log.warning("no %s: %s", folder.val_predictions.name, error)
    else:
        write_predictions(predictions, folder)
