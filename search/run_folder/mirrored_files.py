"""Files of a run's copy elsewhere, and the order in which they are written, so that the copy can be resumed at any
moment.

A file that refers to others is read before them and written after them: the study before the ends of trials, a trial's
end before its epochs. A checkpoint is written after the reports up to its epoch: a run resumes from its newest
checkpoint, and trains later epochs again. Files that were rotated out are removed last.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from pydantic_core import from_json

from trainables.core.vocabulary import TrialStatus
from trainables.run_folder.layout import RunLayout, TrialLayout
from trainables.storage.remote_folder import RemoteFolder

STUDY_SIZE = ".study.size"
"""File in the copy with the size of its study in bytes: a smaller study is truncated."""

_OF_THE_RUN = ""
"""Key of the files that belong to no trial."""
_AT_ONCE, _AT_ONCE_MIB = 64, 64
"""Most files, and most MiB, that are read before they are written."""
Signature = tuple[int, int]
"""Size in bytes, time of change in nanoseconds."""


class MirroredFiles:
    """Files of a run, and which of them its copy has."""

    def __init__(self, layout: RunLayout, copy: RemoteFolder):
        """Compares a run with its copy, while nobody else writes to the run. Files of a trial that have the same size
        count as equal.

        Raises:
            OSError: if the copy cannot be read.
        """
        self._layout, self._copy = layout, copy
        self._copied: dict[str, dict[str, Signature | None]] = {_OF_THE_RUN: {}}
        """Trial (or `_OF_THE_RUN`) -> name of a file in the copy -> its signature in the run when it was copied; None:
        it differs."""
        self._final: set[str] = set()
        """Trials that have ended and are copied completely."""
        self._study_size: int | None = None
        for name, size in copy.sizes().items():
            if (trial := _trial_of(name)) is not None:
                signature = _signature(layout.root / name)
                same = signature is not None and signature[0] == size
                self._copied.setdefault(trial, {})[name] = signature if same else None

    def update(self) -> Iterator[None]:
        """Brings the copy up to date, in steps; the copy can be resumed after each of them.

        Raises:
            OSError: if the run cannot be read or the copy cannot be written; copied files are not copied again.
        """
        trials = [folder for folder in self._layout.all_trials() if folder.root.name not in self._final]
        study = _whole_lines(self._layout.study)
        yield
        self._write_changed(_OF_THE_RUN, _files_of_run(self._layout))
        for folder in trials:
            yield from self._update_trial(folder)
        if study is not None and len(study) != self._study_size:  # a journal only grows
            yield
            self._copy.write({self._layout.study.name: study})
            self._copy.write({STUDY_SIZE: str(len(study)).encode()})
            self._study_size = len(study)
        if self._layout.config.exists():
            self._write_changed(_OF_THE_RUN, [self._layout.config])  # last: until then a first copy is not a run
        names = {folder.root.name for folder in self._layout.all_trials()}
        for trial in self._copied.keys() - names - {_OF_THE_RUN}:
            self._remove_all_but(trial, ())

    def _update_trial(self, folder: TrialLayout) -> Iterator[None]:
        trial, record = folder.root.name, _read(folder.trial)
        with ExitStack() as held:
            checkpoints = sorted(folder.checkpoints.glob("[0-9]*.pt"), reverse=True)
            # Open files survive their rotation. Reports are read after checkpoints are opened, so as to include their
            # epochs.
            new = [(path, file) for path in checkpoints if self._changed(trial, path) and (file := _opened(path, held))]
            rest = _files_of_trial(folder)
            record_changed = (
                record is not None and self._copied.get(trial, {}).get(self._name(folder.trial)) != record[0]
            )
            if not (new or record_changed or any(self._changed(trial, path) for path in rest)):
                if record is not None and _is_of_an_ended_trial(record[1]):
                    self._final.add(trial)
            else:
                yield
                self._write_changed(trial, rest)
                for path, file in new:
                    yield
                    self._write(trial, {path: (_signature_of(os.fstat(file.fileno())), file.read())})
                if record is not None and record_changed:
                    yield
                    self._write(trial, {folder.trial: record})
        if not any(self._changed(trial, path) for path in checkpoints):
            self._remove_all_but(trial, (*checkpoints, *rest, folder.trial))

    # --- files ------------------------------------------------------------------------------------------------------

    def _changed(self, part: str, path: Path) -> bool:
        """True if the copy has another version, or if the file is gone."""
        signature = _signature(path)
        return signature is None or self._copied.get(part, {}).get(self._name(path)) != signature

    def _write_changed(self, part: str, paths: Sequence[Path]) -> None:
        """Copies the files that have changed; files that vanish meanwhile are skipped."""
        batch: dict[Path, tuple[Signature, bytes]] = {}
        for path in paths:
            if self._changed(part, path) and (content := _read(path)):
                batch[path] = content
            if len(batch) >= _AT_ONCE or sum(size for (size, _), _ in batch.values()) >= _AT_ONCE_MIB * 2**20:
                self._write(part, batch)
                batch = {}
        self._write(part, batch)

    def _write(self, part: str, files: dict[Path, tuple[Signature, bytes]]) -> None:
        self._copy.write({self._name(path): content for path, (_, content) in files.items()})
        self._copied.setdefault(part, {}).update(
            {self._name(path): signature for path, (signature, _) in files.items()}
        )

    def _remove_all_but(self, part: str, paths: Collection[Path]) -> None:
        there = self._copied.get(part, {})
        gone = there.keys() - {self._name(path) for path in paths}
        self._copy.remove(gone)
        for name in gone:
            del there[name]

    def _name(self, path: Path) -> str:
        return path.relative_to(self._layout.root).as_posix()


def _files_of_run(layout: RunLayout) -> list[Path]:
    """Files that belong to no trial, without the study and the config; nor those of a confirmation, which is a run of
    its own."""
    left_out = {layout.study, layout.config, layout.stop}
    found = [*layout.root.iterdir(), *(layout.trials.iterdir() if layout.trials.is_dir() else ())]
    return [path for path in found if _is_ours(path.name) and path not in left_out and path.is_file()]


def _files_of_trial(folder: TrialLayout) -> list[Path]:
    """Files of a trial without its checkpoints and its record."""
    left_out = {folder.trial, folder.building, folder.save_request}
    found = [Path(place, name) for place, _, names in os.walk(folder.root) for name in names if _is_ours(name)]
    return [path for path in found if path not in left_out and path.parent != folder.checkpoints]


def _is_ours(name: str) -> bool:
    """True if a file is neither a lock nor being written."""
    return not name.startswith(".") and not name.endswith(".lock")


def _trial_of(name: str) -> str | None:
    first, _, rest = name.partition("/")
    trial, inside, _ = rest.partition("/")
    return trial if first == "trials" and inside and trial.isdecimal() else None


def _is_of_an_ended_trial(record: bytes) -> bool:
    try:
        return bool(from_json(record)["status"] != TrialStatus.RUNNING)
    except (ValueError, LookupError, TypeError):
        return False


def _signature(path: Path) -> Signature | None:
    try:
        return _signature_of(path.stat())
    except FileNotFoundError:
        return None


def _signature_of(status: os.stat_result) -> Signature:
    return status.st_size, status.st_mtime_ns


def _read(path: Path) -> tuple[Signature, bytes] | None:
    """Signature and content of a file; None if it is gone. If it changes meanwhile, its signature is newer afterwards."""
    signature = _signature(path)
    try:
        return None if signature is None else (signature, path.read_bytes())
    except FileNotFoundError:
        return None


def _opened(path: Path, held: ExitStack) -> BinaryIO | None:
    try:
        return held.enter_context(path.open("rb"))
    except FileNotFoundError:
        return None


def _whole_lines(path: Path) -> bytes | None:
    """Content of a file without an incomplete last line; None if it is gone."""
    if (found := _read(path)) is None:
        return None
    _, content = found
    return content[: content.rfind(b"\n") + 1]
