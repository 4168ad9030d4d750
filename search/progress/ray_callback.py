"""Shows a running search, as a live display in a terminal and as lines elsewhere, and stops it on request. Runs in the
driver."""

from __future__ import annotations

import signal
import time
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from rich.console import Group
from rich.live import Live

from search.cluster.capacity import usage
from search.progress.render import Picture, draw, headline
from search.progress.search_state import SearchState, story
from search.progress.terminal import Console
from search.run_folder.status_file import Attempt, forget_stop
from trainables.core.vocabulary import TrialStatus
from trainables.run_folder.cache_progress import read_cache_progress
from trainables.run_folder.protocol import StepResult, TrialAssignment
from trainables.run_folder.trial_record import read_record

_LOOK_EVERY_S, _USAGE_EVERY_S, _BUILDING_EVERY_S = 1.0, 5.0, 30.0
_FEW = 100
"""Number of trials up to which each ended trial is shown as a line; in larger searches only those that fail or become
the best."""
_HEADLINES = 50
"""Number of status lines of a whole search without a terminal; in addition there is at least one per minute."""


class ProgressCallback(Callback):
    """Tracks the state of the search, shows it, and stops the search on request."""

    def __init__(self, name: str, search_state: SearchState, attempt: Attempt):
        self._name, self._search_state, self._attempt = name, search_state, attempt

    def setup(self, **_: Any) -> None:
        self._console = Console()
        self._live: Live | None = None
        self._looked = self._measured = self._headline_time = 0.0
        self._headline_trials, self._stopping = -1, False
        self._shown_builds: dict[int, float] = {}
        if self._console.is_terminal:
            self._live = Live(console=self._console, get_renderable=self._render, refresh_per_second=2)
            self._live.start()
        else:
            self._print_headline()

    def on_step_end(self, **_: Any) -> None:
        now = time.monotonic()
        if now - self._looked < _LOOK_EVERY_S:
            return
        self._looked = now
        self._stop_if_asked()
        self._look_at_builds(now)
        if now - self._measured >= _USAGE_EVERY_S:
            self._measured = now
            self._attempt.set_usage(usage())

    def on_trial_start(self, *, trial: Trial, **_: Any) -> None:
        assignment = TrialAssignment.of_config(trial.config)
        if assignment.parent:
            self._search_state.fork(assignment.number, assignment.parent, at=time.time())
        self._search_state.begin(assignment.number)

    def on_trial_result(self, *, trial: Trial, result: dict[str, Any], **_: Any) -> None:
        if reports := StepResult.of_result(result).reports:
            self._search_state.reported(TrialAssignment.of_config(trial.config).number, reports[-1], at=time.time())

    def on_trial_complete(self, *, trial: Trial, **_: Any) -> None:
        self._end(trial)

    def on_trial_error(self, *, trial: Trial, **_: Any) -> None:
        self._end(trial)

    def on_experiment_end(self, **_: Any) -> None:
        if self._live:
            self._live.stop()
        elif self._headline_trials != self._search_state.ended:
            self._print_headline()

    def _end(self, trial: Trial) -> None:
        assignment, search_state = TrialAssignment.of_config(trial.config), self._search_state
        number, record = assignment.number, read_record(assignment.folder)
        search_state.end(number, record.status, record.reason, at=time.time())
        if self._live:
            return
        row = search_state.rows[number]
        if search_state.total <= _FEW or record.status is TrialStatus.FAILED or row is search_state.best:
            self._print(story(row, record.reason))
        since = search_state.ended - self._headline_trials
        if since >= max(1, search_state.total // _HEADLINES) or time.monotonic() - self._headline_time > 60:
            self._print_headline()

    def _look_at_builds(self, now: float) -> None:
        for number in list(self._search_state.running):
            activity, at = read_cache_progress(self._attempt.layout.trial(number).building)
            self._search_state.set_activity(number, activity, at=at)
            if (
                activity
                and self._live is None
                and now - self._shown_builds.get(number, -_BUILDING_EVERY_S) >= _BUILDING_EVERY_S
            ):
                self._shown_builds[number] = now
                self._print(f"trial {number}: {activity}")

    def _stop_if_asked(self) -> None:
        if not self._stopping and self._attempt.layout.stop.exists():
            self._stopping = True
            forget_stop(self._attempt.layout)
            signal.raise_signal(signal.SIGINT)  # Ray ends cleanly on it, as on Ctrl+C

    def _print_headline(self) -> None:
        self._headline_time, self._headline_trials = time.monotonic(), self._search_state.ended
        self._print(headline(self._picture()))

    def _print(self, line: str) -> None:
        self._console.out(line, highlight=False)  # out() neither wraps nor interprets markup

    def _picture(self) -> Picture:
        return Picture(self._name, self._search_state, now=time.time(), usage=self._attempt.status.usage)

    def _render(self) -> Group:
        return draw(self._picture(), height=self._console.height)
