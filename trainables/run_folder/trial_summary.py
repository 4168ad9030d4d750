"""What a trial came to, from its epoch reports: the part of a table's row that training decides. Plain data."""

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
"""Scalars of the best epoch that stand in a trial's row."""


class TrialSummary(Config):
    """A trial's epochs in short. Written when it ends, so that tables of thousands of trials need not read all their epochs."""

    score: float | None
    best_epoch: int | None
    epochs: int
    stage: str | None
    stage_index: int | None
    metrics: dict[str, float | None]
    """`AT_BEST`, of the best epoch."""
    flags: str | None
    """Raised in some epoch: `spike, gap`."""
    flags_at_best: str | None
    stopped_for: str | None
    train_s: float
    """Seconds, of all epochs, like the two below."""
    val_s: float
    cache_s: float
    """Part of the other two."""
    compute: float | None
    """Of all epochs but inherited ones, where reports tell it."""
    epochs_bytes: int
    """Size of the epochs' file that this is of: one that differs has been written since."""

    def row(self) -> dict[str, Any]:
        """Its columns in a table of trials."""
        fields = self.model_dump(exclude={"metrics", "epochs_bytes"})
        return {**fields, **{name: self.metrics.get(name) for name in AT_BEST}}


def summary_in(file: Path) -> TrialSummary:
    """How far a trial came, its best epoch's metrics, its flags and its costs, from its `epochs.jsonl`; there may be none yet.

    Raises:
        RunFileError: if it cannot be read; names the file.
    """
    size = size_of(file) or 0  # before reading: what is appended meanwhile makes it differ
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
    """Reports add it up over inherited epochs, too."""
    last = reports[-1].get("compute") if reports else None
    inherited = [report["compute"] for report in reports if report.get("inherited")]
    return last - inherited[-1] if last is not None and inherited else last


def size_of(file: Path) -> int | None:
    """In bytes; None: it is not there."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return None


def listed(flags: Iterable[str]) -> str:
    """`spike, gap`: each flag once, in the order of `Flag`."""
    raised = set(flags)
    return ", ".join(flag for flag in Flag if flag in raised) if raised else ""
