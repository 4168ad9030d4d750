"""A run's folder of checkpoints: the newest good one, the best one, a named one; rotated."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from trainables.checkpoints.checkpoint_file import CheckpointError, load_checkpoint, write_state
from trainables.core.atomic_write import replacing
from trainables.run_folder.layout import CHECKPOINT_FILE

logger = logging.getLogger(__name__)


class CheckpointFolder:
    """The checkpoints of one run."""

    def __init__(self, folder: Path):
        self.folder = folder

    @property
    def files(self) -> dict[int, Path]:
        """By epoch."""
        found = [path for path in self.folder.glob("*.pt") if re.fullmatch(CHECKPOINT_FILE, path.name)]
        return {epoch_of(path): path for path in sorted(found, key=epoch_of)}

    def save(self, name: str, state: Mapping[str, Any] | bytes, *, compress: bool = False, sync: bool = False) -> Path:
        """Writes a checkpoint under the name that `layout.checkpoint_name` gives.

        Args:
            state: what it holds, or a file's content as `write_state` makes it.
            sync: see `replacing`.
        """
        path = self.folder / name
        with replacing(path, "wb", sync=sync) as file:
            if isinstance(state, bytes):
                file.write(state)
            else:
                write_state(file, state, compress=compress)
        for other in self.folder.glob(f"{epoch_of(path):04d}_*.pt"):
            if other.name != name:
                other.unlink()  # of an epoch that came out differently before a crash
        return path

    def good(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """The checkpoints that can be read, the newest first; a damaged one is passed over with a warning."""
        for path in reversed(self.files.values()):
            try:
                state = load_checkpoint(path)
            except CheckpointError as error:
                logger.warning("%s; using the one before it", error)
            else:
                yield path, state

    def newest(self) -> dict[str, Any] | None:
        """The newest that can be read; None where there is none."""
        return next((state for _, state in self.good()), None)

    def best(self) -> Path:
        """The best epoch's, as the newest good one has it.

        Raises:
            CheckpointError: if there is none.
        """
        newest = self.newest()
        epoch = 0 if newest is None else newest["report"]["best_epoch"]
        if epoch not in (files := self.files):
            raise CheckpointError(f"{self.folder} has no checkpoint of a best epoch; {self._those(files)}")
        return files[epoch]

    def named(self, which: str) -> Path:
        """A checkpoint as people name it: `best`, `newest`, an epoch (`12`) or a file's name.

        Raises:
            CheckpointError: if there is no such checkpoint.
        """
        if which == "best":
            return self.best()
        files = self.files
        if which == "newest" and files:
            return files[max(files)]
        for epoch, path in files.items():
            if which == path.name or (which.isdecimal() and int(which) == epoch):
                return path
        raise CheckpointError(f"{self.folder} has no checkpoint {which!r}; {self._those(files)}")

    @staticmethod
    def _those(files: Mapping[int, Path]) -> str:
        return f"there are best, newest and epochs {', '.join(map(str, files))}" if files else "there is none at all"

    def remove_torn(self) -> None:
        """Removes what a killed process left half-written. Nobody else may be writing."""
        for path in self.folder.glob(".*.pt.*"):
            path.unlink()

    def keep(self, epochs: Collection[int]) -> list[Path]:
        """Removes the checkpoints of all other epochs.

        Returns:
            Those that went.
        """
        gone = [path for epoch, path in self.files.items() if epoch not in epochs]
        for path in gone:
            path.unlink(missing_ok=True)
        return gone


def epoch_of(path: Path) -> int:
    return int(path.name.split("_")[0])


def judged_weights(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights whose score a checkpoint has, by their names in the model: the average's where that is judged.

    Only what training had changed by then; all else is as the pretrained weights have it.
    """
    trainer = checkpoint["trainer"]
    weights, stage, ema = dict(trainer["weights"]), trainer["stage"], checkpoint["recipe"]["train"]["ema"]
    if ema is not None and ema["judge"] == "ema":
        weights |= {
            _in_model(name.removeprefix("module."), stage["cut"]): tensor
            for name, tensor in stage["ema"].items()
            if name.startswith("module.")
        }
    return weights


def _in_model(name: str, cut: int) -> str:
    """A tail counts its blocks from its cut."""
    if not name.startswith("blocks."):
        return name
    _, block, rest = name.split(".", 2)
    return f"blocks.{int(block) + cut}.{rest}"
