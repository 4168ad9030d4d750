"""Updates a `SearchState` of a run from its folder: for `thaw watch`, and in the driver for what earlier attempts have done."""

from __future__ import annotations

from pathlib import Path

from search.progress.search_state import SearchState
from search.run_folder.status_file import seconds
from trainables.core.vocabulary import TrialStatus
from trainables.run_folder.cache_progress import read_cache_progress
from trainables.run_folder.epoch_report import last_report
from trainables.run_folder.layout import RunLayout, TrialLayout
from trainables.run_folder.trial_record import TrialRecord, read_record


class Follower:
    """Reads what has changed since the last look; ended trials are not read again."""

    def __init__(self, layout: RunLayout, search_state: SearchState):
        self._layout, self._search_state = layout, search_state
        self._ended: set[int] = set()
        self._seen: dict[Path, tuple[int, int]] = {}

    def update(self) -> None:
        """Updates the search_state.

        Raises:
            RunFileError: if a file of a trial is damaged.
        """
        for folder in self._layout.all_trials():
            if folder.number not in self._ended and folder.trial.exists():
                # without a record, the driver was killed, or is about to write it
                self._look_at(folder)

    def _look_at(self, folder: TrialLayout) -> None:
        number, search_state = folder.number, self._search_state
        record: TrialRecord | None = read_record(folder) if self._changed(folder.trial) else None
        if record is not None and record.parent is not None:
            search_state.fork(number, record.parent, at=seconds(record.started))
        search_state.begin(number)
        if self._changed(folder.epochs) and (report := last_report(folder.epochs)):
            search_state.reported(number, report, at=seconds(report["time"]))
        if record is not None and record.status is not TrialStatus.RUNNING:
            at = seconds(record.ended or record.started)
            search_state.end(number, record.status, record.reason, at=at)
            self._ended.add(number)
            for file in (folder.trial, folder.epochs):
                self._seen.pop(file, None)
        elif number in search_state.running:
            activity, at = read_cache_progress(folder.building)
            search_state.set_activity(number, activity, at=at)

    def _changed(self, file: Path) -> bool:
        try:
            stat = file.stat()
        except FileNotFoundError:
            return False
        before, self._seen[file] = self._seen.get(file), (stat.st_size, stat.st_mtime_ns)
        return self._seen[file] != before
