"""History of a run's checkpoints: when they were written, and how much the weights of each block changed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from trainables.run_folder.checkpoint_registry import Entry


class Point(NamedTuple):
    """A checkpoint on the timeline."""

    epoch: int
    stage: str
    score: float
    """Score of the epoch; NaN where there is none."""
    kept: bool
    """True where the file is on disk."""
    mark: str
    """Comma-separated marks: `best`, a milestone, `on demand`; or empty."""
    size_mb: float
    save_s: float | None
    """Seconds that writing it took; None if unknown."""

    @property
    def saved_in(self) -> str:
        """`0.12 s`, or a dash if it is unknown."""
        return "–" if self.save_s is None else f"{self.save_s:.2f} s"


class WeightChanges(NamedTuple):
    """Changes of the weights by block and epoch."""

    blocks: list[str]
    """Blocks that trained, from input to head."""
    epochs: list[int]
    norms: list[list[float | None]]
    """[block][epoch] norm of the weights; None where the block is still frozen, or the norm is unknown."""
    changes: list[list[float | None]]
    """[block][epoch] change of the weights in the epoch, relative to their norm."""


def timeline(entries: Sequence[Entry], kept: set[str]) -> list[Point]:
    """Points of the timeline, one a checkpoint.

    Args:
        entries: the registry of checkpoints.
        kept: names of the files on disk.
    """
    best = max((entry.epoch for entry in entries if entry.best), default=None)
    return [
        Point(
            epoch=entry.epoch,
            stage=entry.stage,
            score=math.nan if entry.score is None else entry.score,
            kept=entry.file in kept,
            mark=", ".join(entry.marks(best_epoch=best)),
            size_mb=entry.size / 1e6,
            save_s=entry.save_s,
        )
        for entry in entries
    ]


def changes_of_weights(entries: Sequence[Entry]) -> WeightChanges:
    """Changes by block and epoch. Blocks are unfrozen from the head down, so the entry with the most blocks lists all of them."""
    blocks = max((list(entry.blocks) for entry in entries), key=len, default=[])
    norms = [[entry.blocks[block].norm if block in entry.blocks else None for entry in entries] for block in blocks]
    changes = [[entry.blocks[block].change if block in entry.blocks else None for entry in entries] for block in blocks]
    return WeightChanges(blocks, [entry.epoch for entry in entries], norms, changes)


def summary(points: Sequence[Point]) -> str:
    """Sentence: `3 of 7 checkpoints are on disk, 1.2 MB; all were written in 0.4 s.`"""
    size = sum(point.size_mb for point in points if point.kept)
    seconds = [point.save_s for point in points if point.save_s is not None]
    written = f"; all were written in {sum(seconds):.2g} s" if len(seconds) == len(points) else ""
    return f"{sum(point.kept for point in points)} of {len(points)} checkpoints are on disk, {size:.1f} MB{written}."
