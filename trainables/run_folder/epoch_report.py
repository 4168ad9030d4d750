"""`EpochReport`: results of an epoch, one line of `epochs.jsonl`. Plain data."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from trainables.core.vocabulary import Flag
from trainables.run_folder.layout import RunFileError


@dataclass(frozen=True, kw_only=True)
class EpochReport:
    """One epoch of a run: training, then validation."""

    epoch: int
    """Number of the epoch, counted from 1 over all stages."""
    stage: str
    """Name of the stage."""
    stage_index: int
    """Position of the stage, counted from 0."""
    epoch_in_stage: int
    """Number of the epoch in its stage, counted from 1."""
    open_from: str
    """First block that trained; `head` if only the head trained."""
    head_lr: float
    backbone_lr: float
    """Learning rate of the open blocks; 0 if none was open."""
    head_frozen: bool
    reweighted: bool
    """True if DRW's class weights were used."""
    train_loss: float
    metrics: Mapping[str, float]
    """Validation scalars: the task's metrics by `Metric` name; `classes_predicted`, or `prediction_spread` in regression; with a
    weight average also `layout.metric_of_weights` of the weights that are not scored."""
    per_class: Mapping[str, list[float]]
    """`precision`, `recall`, `f1`, `true_count`, `predicted_count`, each [c]; empty in regression."""
    confusion: list[list[int]]
    """Number of images by true class (row) and predicted class (column), [c][c]; empty in regression."""
    flags: tuple[Flag, ...]
    """Warning signs, in the order of `Flag`."""
    score: float
    """Score of the epoch: the recipe's metric, or its fallback."""
    best_score: float
    """Score of the best epoch so far."""
    best_epoch: int
    best_corrected: float
    """Best score so far with the class shares learned in training divided out (`metrics.corrected_score`)."""
    drw_pending: bool
    """True if re-weighting has not started or not settled yet; a scheduler may then compare trials by `best_corrected`."""
    train_s: float
    """Wall time of training, in seconds."""
    val_s: float
    """Wall time of validation, in seconds."""
    cache_s: float
    """Part of these two times spent on computing features of frozen blocks for the cache, in seconds."""
    uncached: str | None
    """Reason why training images passed through the frozen blocks in this epoch; None: their features were cached."""
    images_per_s: float
    """Training images per second of `train_s`."""
    compute: int
    """Trained parameters × training images, summed over all epochs so far."""
    compute_share: float
    """Share of the compute of a run whose stages use all their epochs."""
    time: str
    """End of the epoch, UTC, ISO 8601."""
    stage_over: bool
    """True if the next epoch belongs to the next stage, or there is none."""
    finished: bool
    """True if the run is over."""
    stopped_for: Flag | None = None
    """Flag of `train.stop_on` that ended the run."""
    inherited: bool = False
    """True if the epoch was trained by the run that this one continues from; all times are 0 then."""
    checkpoint: str | None = None
    """Name of the checkpoint file written after this epoch, if any."""

    @property
    def scalars(self) -> dict[str, float]:
        """Numbers to plot over the epochs, by name."""
        return {
            "train_loss": self.train_loss,
            **self.metrics,
            "score": self.score,
            "best_score": self.best_score,
            "head_lr": self.head_lr,
            "backbone_lr": self.backbone_lr,
            "stage_index": self.stage_index,
            "reweighted": float(self.reweighted),
            "images_per_s": self.images_per_s,
            **{flag.value: float(flag in self.flags) for flag in Flag},
        }

    def to_json(self) -> str:
        """Writes the report as one line of JSON; metrics become fields like the others, and numbers that are not finite null."""
        fields = dict(vars(self))
        metrics = fields.pop("metrics")
        return json.dumps(finite({**fields, **metrics}), allow_nan=False)


def finite(value: Any) -> Any:
    """Returns the value with None in place of each number that is not finite, which JSON cannot represent."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


OF_THE_MACHINE = ("train_s", "val_s", "cache_s", "uncached", "images_per_s", "time", "inherited")
"""Fields that may differ between runs of the same recipe."""

_NUMBER, _SCORE = (int, float), (int, float, type(None))
_NEEDED: dict[str, type | tuple[type, ...]] = {
    "epoch": int,
    "stage": str,
    "stage_index": int,
    "score": _SCORE,
    "best_score": _SCORE,
    "best_epoch": int,
    "flags": list,
    "train_s": _NUMBER,
    "time": str,
}
"""Fields that readers rely on, and their types."""
_KINDS = {**_NEEDED, "val_s": _NUMBER, "cache_s": _NUMBER}


def read_epochs(file: Path) -> list[dict[str, Any]]:
    """Reads the reports of an `epochs.jsonl`, oldest first; empty if there is no such file.

    A truncated last line is ignored: the process that wrote it was killed.

    Raises:
        RunFileError: if a line cannot be read; names file and line.
    """
    try:
        lines = file.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    reports: list[dict[str, Any]] = []
    for position, line in enumerate(lines, start=1):
        try:
            report = from_json(line)  # three times as fast as json.loads: tables read hundreds of MiB of these
        except ValueError as error:
            if position == len(lines):
                break
            raise RunFileError(f"{file}:{position}: not a line of JSON ({error})") from None
        if fault := fault_of(report):
            raise RunFileError(f"{file}:{position}: the epoch report {fault}")
        reports.append(report)
    return reports


def last_report(file: Path) -> dict[str, Any] | None:
    """Reads the newest report of an `epochs.jsonl` from the end of the file; None if there is none yet.

    Skips lines that are truncated or not reports, because the file may be being written.
    """
    for line in _lines_from_the_end(file):
        try:
            report: dict[str, Any] = from_json(line)
        except ValueError:
            continue
        if not fault_of(report):
            return report
    return None


def _lines_from_the_end(file: Path, *, block: int = 1 << 14) -> Iterator[bytes]:
    try:
        stream = file.open("rb")
    except FileNotFoundError:
        return
    with stream:
        position, tail = stream.seek(0, os.SEEK_END), b""
        while position > 0:
            start = max(0, position - block)
            stream.seek(start)
            first, *whole = (stream.read(position - start) + tail).split(b"\n")
            yield from filter(None, reversed(whole))
            position, tail = start, first
        yield tail


def fault_of(report: Any) -> str | None:
    """Returns the reason why a value read from a file is not an epoch report, such as `has no score`; None if it is one."""
    if not isinstance(report, dict):
        return "is not a JSON object"
    if missing := [key for key in _NEEDED if key not in report]:
        return f"has no {', '.join(missing)}"
    wrong = [key for key, kinds in _KINDS.items() if not isinstance(report.get(key, 0.0), kinds)]
    return f"has {str(report[wrong[0]])[:60]!r} for {wrong[0]}" if wrong else None
