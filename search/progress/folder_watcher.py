"""Updates a `Tally` of a run from its folder: for `thaw watch`, and in the driver for what earlier attempts have done."""

from __future__ import annotations

from pathlib import Path

from search.progress.search_state import Tally
from search.run_folder.status_file import seconds
from trainables.core.vocabulary import TrialStatus
from trainables.run_folder.cache_progress import read_cache_progress
from trainables.run_folder.epoch_report import last_report
from trainables.run_folder.layout import RunLayout, TrialLayout
from trainables.run_folder.trial_record import TrialRecord, read_record


class Follower:
    """Reads what has changed since the last look; ended trials are not read again."""

    def __init__(self, layout: RunLayout, tally: Tally):
        self._layout, self._tally = layout, tally
        self._ended: set[int] = set()
        self._seen: dict[Path, tuple[int, int]] = {}

    def look(self) -> None:
        """Updates the tally.

        Raises:
            RunFileError: if a file of a trial is damaged.
        """
        for folder in self._layout.all_trials():
            if folder.number not in self._ended and folder.trial.exists():
                # without a record, the driver was killed, or is about to write it
                self._look_at(folder)

    def _look_at(self, folder: TrialLayout) -> None:
        number, tally = folder.number, self._tally
        record: TrialRecord | None = read_record(folder) if self._changed(folder.trial) else None
        if record is not None and record.parent is not None:
            tally.fork(number, record.parent, at=seconds(record.started))
        tally.begin(number)
        if self._changed(folder.epochs) and (report := last_report(folder.epochs)):
            tally.reported(number, report, at=seconds(report["time"]))
        if record is not None and record.status is not TrialStatus.RUNNING:
            at = seconds(record.ended or record.started)
            tally.end(number, record.status, record.reason, at=at)
            self._ended.add(number)
            for file in (folder.trial, folder.epochs):
                self._seen.pop(file, None)
        elif number in tally.running:
            doing, at = read_cache_progress(folder.building)
            tally.busy(number, doing, at=at)

    def _changed(self, file: Path) -> bool:
        try:
            stat = file.stat()
        except FileNotFoundError:
            return False
        before, self._seen[file] = self._seen.get(file), (stat.st_size, stat.st_mtime_ns)
        return self._seen[file] != before
