"""`SearchState`: state of a search's trials, updated by events. The cost of an event does not depend on the number of trials."""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trainables.core.rungs import Rungs
from trainables.core.vocabulary import Metric, TrialStatus
from trainables.run_folder.trial_record import Parent

TOP = 10
"""Number of best trials that are tracked in order."""

_RULED_OUT = {TrialStatus.FAILED, TrialStatus.INFEASIBLE}

EVENTS = 8
"""Number of latest events that are tracked."""


@dataclass(slots=True)
class Row:
    """Row of a trial in the display."""

    number: int
    status: TrialStatus = TrialStatus.RUNNING
    stage: str | None = None
    """Name of the stage; None before the first report."""
    epoch: int = 0
    loss: float | None = None
    score: float | None = None
    best: float | None = None
    flags: tuple[str, ...] = ()
    rungs_reached: int = 0
    rungs_passed: int = 0
    activity: str | None = None
    """Current work other than an epoch, with its progress: `computing features 1200/3000`."""


@dataclass
class SearchState:
    """State of a search. Times are seconds since 1970, so that they mean the same to a driver and to `thaw watch`
    elsewhere."""

    total: int
    metric: Metric
    started: float
    """Start of this attempt."""
    rungs: Rungs = field(default_factory=Rungs)
    """Rungs at which trials are compared."""
    rows: dict[int, Row] = field(default_factory=dict)
    """All trials that have begun."""
    running: dict[int, Row] = field(default_factory=dict)
    counts: dict[TrialStatus, int] = field(default_factory=dict)
    """Ended trials by status, those of earlier attempts included."""
    ended_here: int = 0
    """Trials that ended in this attempt."""
    top: list[Row] = field(default_factory=list)
    """Trials with the best scores, best first; of equal ones, the one with the lowest number, as in the results. Failed
    and infeasible trials are excluded."""
    events: list[tuple[float, str]] = field(default_factory=list)
    """Time and text of the latest events, oldest first."""

    def __post_init__(self) -> None:
        self.reached, self.passed = [0] * len(self.rungs.positions), [0] * len(self.rungs.positions)
        """Number of trials that reached each rung, and of those that continued or finished there."""

    @property
    def ended(self) -> int:
        return sum(self.counts.values())

    @property
    def best(self) -> Row | None:
        return self.top[0] if self.top else None

    def begin(self, number: int) -> None:
        """Registers a running trial."""
        row = self.rows.setdefault(number, Row(number))
        if row.status is TrialStatus.RUNNING:
            self.running[number] = row

    def fork(self, number: int, parent: Parent, *, at: float) -> None:
        """Registers a trial that starts from another one, unless it is registered already.

        Args:
            number: number of the trial.
            parent: trial and epoch that it starts from.
            at: time of the event.
        """
        if number in self.rows:
            return
        self.begin(number)
        row = self.rows[number]
        row.rungs_reached = row.rungs_passed = self.rungs.reached({"epoch": parent.epoch})  # its parent reached them
        self._add_event(at, f"trial {number}: starts from trial {parent.trial} after epoch {parent.epoch}")

    def set_activity(self, number: int, activity: str | None, *, at: float) -> None:
        """Registers work of a running trial other than an epoch, or its end.

        Args:
            number: number of the trial.
            activity: the work and its progress; None: it has ended.
            at: time of the event.
        """
        row = self.rows[number]
        if activity and not row.activity:
            self._add_event(at, f"trial {number}: {activity.rpartition(' ')[0]}")
        row.activity = activity

    def reported(self, number: int, report: Mapping[str, Any], *, at: float) -> None:
        """Registers an epoch's report; of several epochs at once the last one is enough.

        Args:
            number: number of the trial.
            report: report of the epoch.
            at: time of the event.
        """
        self.begin(number)
        row = self.rows[number]
        if row.stage is not None and report["stage"] != row.stage:
            self._add_event(at, f"trial {number}: enters stage {report['stage']} after {row.epoch} epochs")
        if report["epoch"] > row.epoch:  # a killed worker's last epoch is trained again
            self._count_rungs(row, report)
            row.epoch = report["epoch"]
        row.stage, row.flags = report["stage"], tuple(report["flags"])
        row.loss, row.score, row.best = report.get("val_loss"), report["score"], report["best_score"]
        row.activity = None
        self._rank(row)

    def end(self, number: int, status: TrialStatus, reason: str | None, *, at: float) -> None:
        """Registers the end of a trial.

        Args:
            number: number of the trial.
            status: how it ended.
            reason: why, if it did not simply finish.
            at: time of the event.
        """
        self.begin(number)
        row = self.rows[number]
        row.status, row.activity = status, None
        self.running.pop(number, None)
        self.counts[status] = self.counts.get(status, 0) + 1
        if status in _RULED_OUT and row in self.top:
            self._unrank(row)
        self.ended_here += at >= self.started
        if status is TrialStatus.FINISHED:
            self._pass_rungs(row, row.rungs_reached)
        self._add_event(at, story(row, reason))

    def seconds_left(self, *, now: float) -> float | None:
        """Estimated seconds until the search ends, from the pace of this attempt with running trials counted as half
        done; None before a trial has ended."""
        if not self.ended_here:
            return None
        done = self.ended_here + len(self.running) / 2
        return max(0.0, (now - self.started) / done * (self.total - self.ended - len(self.running) / 2))

    def _count_rungs(self, row: Row, report: Mapping[str, Any]) -> None:
        self._pass_rungs(row, row.rungs_reached)
        for rung in range(row.rungs_reached, reached := self.rungs.reached(report)):
            self.reached[rung] += 1
        row.rungs_reached = max(row.rungs_reached, reached)
        self._pass_rungs(row, self.rungs.left_behind(report))

    def _pass_rungs(self, row: Row, rungs: int) -> None:
        """Counts this many rungs as passed by a trial."""
        for rung in range(row.rungs_passed, rungs):
            self.passed[rung] += 1
        row.rungs_passed = max(row.rungs_passed, rungs)

    def _rank(self, row: Row) -> None:
        """Puts a trial in its place among the best. A trial's best score never falls."""
        if row.best is None:
            return
        others = [other for other in self.top if other is not row]
        place = bisect.bisect_right([self._order(other) for other in others], self._order(row))
        self.top = [*others[:place], row, *others[place:]][:TOP]

    def _unrank(self, row: Row) -> None:
        """Removes a trial from the best; the next best one moves up."""
        others = [other for other in self.rows.values() if other not in self.top and other.status not in _RULED_OUT]
        self.top.remove(row)
        if next_best := min((other for other in others if other.best is not None), key=self._order, default=None):
            self._rank(next_best)

    def _order(self, row: Row) -> tuple[float, int]:
        """Sort key of a trial by its score and its number: the better, the smaller."""
        return (row.best or 0.0) * (-1 if self.metric.mode == "max" else 1), row.number

    def _add_event(self, at: float, what: str) -> None:
        bisect.insort(self.events, (at, what), key=lambda event: event[0])
        del self.events[:-EVENTS]


def story(row: Row, reason: str | None) -> str:
    """Line about the end of a trial: `trial 7: pruned in stage head after 4 epochs (0.61 at epoch 4 was not among the
    best there)`."""
    where = "" if row.stage is None else f" in stage {row.stage} after {row.epoch} epochs"
    return f"trial {row.number}: {row.status}{where}" + (f" ({reason})" if reason else "")
