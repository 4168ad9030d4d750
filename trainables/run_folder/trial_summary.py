"""`TrialSummary`: results of a trial from its epoch reports, for the tables of trials. Plain data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trainables.core.config_errors import Config, dotted, problems_of
from trainables.core.vocabulary import Flag, Metric
from trainables.run_folder.epoch_report import read_epochs
from trainables.run_folder.layout import RunFileError

AT_BEST = (*(metric.value for metric in Metric), "classes_predicted", "prediction_spread")
"""Scalars of the best epoch that a trial's row shows."""


class TrialSummary(Config):
    """Summary of a trial's epochs, written when it ends, so that tables of thousands of trials need not read all their epochs."""

    score: float | None
    best_epoch: int | None
    epochs: int
    stage: str | None
    stage_index: int | None
    metrics: dict[str, float | None]
    """`AT_BEST` in the best epoch."""
    flags: str | None
    """Flags raised in any epoch, such as `spike, gap`."""
    flags_at_best: str | None
    """Flags raised in the best epoch."""
    stopped_for: str | None
    """Flag of `train.stop_on` that ended the run."""
    train_s: float
    """Seconds of training, over all epochs."""
    val_s: float
    """Seconds of validation, over all epochs."""
    cache_s: float
    """Part of these two times spent on computing features for the cache."""
    compute: float | None
    """Trained parameters × training images of all epochs except inherited ones; None if the reports do not have it."""
    epochs_bytes: int
    """Size of `epochs.jsonl` when the summary was made, in bytes; if it differs, epochs have been written since."""

    def row(self) -> dict[str, Any]:
        """Columns of the trial in a table of trials."""
        fields = self.model_dump(exclude={"metrics", "epochs_bytes"})
        return {**fields, **{name: self.metrics.get(name) for name in AT_BEST}}


def summary_in(file: Path) -> TrialSummary:
    """Summarises the `epochs.jsonl` of a trial, which may not exist yet: last epoch, metrics of the best one, flags and costs.

    Raises:
        RunFileError: if the file cannot be read; names the file.
    """
    size = size_of(file) or 0  # taken before reading, so that it differs if epochs are appended meanwhile
    fields = {**_fields(read_epochs(file)), "epochs_bytes": size}
    try:
        return TrialSummary.model_validate(fields)
    except ValidationError as error:
        problems = problems_of(error, TrialSummary, fields)
        raise RunFileError("\n".join(f"{file}: {dotted(p.path)}: {p.message}" for p in problems)) from None


def _fields(reports: Sequence[dict[str, Any]]) -> dict[str, Any]:
    last = reports[-1] if reports else {}
    best = next((report for report in reports if report["epoch"] == last["best_epoch"]), {})
    return {
        "score": last.get("best_score"),
        "epochs": last.get("epoch", 0),
        **{name: last.get(name) for name in ("best_epoch", "stage", "stage_index", "stopped_for")},
        "compute": _own_compute(reports),
        "metrics": {name: best[name] for name in AT_BEST if name in best},
        "flags": listed(flag for report in reports for flag in report["flags"]) if reports else None,
        "flags_at_best": listed(best["flags"]) if best else None,
        **{name: sum(report.get(name, 0.0) for report in reports) for name in ("train_s", "val_s", "cache_s")},
    }


def _own_compute(reports: Sequence[dict[str, Any]]) -> float | None:
    """Compute without inherited epochs, which the reports' sums include."""
    last = reports[-1].get("compute") if reports else None
    inherited = [report["compute"] for report in reports if report.get("inherited")]
    return last - inherited[-1] if last is not None and inherited else last


def size_of(file: Path) -> int | None:
    """Size of a file in bytes; None if it does not exist."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return None


def listed(flags: Iterable[str]) -> str:
    """Lists flags as text, such as `spike, gap`: each once, in the order of `Flag`."""
    raised = set(flags)
    return ", ".join(flag for flag in Flag if flag in raised) if raised else ""
