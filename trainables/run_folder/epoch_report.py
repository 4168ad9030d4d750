"""`EpochReport`: results of an epoch, one line of `epochs.jsonl`. Plain data."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from trainables.core.vocabulary import Flag
from trainables.run_folder.layout import RunFileError
from trainables.run_folder.trial_columns import (
    Column,
    Part,
    at_best,
    last,
    last_unless_zero,
    own_total,
    raised,
    raised_at_best,
    scalars_at_best,
    total,
)

_NEEDED: Any = object()
"""Stands for the value of a field that no record may lack."""
_UNCHANGED: Any = object()
"""Stands for the value that the epoch had in the run that did it."""

_TRAITS = "traits"
_Kinds = type | tuple[type, ...]


@dataclass(frozen=True, kw_only=True)
class Traits:
    """All that follows from a field."""

    missing: Any
    """Value where a record lacks the field, because there was no such field when it was written; or `_NEEDED`."""
    kinds: _Kinds | None = None
    """Types of its JSON value, where reading checks them."""
    spread: bool = False
    """It is a mapping, whose items stand beside the other fields in a record."""
    nested: bool = False
    """It holds several values, so that it has no place in tables of epochs."""
    columns: tuple[Column, ...] = ()
    """Columns of a table of trials that follow from it."""
    log: tuple[int, str] | None = None
    """Place and name of its column in `log.csv`."""
    curve: str | None = None
    """Its tag in TensorBoard."""
    of_the_machine: bool = False
    """Runs of one recipe may differ in it."""
    inherited: Any = _UNCHANGED
    """Value in a run that takes the epoch over from another one; or `_UNCHANGED`."""

    @property
    def is_needed(self) -> bool:
        """True where a record without the field is damaged."""
        return self.missing is _NEEDED


def _needed(kinds: _Kinds, *columns: Column, **traits: Any) -> dict[str, Traits]:
    """Metadata of a field that readers rely on."""
    return {_TRAITS: Traits(missing=_NEEDED, kinds=kinds, columns=columns, **traits)}


def _optional(missing: Any, *columns: Column, **traits: Any) -> dict[str, Traits]:
    """Metadata of a field that records may lack."""
    return {_TRAITS: Traits(missing=missing, columns=columns, **traits)}


_NUMBER = (int, float)
_SCORE = (int, float, type(None))
_SECONDS = Column(Part.COSTS, total, float, empty=0.0)


@dataclass(frozen=True, kw_only=True)
class EpochReport:
    """One epoch of a run: training, then validation."""

    epoch: int = field(
        metadata=_needed(int, Column(Part.PROGRESS, last, int, name="epochs", empty=0), log=(1, "epoch"))
    )
    """Number of the epoch, counted from 1 over all stages."""
    stage: str = field(metadata=_needed(str, Column(Part.PROGRESS, last), log=(2, "stage")))
    """Name of the stage."""
    stage_index: int = field(
        metadata=_needed(int, Column(Part.PROGRESS, last, int | None), log=(3, "stage_index"), curve="progress/stage")
    )
    """Position of the stage, counted from 0."""
    epoch_in_stage: int = field(metadata=_optional(0))
    """Number of the epoch in its stage, counted from 1."""
    open_from: str = field(metadata=_optional(None))
    """First block that trained; `head` if only the head trained."""
    head_lr: float = field(metadata=_optional(None, curve="learning_rate/head"))
    backbone_lr: float = field(metadata=_optional(None, curve="learning_rate/backbone"))
    """Learning rate of the open blocks; 0 if none was open."""
    head_frozen: bool = field(metadata=_optional(False))
    reweighted: bool = field(metadata=_optional(False, curve="progress/reweighted"))
    """True if DRW's class weights were used."""
    train_loss: float = field(metadata=_optional(None, curve="loss/train"))
    train_accuracy: float | None = field(
        default=None,
        metadata=_optional(None, Column(Part.METRICS, at_best, float | None), curve="training/accuracy"),
    )
    """Share of the training images that were classified right when they were trained on; None in regression, and where images are
    mixed with each other."""
    grad_norm: float | None = field(
        default=None,
        metadata=_optional(None, Column(Part.METRICS, at_best, float | None), curve="training/grad_norm"),
    )
    """Norm of the gradient before clipping, mean over the steps."""
    metrics: Mapping[str, float] = field(
        metadata=_optional(
            None,
            Column(Part.METRICS, scalars_at_best, dict[str, float | None], empty={}),
            spread=True,
            log=(4, "val_loss"),
        )
    )
    """Validation scalars: the task's metrics by `Metric` name; `classes_predicted`, or `prediction_spread` in regression; with a
    weight average also `layout.metric_of_weights` of the weights that are not scored."""
    per_class: Mapping[str, list[float]] = field(metadata=_optional({}, nested=True))
    """`precision`, `recall`, `f1`, `true_count`, `predicted_count`, each [c]; empty in regression."""
    confusion: list[list[int]] = field(metadata=_optional([], nested=True))
    """Number of images by true class (row) and predicted class (column), [c][c]; empty in regression."""
    flags: tuple[Flag, ...] = field(
        metadata=_needed(
            list, Column(Part.WARNINGS, raised), Column(Part.WARNINGS, raised_at_best, name="flags_at_best")
        )
    )
    """Warning signs, in the order of `Flag`."""
    score: float = field(metadata=_needed(_SCORE, log=(5, "score"), curve="validation/score"))
    """Score of the epoch: the recipe's metric, or its fallback."""
    best_score: float = field(
        metadata=_needed(_SCORE, Column(Part.RESULT, last, float | None, name="score"), curve="validation/best_score")
    )
    """Score of the best epoch so far."""
    best_epoch: int = field(metadata=_needed(int, Column(Part.RESULT, last_unless_zero, int | None)))
    best_corrected: float = field(metadata=_optional(None))
    """Best score so far with the class shares learned in training divided out (`metrics.corrected_score`)."""
    drw_pending: bool = field(metadata=_optional(False))
    """True if re-weighting has not started or not settled yet; a scheduler may then compare trials by `best_corrected`."""
    train_s: float = field(metadata=_needed(_NUMBER, _SECONDS, of_the_machine=True, inherited=0.0))
    """Wall time of training, in seconds."""
    val_s: float = field(metadata=_optional(0.0, _SECONDS, kinds=_NUMBER, of_the_machine=True, inherited=0.0))
    """Wall time of validation, in seconds."""
    cache_s: float = field(metadata=_optional(0.0, _SECONDS, kinds=_NUMBER, of_the_machine=True, inherited=0.0))
    """Part of these two times spent on computing features of frozen blocks for the cache, in seconds."""
    uncached: str | None = field(metadata=_optional(None, of_the_machine=True))
    """Reason why training images passed through the frozen blocks in this epoch; None: their features were cached."""
    images_per_s: float = field(metadata=_optional(None, curve="progress/images_per_s", of_the_machine=True))
    """Training images per second of `train_s`."""
    compute: int = field(metadata=_optional(None, Column(Part.COSTS, own_total, float | None)))
    """Trained parameters × training images, summed over all epochs so far."""
    compute_share: float = field(metadata=_optional(0.0))
    """Share of the compute of a run whose stages use all their epochs."""
    time: str = field(metadata=_needed(str, log=(7, "time"), of_the_machine=True))
    """End of the epoch, UTC, ISO 8601."""
    stage_over: bool = field(metadata=_optional(False))
    """True if the next epoch belongs to the next stage, or there is none."""
    stage_end: str | None = field(default=None, metadata=_optional(None))
    """Reason why the stage ended with this epoch, in words; None: it continues."""
    stage_outlook: str | None = field(default=None, metadata=_optional(None))
    """Time at which the stage would end before its last epoch, in words; None: it cannot, or has just improved."""
    opened: Mapping[str, Any] | None = field(default=None, metadata=_optional(None, nested=True))
    """In the first epoch of a stage, what it opened: `blocks` (names), `parameters` (numbers that train), `share` (of all in
    the network), `batch_norms_open` and `batch_norms_frozen`."""
    finished: bool = field(metadata=_optional(False))
    """True if the run is over."""
    stopped_for: Flag | None = field(default=None, metadata=_optional(None, Column(Part.WARNINGS, last)))
    """Flag of `train.stop_on` that ended the run."""
    inherited: bool = field(default=False, metadata=_optional(False, of_the_machine=True, inherited=True))
    """True if the epoch was trained by the run that this one continues from; all times are 0 then."""
    checkpoint: str | None = field(default=None, metadata=_optional(None, log=(6, "checkpoint")))
    """Name of the checkpoint file written after this epoch, if any. Null in records, which would name it long after it has been
    rotated out: the registry tells. (Older versions recorded it.)"""

    def to_json(self) -> str:
        """Writes the report as one line of JSON; metrics become fields like the others, and numbers that are not finite null."""
        values = dict(vars(self))
        metrics = values.pop("metrics")
        return json.dumps(finite({**values, **metrics}), allow_nan=False)


