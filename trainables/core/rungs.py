"""`Rungs`: where on its way a trial is judged. Plain data, known to the scheduler and to workers."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any, Literal

Unit = Literal["epochs", "compute", "stages"]


@dataclass(frozen=True)
class Rungs:
    """Positions on a trial's way at which it is judged, at the end of the first epoch that comes to them."""

    unit: Unit = "epochs"
    positions: tuple[float, ...] = ()
    """Ascending: epochs done, shares of its planned compute (`EpochReport.compute_share`), or stages ended."""

    def passed(self, report: Mapping[str, Any]) -> int:
        """How many of them a trial has come to.

        Args:
            report: its newest line in `epochs.jsonl`.
        """
        return bisect_right(self.positions, self._way(report))

    def left_behind(self, report: Mapping[str, Any]) -> int:
        """How many of them a trial is beyond, judged before this report: fewer than `passed` where it has just come to one."""
        if self.unit == "compute":  # the epoch that comes to a share is somewhat beyond it
            return max(0, self.passed(report) - 1)
        return sum(ceil(at) < self._way(report) for at in self.positions)

    def _way(self, report: Mapping[str, Any]) -> float:
        if self.unit == "stages":
            return float(report["stage_index"] + report["stage_over"])
        return float(report["epoch" if self.unit == "epochs" else "compute_share"])
