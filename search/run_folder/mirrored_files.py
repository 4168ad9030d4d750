"""What a run's copy elsewhere is made of, and in which order, so that it is a run to go on with at any moment.

What tells of other things is read before them and written after them: the study before the ends of trials, a trial's end before
its epochs. A checkpoint is written after the reports of its epoch and those before it: a run goes on from its newest checkpoint,
and does again what came later. What was rotated out goes last.
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
"""Beside the copy's study: so many bytes it has at least, or it was cut off."""

_OF_THE_RUN = ""
"""The part of the files that are no trial's."""
_AT_ONCE, _AT_ONCE_MIB = 64, 64
"""Files that are read before they are written, as far as they are small."""
Signature = tuple[int, int]
"""Size in bytes, time of change in nanoseconds."""


class MirroredFiles:
    """The files of a run and what its copy has of them."""

    def __init__(self, layout: RunLayout, copy: RemoteFolder):
        """Compares them, while nobody else writes to the run. Of a trial's files those of the same size are taken for the same.

        Raises:
            OSError: if the copy cannot be looked at.
        """
        self._layout, self._copy = layout, copy
        self._there: dict[str, dict[str, Signature | None]] = {_OF_THE_RUN: {}}
        """For each part the copy's files by their names below the run; None: not as the run has it."""
        self._final: set[str] = set()
        """Trials that have ended and are copied."""
        self._study_size: int | None = None
        for name, size in copy.sizes().items():
            if (trial := _trial_of(name)) is not None:
                signature = _signature(layout.root / name)
                same = signature is not None and signature[0] == size
                self._there.setdefault(trial, {})[name] = signature if same else None

    def update(self) -> Iterator[None]:
        """Makes the copy equal the run, in steps: the copy is whole wherever one stops.

        Raises:
            OSError: if the copy or the run's disk refuses; what was copied is not copied again.
        """
        trials = [folder for folder in self._layout.all_trials() if folder.root.name not in self._final]
        study = _whole_lines(self._layout.study)
        yield
        self._write_changed(_OF_THE_RUN, _files_of_run(self._layout))
        for folder in trials:
            yield from self._update_trial(folder)
        if study is not None and len(study) != self._study_size:  # it only grows
            yield
            self._copy.write({self._layout.study.name: study})
            self._copy.write({STUDY_SIZE: str(len(study)).encode()})
            self._study_size = len(study)
        if self._layout.config.exists():
            self._write_changed(_OF_THE_RUN, [self._layout.config])  # last: until then a first copy is no run
        names = {folder.root.name for folder in self._layout.all_trials()}
        for trial in self._there.keys() - names - {_OF_THE_RUN}:
            self._remove_all_but(trial, ())

    def _update_trial(self, folder: TrialLayout) -> Iterator[None]:
        trial, record = folder.root.name, _read(folder.trial)
        with ExitStack() as held:
            checkpoints = sorted(folder.checkpoints.glob("[0-9]*.pt"), reverse=True)
            # Open files outlast their rotation; and the reports are read when they are open, to have those of their epochs.
            new = [(path, file) for path in checkpoints if self._changed(trial, path) and (file := _opened(path, held))]
            rest = _files_of_trial(folder)
            told = record is not None and self._there.get(trial, {}).get(self._name(folder.trial)) != record[0]
            if not (new or told or any(self._changed(trial, path) for path in rest)):
                if record is not None and _tells_an_end(record[1]):
                    self._final.add(trial)
            else:
                yield
                self._write_changed(trial, rest)
                for path, file in new:
                    yield
                    self._write(trial, {path: (_signature_of(os.fstat(file.fileno())), file.read())})
                if record is not None and told:
                    yield
                    self._write(trial, {folder.trial: record})
        if not any(self._changed(trial, path) for path in checkpoints):
            self._remove_all_but(trial, (*checkpoints, *rest, folder.trial))

    # --- files ------------------------------------------------------------------------------------------------------

    def _changed(self, part: str, path: Path) -> bool:
        """Whether the copy has it otherwise; also of a file that is gone."""
        signature = _signature(path)
        return signature is None or self._there.get(part, {}).get(self._name(path)) != signature

    def _write_changed(self, part: str, paths: Sequence[Path]) -> None:
        """Files that vanish meanwhile are passed over."""
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
        self._there.setdefault(part, {}).update({self._name(path): signature for path, (signature, _) in files.items()})

    def _remove_all_but(self, part: str, paths: Collection[Path]) -> None:
        there = self._there.get(part, {})
        gone = there.keys() - {self._name(path) for path in paths}
        self._copy.remove(gone)
        for name in gone:
            del there[name]

    def _name(self, path: Path) -> str:
        return path.relative_to(self._layout.root).as_posix()


def _files_of_run(layout: RunLayout) -> list[Path]:
    """Those that are no trial's, but for the study and the config: a confirmation is a run of its own."""
    left_out = {layout.study, layout.config, layout.stop}
    found = [*layout.root.iterdir(), *(layout.trials.iterdir() if layout.trials.is_dir() else ())]
    return [path for path in found if _is_ours(path.name) and path not in left_out and path.is_file()]


def _files_of_trial(folder: TrialLayout) -> list[Path]:
    """All but its checkpoints and the record of how it ended."""
    left_out = {folder.trial, folder.building}
    found = [Path(place, name) for place, _, names in os.walk(folder.root) for name in names if _is_ours(name)]
    return [path for path in found if path not in left_out and path.parent != folder.checkpoints]


def _is_ours(name: str) -> bool:
    """Whether a file is neither a lock nor being written."""
    return not name.startswith(".") and not name.endswith(".lock")


def _trial_of(name: str) -> str | None:
    first, _, rest = name.partition("/")
    trial, inside, _ = rest.partition("/")
    return trial if first == "trials" and inside and trial.isdecimal() else None


def _tells_an_end(record: bytes) -> bool:
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
    """A file as it is; one that changes meanwhile has a newer signature afterwards. None: it is gone."""
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
    """Without what is being written. None: it is gone."""
    if (found := _read(path)) is None:
        return None
    _, content = found
    return content[: content.rfind(b"\n") + 1]
