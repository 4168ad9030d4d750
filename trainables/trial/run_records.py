"""Records of a run's epochs: `epochs.jsonl`, and `log.csv` for spreadsheets."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trainables.checkpoints.checkpoint_folder import CheckpointFolder
from trainables.core.atomic_write import append_whole, replacing
from trainables.run_folder.epoch_report import LOG_COLUMNS
from trainables.run_folder.layout import TrialLayout


class RunRecords:
    """Records of a run that is training."""

    def __init__(self, folder: TrialLayout):
        self._folder = folder
        self._unwritten: list[Mapping[str, Any]] = []
        """Reports of epochs that could not be written yet."""

    def restart(self, reports: Iterable[Mapping[str, Any]]) -> None:
        """Writes both files anew, with the reports of the epochs that are done."""
        # Not synced: all of it can be restored from the checkpoints.
        with replacing(self._folder.epochs, sync=False) as file:
            file.writelines(json.dumps(report) + "\n" for report in reports)
        _write_log(self._folder, reports, {})

    def add(self, report: Mapping[str, Any]) -> None:
        """Takes in an epoch; `write` writes it."""
        self._unwritten.append(report)

    def write(self, up_to: float = math.inf) -> None:
        """Appends the epochs that are not written yet, up to this one.

        Raises:
            OSError: if one cannot be written; the next call tries again.
        """
        while self._unwritten and self._unwritten[0]["epoch"] <= up_to:
            report = self._unwritten[0]
            append_whole(self._folder.epochs, json.dumps(report) + "\n")
            self._unwritten.pop(0)
            append_whole(self._folder.log, _rows([report]))


def complete_log(folder: TrialLayout, reports: Sequence[Mapping[str, Any]]) -> None:
    """Writes `log.csv` anew, with the checkpoints that exist. Not called while they come and go, so that it never names another.

    Args:
        folder: folder of the run.
        reports: reports of all its epochs.
    """
    files = CheckpointFolder(folder.checkpoints).files
    _write_log(folder, reports, {epoch: path.name for epoch, path in files.items()})


def _write_log(folder: TrialLayout, reports: Iterable[Mapping[str, Any]], checkpoints: Mapping[int, str]) -> None:
    with replacing(folder.log, sync=False) as file:
        file.write(",".join(LOG_COLUMNS) + "\r\n")
        file.write(_rows({**report, "checkpoint": checkpoints.get(report["epoch"])} for report in reports))


def _rows(reports: Iterable[Mapping[str, Any]]) -> str:
    text = io.StringIO(newline="")
    csv.DictWriter(text, LOG_COLUMNS, extrasaction="ignore").writerows(reports)
    return text.getvalue()
