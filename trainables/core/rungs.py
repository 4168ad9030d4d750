"""`Rungs`: points of a trial at which the scheduler compares it with others. Plain data for the scheduler and the workers."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any, Literal

Unit = Literal["epochs", "compute", "stages"]


@dataclass(frozen=True)
class Rungs:
    """Positions of the rungs; a trial is compared with others at the end of the first epoch that reaches one."""

    unit: Unit = "epochs"
    positions: tuple[float, ...] = ()
    """Ascending positions: epochs done, shares of the planned compute (`EpochReport.compute_share`), or stages ended."""

    def reached(self, report: Mapping[str, Any]) -> int:
        """Number of rungs that a trial has reached.

        Args:
            report: newest report of the trial in `epochs.jsonl`.
        """
        return bisect_right(self.positions, self._progress(report))

    def left_behind(self, report: Mapping[str, Any]) -> int:
        """Number of rungs that a trial had reached before this report: fewer than `passed` if it has just reached one."""
        if self.unit == "compute":  # the epoch that reaches a share usually exceeds it a little
            return max(0, self.reached(report) - 1)
        return sum(ceil(at) < self._progress(report) for at in self.positions)

    def _progress(self, report: Mapping[str, Any]) -> float:
        """Progress of a trial, in the unit of the positions."""
        if self.unit == "stages":
            return float(report["stage_index"] + report["stage_over"])
        return float(report["epoch" if self.unit == "epochs" else "compute_share"])
