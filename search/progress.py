"""Shows a search while it runs: a live table in a terminal, a line for each ended trial elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from rich.console import Console, Group, JustifyMethod
from rich.live import Live
from rich.table import Table
from rich.text import Text

from trainables.layout import Metric, RunLayout, TrialStatus
from trainables.record import read_record
from trainables.report import read_epochs

_ROWS = 10
"""Running trials shown at most."""


@dataclass
class Tally:
    """What is known about a search's trials."""

    total: int
    metric: Metric
    counts: dict[TrialStatus, int] = field(default_factory=dict)
    """Ended trials by status, those of earlier attempts included."""
    running: dict[int, Mapping[str, Any] | None] = field(default_factory=dict)
    """Number -> newest report; None before the first."""
    best: tuple[float, int] | None = None
    """Best score so far, and whose it is."""
    started: float = field(default_factory=time.monotonic)
    ended_here: int = 0
    """Trials that ended in this attempt."""

    @classmethod
    def of_run(cls, layout: RunLayout, total: int, metric: Metric) -> Tally:
        """What earlier attempts have done."""
        tally = cls(total, metric)
        for folder in layout.all_trials():
            if not folder.trial.exists():
                continue  # the driver was killed before the trial's first record
            status = read_record(folder).status
            if status is not TrialStatus.RUNNING:
                tally.counts[status] = tally.counts.get(status, 0) + 1
            for report in read_epochs(folder.epochs):
                tally.judge(folder.number, report["best_score"])
        return tally

    @property
    def ended(self) -> int:
        return sum(self.counts.values())

    def begin(self, number: int) -> None:
        self.running[number] = None

    def reported(self, number: int, report: Mapping[str, Any]) -> None:
        self.running[number] = report
        self.judge(number, report["best_score"])

    def judge(self, number: int, score: float | None) -> None:
        if score is not None and (self.best is None or self.metric.better(score, self.best[0])):
            self.best = (score, number)

    def end(self, number: int, status: TrialStatus) -> None:
        self.running.pop(number, None)
        self.counts[status] = self.counts.get(status, 0) + 1
        self.ended_here += 1

    def seconds_left(self, *, now: float) -> float | None:
        """Estimate from the pace of this attempt, running trials counted as half done; None before one has ended."""
        if not self.ended_here:
            return None
        done = self.ended_here + len(self.running) / 2
        return max(0.0, (now - self.started) / done * (self.total - self.ended - len(self.running) / 2))


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 20 min`"""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def headline(name: str, tally: Tally, *, now: float) -> str:
    """`digits  7/16 trials · 3 finished · 4 pruned · 2 running · best 0.9312 (trial 3) · about 2 min left`"""
    start, *outlook = _outlook(name, tally, now=now)
    return " · ".join([start, *_counts(tally), *outlook])


def _outlook(name: str, tally: Tally, *, now: float) -> list[str]:
    parts = [f"{name}  {tally.ended}/{tally.total} trials"]
    if tally.best:
        parts.append(f"best {tally.best[0]:.4f} (trial {tally.best[1]})")
    left = tally.seconds_left(now=now)
    if left is not None and tally.ended < tally.total:
        parts.append(f"about {duration(left)} left")
    return parts


def _counts(tally: Tally) -> list[str]:
    ended = [f"{tally.counts[status]} {status}" for status in TrialStatus if status in tally.counts]
    return ended + ([f"{len(tally.running)} running"] if tally.running else [])


class ProgressCallback(Callback):
    """Keeps a tally of the search and shows it."""

    def __init__(self, name: str, tally: Tally):
        self._name, self._tally = name, tally

    def setup(self, **_: Any) -> None:
        self._console = Console()
        self._live: Live | None = None
        if self._console.is_terminal:
            self._live = Live(console=self._console, get_renderable=self._render, refresh_per_second=2)
            self._live.start()
        else:
            self._say(headline(self._name, self._tally, now=time.monotonic()))

    def on_trial_start(self, *, trial: Trial, **_: Any) -> None:
        self._tally.begin(trial.config["number"])

    def on_trial_result(self, *, trial: Trial, result: dict[str, Any], **_: Any) -> None:
        self._tally.reported(trial.config["number"], result["reports"][-1])

    def on_trial_complete(self, *, trial: Trial, **_: Any) -> None:
        self._end(trial)

    def on_trial_error(self, *, trial: Trial, **_: Any) -> None:
        self._end(trial)

    def on_experiment_end(self, **_: Any) -> None:
        if self._live:
            self._live.stop()

    def _end(self, trial: Trial) -> None:
        number = trial.config["number"]
        record = read_record(RunLayout(trial.config["run"]).trial(number))
        last = self._tally.running.get(number)
        self._tally.end(number, record.status)
        if self._live is None:
            self._say(f"trial {number}: {self._story(record.status, record.reason, last)}")
            self._say(headline(self._name, self._tally, now=time.monotonic()))

    def _say(self, line: str) -> None:
        self._console.out(line, highlight=False)  # out(): neither wrapped nor read as rich's markup

    @staticmethod
    def _story(status: TrialStatus, reason: str | None, last: Mapping[str, Any] | None) -> str:
        where = "" if last is None else f" in stage {last['stage']} after {last['epoch']} epochs"
        return f"{status}{where}" + (f" ({reason})" if reason else "")

    def _render(self) -> Group:
        tally = self._tally
        lines: list[Text | Table] = [
            Text(" · ".join(_outlook(self._name, tally, now=time.monotonic())), style="bold"),
            Text(" · ".join(_counts(tally)), style="dim"),
        ]
        if tally.running:
            shown = sorted(tally.running.items())[:_ROWS]
            flags = {number: ", ".join(report["flags"]) for number, report in shown if report is not None}
            table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
            for column in ("trial", "stage", "epoch", "loss", tally.metric.value, "best"):
                is_stage = column == "stage"  # the only column that may be cut
                justify: JustifyMethod = "left" if is_stage else "right"
                table.add_column(column, justify=justify, no_wrap=not is_stage)
            if any(flags.values()):
                table.add_column("flags", style="yellow", no_wrap=True)
            for number, report in shown:
                table.add_row(str(number), *_progress(report), *([flags.get(number)] if any(flags.values()) else ()))
            lines.append(table)
        if (more := len(tally.running) - _ROWS) > 0:
            lines.append(Text(f"and {more} more", style="dim"))
        return Group(*lines)


def _progress(report: Mapping[str, Any] | None) -> list[str]:
    """A running trial's stage, epoch, loss, score and best score."""
    if report is None:
        return ["starts", *("–" for _ in range(4))]
    numbers = [_number(report[key]) for key in ("val_loss", "score", "best_score")]
    return [report["stage"], str(report["epoch"]), *numbers]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
