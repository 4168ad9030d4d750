"""`Tally`: what is known about a search's trials, from events. An event costs the same however many trials there are."""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trainables.core.rungs import Rungs
from trainables.core.vocabulary import Metric, TrialStatus
from trainables.run_folder.trial_record import Parent

TOP = 10
"""Best trials that are kept in order."""

_RULED_OUT = {TrialStatus.FAILED, TrialStatus.INFEASIBLE}

EVENTS = 8
"""Newest events that are kept."""


@dataclass(slots=True)
class Row:
    """A trial as it is shown."""

    number: int
    status: TrialStatus = TrialStatus.RUNNING
    stage: str | None = None
    """None before the first report."""
    epoch: int = 0
    loss: float | None = None
    score: float | None = None
    best: float | None = None
    flags: tuple[str, ...] = ()
    rungs_reached: int = 0
    rungs_passed: int = 0
    doing: str | None = None
    """What it is busy with that is no epoch, and how far it is: `computing features 1200/3000`."""


@dataclass
class Tally:
    """Times are seconds since 1970, so that a driver and who watches it from elsewhere mean the same."""

    total: int
    metric: Metric
    started: float
    """When this attempt began."""
    rungs: Rungs = field(default_factory=Rungs)
    """Where trials are compared."""
    rows: dict[int, Row] = field(default_factory=dict)
    """Every trial that has begun."""
    running: dict[int, Row] = field(default_factory=dict)
    counts: dict[TrialStatus, int] = field(default_factory=dict)
    """Ended trials by status, those of earlier attempts included."""
    ended_here: int = 0
    """Trials that ended in this attempt."""
    top: list[Row] = field(default_factory=list)
    """Those with the best scores, the best first; of equals the one that had it first. Failed and infeasible ones are out."""
    events: list[tuple[float, str]] = field(default_factory=list)
    """The newest ones, oldest first."""

    def __post_init__(self) -> None:
        self.reached, self.passed = [0] * len(self.rungs.positions), [0] * len(self.rungs.positions)
        """Trials that have come to each rung, and those of them that went on or had come to their own end there."""

    @property
    def ended(self) -> int:
        return sum(self.counts.values())

    @property
    def best(self) -> Row | None:
        return self.top[0] if self.top else None

    def begin(self, number: int) -> None:
        row = self.rows.setdefault(number, Row(number))
        if row.status is TrialStatus.RUNNING:
            self.running[number] = row

    def fork(self, number: int, parent: Parent, *, at: float) -> None:
        """A trial begins where another one was; nothing where it has begun."""
        if number in self.rows:
            return
        self.begin(number)
        row = self.rows[number]
        row.rungs_reached = row.rungs_passed = self.rungs.reached({"epoch": parent.epoch})  # the other one came to them
        self._happened(at, f"trial {number}: goes on from trial {parent.trial} after epoch {parent.epoch}")

    def busy(self, number: int, doing: str | None, *, at: float) -> None:
        """A running trial does something that is no epoch, or has done with it."""
        row = self.rows[number]
        if doing and not row.doing:
            self._happened(at, f"trial {number}: {doing.rpartition(' ')[0]}")
        row.doing = doing

    def reported(self, number: int, report: Mapping[str, Any], *, at: float) -> None:
        """An epoch is done; of several at once the last one is enough."""
        self.begin(number)
        row = self.rows[number]
        if row.stage is not None and report["stage"] != row.stage:
            self._happened(at, f"trial {number}: enters stage {report['stage']} after {row.epoch} epochs")
        if report["epoch"] > row.epoch:  # a killed worker's last epoch is done again
            self._count_rungs(row, report)
            row.epoch = report["epoch"]
        row.stage, row.flags = report["stage"], tuple(report["flags"])
        row.loss, row.score, row.best = report.get("val_loss"), report["score"], report["best_score"]
        row.doing = None
        self._rank(row)

    def end(self, number: int, status: TrialStatus, reason: str | None, *, at: float) -> None:
        self.begin(number)
        row = self.rows[number]
        row.status, row.doing = status, None
        self.running.pop(number, None)
        self.counts[status] = self.counts.get(status, 0) + 1
        if status in _RULED_OUT and row in self.top:
            self._strike(row)
        self.ended_here += at >= self.started
        if status is TrialStatus.FINISHED:
            self._went_on(row, row.rungs_reached)
        self._happened(at, story(row, reason))

    def seconds_left(self, *, now: float) -> float | None:
        """Estimate from the pace of this attempt, running trials counted as half done; None before one has ended."""
        if not self.ended_here:
            return None
        done = self.ended_here + len(self.running) / 2
        return max(0.0, (now - self.started) / done * (self.total - self.ended - len(self.running) / 2))

    def _count_rungs(self, row: Row, report: Mapping[str, Any]) -> None:
        self._went_on(row, row.rungs_reached)
        for rung in range(row.rungs_reached, reached := self.rungs.reached(report)):
            self.reached[rung] += 1
        row.rungs_reached = max(row.rungs_reached, reached)
        self._went_on(row, self.rungs.left_behind(report))

    def _went_on(self, row: Row, rungs: int) -> None:
        """A trial is beyond so many rungs."""
        for rung in range(row.rungs_passed, rungs):
            self.passed[rung] += 1
        row.rungs_passed = max(row.rungs_passed, rungs)

    def _rank(self, row: Row) -> None:
        """Puts a trial in its place among the best. A trial's best score never falls."""
        if row.best is None:
            return
        others = [other for other in self.top if other is not row]
        place = bisect.bisect_right([self._order(other) for other in others], self._order(row))
        if row in self.top and place > self.top.index(row):
            place = self.top.index(row)  # it has had this score for longer than its equals
        self.top = [*others[:place], row, *others[place:]][:TOP]

    def _strike(self, row: Row) -> None:
        """Takes a trial off the best; the next best one moves up."""
        others = [other for other in self.rows.values() if other not in self.top and other.status not in _RULED_OUT]
        self.top.remove(row)
        if next_best := min((other for other in others if other.best is not None), key=self._order, default=None):
            self._rank(next_best)

    def _order(self, row: Row) -> float:
        """The better, the less."""
        return (row.best or 0.0) * (-1 if self.metric.mode == "max" else 1)

    def _happened(self, at: float, what: str) -> None:
        bisect.insort(self.events, (at, what), key=lambda event: event[0])
        del self.events[:-EVENTS]


def story(row: Row, reason: str | None) -> str:
    """`trial 7: pruned in stage head after 4 epochs (0.61 at epoch 4 was not among the best there)`"""
    where = "" if row.stage is None else f" in stage {row.stage} after {row.epoch} epochs"
    return f"trial {row.number}: {row.status}{where}" + (f" ({reason})" if reason else "")
