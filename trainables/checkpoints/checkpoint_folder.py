"""Checkpoint folder of a run: finds the newest readable, the best or a named checkpoint, and removes old ones."""

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
    """Checkpoints of one run."""

    def __init__(self, folder: Path):
        self.folder = folder

    @property
    def files(self) -> dict[int, Path]:
        """Checkpoint files by epoch, ascending."""
        found = [path for path in self.folder.glob("*.pt") if re.fullmatch(CHECKPOINT_FILE, path.name)]
        return {epoch_of(path): path for path in sorted(found, key=epoch_of)}

    def save(self, name: str, state: Mapping[str, Any] | bytes, *, compress: bool = False, sync: bool = False) -> Path:
        """Writes a checkpoint.

        Args:
            name: file name, as `layout.checkpoint_name` builds it.
            state: tensors and plain values, or the content of a file as `write_state` writes it.
            compress: deflate the file.
            sync: see `replacing`.
        Returns:
            Path of the file.
        """
        path = self.folder / name
        with replacing(path, "wb", sync=sync) as file:
            if isinstance(state, bytes):
                file.write(state)
            else:
                write_state(file, state, compress=compress)
        for other in self.folder.glob(f"{epoch_of(path):04d}_*.pt"):
            if other.name != name:
                other.unlink()  # left from before a crash, when the same epoch had another score
        return path

    def readable(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Yields the readable checkpoints, newest first; skips damaged ones with a warning."""
        for path in reversed(self.files.values()):
            try:
                state = load_checkpoint(path)
            except CheckpointError as error:
                logger.warning("%s; using the one before it", error)
            else:
                yield path, state

    def newest(self) -> dict[str, Any] | None:
        """Content of the newest readable checkpoint; None if there is none."""
        return next((state for _, state in self.readable()), None)

    def best(self) -> Path:
        """Path of the best epoch's checkpoint, according to the newest readable one.

        Raises:
            CheckpointError: if there is none.
        """
        newest = self.newest()
        epoch = 0 if newest is None else newest["report"]["best_epoch"]
        if epoch not in (files := self.files):
            raise CheckpointError(f"{self.folder} has no checkpoint of the best epoch; {self._available(files)}")
        return files[epoch]

    def named(self, which: str) -> Path:
        """Path of a checkpoint as users name it: `best`, `newest`, an epoch (`12`) or a file name.

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
        raise CheckpointError(f"{self.folder} has no checkpoint {which!r}; {self._available(files)}")

    @staticmethod
    def _available(files: Mapping[int, Path]) -> str:
        return f"available: best, newest and epochs {', '.join(map(str, files))}" if files else "it holds none"

    def remove_partial(self) -> None:
        """Removes half-written files of a killed process. No other process may be writing at the same time."""
        for path in self.folder.glob(".*.pt.*"):
            path.unlink()

    def remove_all_but(self, epochs: Collection[int]) -> list[Path]:
        """Removes the checkpoints of all other epochs.

        Returns:
            Paths of the removed checkpoints.
        """
        gone = [path for epoch, path in self.files.items() if epoch not in epochs]
        for path in gone:
            path.unlink(missing_ok=True)
        return gone


def epoch_of(path: Path) -> int:
    """Epoch of a checkpoint, from its file name."""
    return int(path.name.split("_")[0])


def scored_weights(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Weights that were scored for a checkpoint, by their names in the model: the averaged ones if the average is scored.

    Holds only the weights that training had changed by then; the others are the pretrained ones.
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
    """Name in the model of a weight of a tail, which counts its blocks from its cut."""
    if not name.startswith("blocks."):
        return name
    _, block, rest = name.split(".", 2)
    return f"blocks.{int(block) + cut}.{rest}"
