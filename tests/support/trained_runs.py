"""Folders of single training runs as `thaw train` leaves them, with made-up scores and predictions."""

import json

import pandas as pd

from results_analysis import load, trial_of
from results_analysis.runs.training_run import training_in
from tests.support.searched_runs import write_search


def write_training(root, scores=(0.5, 0.7), *, predictions=None, fields=None, error=None, **trial):
    """A run, read.

    Args:
        scores: of its epochs.
        predictions: rows of `val_predictions.parquet`.
        fields: epoch -> fields of its report to set, or to remove where they are `...`.
        error: text of `error.txt`.
        trial: keywords of `write_trial`, and `metric`, `task`, `classes`, `config` of `write_search`.
    """
    config = {
        name: trial.pop(name) for name in ("metric", "task", "classes", "data", "model", "train") if name in trial
    }
    folder = trial_of(load(write_search(root, [{"scores": scores, **trial}], **config)), 0).folder
    if not folder.epochs.exists():
        folder.epochs.touch()
    folder.trial.unlink()  # which only a search's trial has
    reports = [json.loads(line) for line in folder.epochs.read_text(encoding="utf-8").splitlines()]
    for report in reports:
        report |= (fields or {}).get(report["epoch"], {})
    kept = [{name: value for name, value in report.items() if value is not ...} for report in reports]
    folder.epochs.write_text("".join(f"{json.dumps(report)}\n" for report in kept), encoding="utf-8")
    if predictions is not None:
        pd.DataFrame(predictions).to_parquet(folder.val_predictions)
    if error is not None:
        folder.error.write_text(error, encoding="utf-8")
    return training_in(folder.root)
