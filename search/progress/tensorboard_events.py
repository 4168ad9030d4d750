"""Writes TensorBoard's event files: a run's curves, a trial's hyperparameters from its first epoch on, and a search's
columns."""

from __future__ import annotations

import io
import logging
import os
import socket
import time
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo
from tensorboard.plugins.hparams.summary_v2 import (
    Discrete,
    Domain,
    HParam,
    IntInterval,
    RealInterval,
    hparams_config_pb,
    hparams_pb,
)
from tensorboard.plugins.hparams.summary_v2 import (
    Metric as Column,
)
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.summary.writer.record_writer import RecordWriter

from search.progress.curve_points import points_of
from spaces.distributions import Distribution
from trainables.core.atomic_write import append_whole
from trainables.core.vocabulary import Metric

logger = logging.getLogger(__name__)

_NUMBERS = count()
"""Numbers of the files that this process writes: TensorBoard reads files of a folder in the order of their names."""


class _EventFile:
    """New event file in a folder, written at once: TensorBoard's writer has a thread, which a full disk ends with a traceback."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{next(_NUMBERS):06}"
        self._path = folder / name
        self._unwritten = _record(Event(wall_time=time.time(), file_version="brain.Event:2"))
        self._fails = False

    def add(self, event: Event) -> None:
        """Appends an event. If the disk refuses it, there is a warning, and the next event brings it along."""
        self._unwritten += _record(event)
        try:
            append_whole(self._path, self._unwritten)
        except OSError as error:
            if not self._fails:
                logger.warning("curves for TensorBoard are not written: %s", error)
            self._fails = True
        else:
            self._unwritten, self._fails = b"", False


def _record(event: Event) -> bytes:
    content = io.BytesIO()
    RecordWriter(content).write(event.SerializeToString())
    return content.getvalue()


class TrialEvents:
    """Event file of one run."""

    def __init__(self, folder: Path, *, params: Mapping[str, Any]):
        """
        Args:
            folder: folder of the run.
            params: searched values by dotted path; empty for a run that belongs to no search.
        """
        self._file = _EventFile(folder)
        if params:
            known = {key: _as_scalar(value) for key, value in params.items()}
            self._add(hparams_pb(known, trial_id=folder.name), step=0)

    def epoch(self, report: Mapping[str, Any]) -> None:
        """Adds a point to each curve, and 0 or 1 for each flag; missing values are left out."""
        summary = Summary()  # one for all points: an event costs the writer more than a point
        for tag, point in points_of(report).items():
            summary.MergeFrom(scalar_pb(tag, point))
        self._add(summary, step=report["epoch"])

    def ended(self, *, well: bool) -> None:
        """Marks a search's trial as ended.

        Args:
            well: True if it did not fail.
        """
        status = api_pb2.STATUS_SUCCESS if well else api_pb2.STATUS_FAILURE
        end = HParamsPluginData(session_end_info=SessionEndInfo(status=status, end_time_secs=time.time()))
        # tensorboard.plugins.hparams.summary has a function for this, which imports TensorFlow.
        summary = Summary()
        summary.value.add(
            tag=metadata.SESSION_END_INFO_TAG,
            metadata=metadata.create_summary_metadata(end),
            tensor=metadata.NULL_TENSOR,
        )
        self._add(summary, step=0)

    def _add(self, summary: Any, *, step: int) -> None:
        self._file.add(Event(wall_time=time.time(), step=step, summary=summary))


def write_columns(folder: Path, parameters: Mapping[str, Distribution], metric: Metric) -> None:
    """Writes the columns of TensorBoard's table of hyperparameters for a search.

    Args:
        folder: folder of the trials' folders.
        parameters: searched values by dotted path.
        metric: metric of the scores.
    """
    hparams = [HParam(path, _domain(distribution)) for path, distribution in parameters.items()]
    best = Column("validation/best_score", display_name=f"best {metric.value}")
    _EventFile(folder).add(Event(wall_time=time.time(), summary=hparams_config_pb(hparams, [best])))


def _domain(distribution: Distribution) -> Domain | None:
    """TensorBoard's domain for a distribution; None if its values have several types, which domains cannot express."""
    extremes = distribution.extremes()
    if distribution.scale == "choice":
        choices = [_as_scalar(choice) for choice in extremes]
        return Discrete(choices) if len({type(choice) for choice in choices}) == 1 else None
    return (IntInterval if all(isinstance(bound, int) for bound in extremes) else RealInterval)(*extremes)


def _as_scalar(value: Any) -> bool | int | float | str:
    """Value of a type that TensorBoard accepts."""
    return value if isinstance(value, int | float | str) else str(value)