def finite(value: Any) -> Any:
    """Returns the value with None in place of each number that is not finite, which JSON cannot represent."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


FIELDS: dict[str, Traits] = {each.name: each.metadata[_TRAITS] for each in fields(EpochReport)}
OF_THE_MACHINE = tuple(name for name, traits in FIELDS.items() if traits.of_the_machine)
"""Fields that may differ between runs of the same recipe."""
NESTED = tuple(name for name, traits in FIELDS.items() if traits.nested)
"""Fields that hold several values."""
INHERITED = {name: traits.inherited for name, traits in FIELDS.items() if traits.inherited is not _UNCHANGED}
"""Values in the reports of epochs that a run takes over from another one."""
LOG_COLUMNS = tuple(name for _, name in sorted(traits.log for traits in FIELDS.values() if traits.log))
"""Columns of `log.csv`."""
CURVES = {name: traits.curve for name, traits in FIELDS.items() if traits.curve}
"""TensorBoard's tags of fields."""

_IN_RECORDS = {name: traits for name, traits in FIELDS.items() if not traits.spread}
_MISSING = {name: traits.missing for name, traits in _IN_RECORDS.items() if not traits.is_needed}
_REQUIRED = tuple(name for name, traits in _IN_RECORDS.items() if traits.is_needed)
_KINDS = {name: traits.kinds for name, traits in _IN_RECORDS.items() if traits.kinds}


def completed(report: dict[str, Any]) -> dict[str, Any]:
    """The report, with values for fields that did not exist yet when it was written."""
    for name, value in _MISSING.items():
        if name not in report:
            report[name] = copy(value)
    return report


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
        reports.append(completed(report))
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
            return completed(report)
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
    if missing := [key for key in _REQUIRED if key not in report]:
        return f"has no {', '.join(missing)}"
    wrong = [key for key, kinds in _KINDS.items() if key in report and not isinstance(report[key], kinds)]
    wrong += [] if wrong or all(isinstance(flag, str) for flag in report["flags"]) else ["flags"]
    return f"has {str(report[wrong[0]])[:60]!r} for {wrong[0]}" if wrong else None
