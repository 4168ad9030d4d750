"""A run's checkpoint files: written whole or not at all, found again past a damaged one, rotated.

Files hold tensors and plain values and are loaded with `weights_only`: a checkpoint can never run code.
"""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from trainables.layout import SCHEMA_VERSION, Metric, replacing
from trainables.train_config import CheckpointPolicy

logger = logging.getLogger(__name__)


class CheckpointError(ValueError):
    """A file that is no usable checkpoint."""


class CheckpointFolder:
    """The checkpoints of one run."""

    def __init__(self, folder: Path):
        self.folder = folder

    def save(self, name: str, state: Mapping[str, Any]) -> None:
        """Writes a checkpoint under the name that `layout.checkpoint_name` gives."""
        with replacing(self.folder / name, "wb") as file:
            torch.save({"schema": SCHEMA_VERSION, **state}, file)
        for path in self._files():
            if epoch_of(path) == int(name.split("_")[0]) and path.name != name:
                path.unlink()  # of an epoch that came out differently before a crash

    def newest(self) -> dict[str, Any] | None:
        """The newest checkpoint that can be read; a damaged one is passed over with a warning. None where there is none."""
        for path in reversed(self._files()):
            try:
                return load_checkpoint(path)
            except CheckpointError as error:
                logger.warning("%s; using the one before it", error)
        return None

    def of_epoch(self, epoch: int) -> dict[str, Any]:
        """
        Raises:
            CheckpointError: if there is none of this epoch, or it cannot be read.
        """
        path = next((path for path in self._files() if epoch_of(path) == epoch), None)
        if path is None:
            raise CheckpointError(f"{self.folder}: no checkpoint of epoch {epoch}")
        return load_checkpoint(path)

    def remove_torn(self) -> None:
        """Removes what a killed process left half-written. Nobody else may be writing."""
        for path in self.folder.glob(".*.pt.*"):
            path.unlink()

    def keep(self, epochs: set[int]) -> None:
        """Removes the checkpoints of all other epochs."""
        for path in self._files():
            if epoch_of(path) not in epochs:
                path.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        """By epoch."""
        found = self.folder.glob("[0-9]*_*.pt")
        return sorted((path for path in found if path.name.split("_")[0].isdecimal()), key=epoch_of)


def epoch_of(path: Path) -> int:
    return int(path.name.split("_")[0])


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint onto the CPU.

    Raises:
        CheckpointError: if the file is damaged, foreign or newer than this version understands.
    """
    try:
        _verify_checksums(path)
        state = torch.load(path, weights_only=True, map_location="cpu")
    except UnpicklingError:  # torch's own words for it invite to load the file without protection
        raise CheckpointError(f"{path} is no checkpoint: it holds more than tensors and plain values") from None
    except Exception as error:  # foreign bytes make zip reader and unpickler raise nearly anything
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise CheckpointError(f"{path} is damaged or no checkpoint: {reason}") from None
    if not isinstance(state, dict) or "schema" not in state:
        raise CheckpointError(f"{path} is no checkpoint of a run")
    if state["schema"] > SCHEMA_VERSION:
        raise CheckpointError(
            f"{path} was written by a newer version (schema {state['schema']}, known: {SCHEMA_VERSION})"
        )
    loaded: dict[str, Any] = state
    return loaded


def _verify_checksums(path: Path) -> None:
    """torch writes a checksum for every tensor of the file (a zip archive) and checks none when it loads it.

    Raises:
        ValueError: if a part does not have its checksum.
        BadZipFile: if it is no zip archive.
    """
    with zipfile.ZipFile(path) as archive:
        if damaged := archive.testzip():
            raise ValueError(f"checksum of {damaged} is wrong")


def epochs_to_keep(scores: Mapping[int, float], policy: CheckpointPolicy, metric: Metric) -> set[int]:
    """The newest epoch, the best ones, and each n-th.

    Args:
        scores: epoch -> score of every epoch done; NaN is never among the best. Of equal scores the earlier one is better.
    """
    if not scores:
        return set()
    sign = 1 if metric.mode == "min" else -1
    ranked = sorted((epoch for epoch in scores if scores[epoch] == scores[epoch]), key=lambda e: (sign * scores[e], e))
    kept = {max(scores), *ranked[: policy.keep_best]}
    if policy.every_epochs is not None:
        kept |= {epoch for epoch in scores if epoch % policy.every_epochs == 0}
    return kept
