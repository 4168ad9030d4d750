"""`EpochReport`: what is known after an epoch. One line of `epochs.jsonl`. Plain data."""

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
    """Counted from 1 over all stages."""
    stage: str
    stage_index: int
    epoch_in_stage: int
    """Counted from 1."""
    open_from: str
    """First block that trained; `head` where only the head did."""
    head_lr: float
    backbone_lr: float
    """0 where no block was open."""
    head_frozen: bool
    reweighted: bool
    """Whether DRW's class weights were in force."""
    train_loss: float
    metrics: Mapping[str, float]
    """Validation scalars by `Metric` name, those of the task; and `classes_predicted`, or `prediction_spread` in regression;
    with an average also `layout.metric_of_weights` of the weights that are not judged."""
    per_class: Mapping[str, list[float]]
    """`precision`, `recall`, `f1`, `true_count`, `predicted_count`, each [c]; empty in regression."""
    confusion: list[list[int]]
    """[c][c]: images of true class (row) by predicted class (column); empty in regression."""
    flags: tuple[Flag, ...]
    """Warning signs, in the order of `Flag`."""
    score: float
    """Of this epoch, by the recipe's metric (or its fallback)."""
    best_score: float
    """Of the best epoch so far."""
    best_epoch: int
    best_corrected: float
    """The best score so far with the class shares that training taught divided out (`metrics.corrected_score`)."""
    drw_pending: bool
    """Re-weighting is still to come or has not settled: what a scheduler may see in `best_corrected`."""
    train_s: float
    """Wall time of training, in seconds."""
    val_s: float
    """Wall time of validation, in seconds."""
    cache_s: float
    """Of these two, the time in which features of frozen blocks were computed to be kept, in seconds."""
    uncached: str | None
    """Why training images went through frozen blocks in this epoch; None: their features had been kept."""
    images_per_s: float
    """Training images over `train_s`."""
    compute: int
    """Trained parameters × training images, added up over all epochs so far."""
    compute_share: float
    """Of what the run would spend if each stage used all its epochs."""
    time: str
    """UTC, ISO 8601."""
    stage_over: bool
    """The next epoch belongs to the next stage, or there is none."""
    finished: bool
    """The run is over."""
    stopped_for: Flag | None = None
    """The flag of `train.stop_on` that ended the run."""
    inherited: bool = False
    """Another run did this epoch, from which this one goes on, and spent the time: all times are 0."""
    checkpoint: str | None = None
    """Name of the checkpoint file written after this epoch, where one was."""

    @property
    def scalars(self) -> dict[str, float]:
        """All numbers that make a curve over epochs, by name."""
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
        """One line; metrics stand beside the other fields; what is not finite becomes null."""
        fields = dict(vars(self))
        metrics = fields.pop("metrics")
        return json.dumps(finite({**fields, **metrics}), allow_nan=False)


def finite(value: Any) -> Any:
    """The value with null for each number that JSON does not know."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


OF_THE_MACHINE = ("train_s", "val_s", "cache_s", "uncached", "images_per_s", "time", "inherited")
"""Fields in which runs of one recipe may differ."""

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
"""What readers rely on, and its kinds."""
_KINDS = {**_NEEDED, "val_s": _NUMBER, "cache_s": _NUMBER}


def read_epochs(file: Path) -> list[dict[str, Any]]:
    """The reports in an `epochs.jsonl`, oldest first; none if there is no such file.

    A last line that is torn is left out: its writer was killed.

    Raises:
        RunFileError: if a line cannot be read, with file and line.
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
            raise RunFileError(f"{file}:{position}: an epoch report {fault}")
        reports.append(report)
    return reports


def last_report(file: Path) -> dict[str, Any] | None:
    """The newest report in an `epochs.jsonl`, read from its end; None if there is none yet.

    What is torn or no report is passed over: the file may be written this moment.
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
    """Why something read from a file is no epoch's report: `without score`; None where it is one."""
    if not isinstance(report, dict):
        return "that is no JSON object"
    if missing := [key for key in _NEEDED if key not in report]:
        return f"without {', '.join(missing)}"
    wrong = [key for key, kinds in _KINDS.items() if not isinstance(report.get(key, 0.0), kinds)]
    return f"whose {wrong[0]} is {str(report[wrong[0]])[:60]!r}" if wrong else None
