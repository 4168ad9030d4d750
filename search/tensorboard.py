"""TensorBoard while a search runs: the driver writes each trial's events into its folder."""

from __future__ import annotations

from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial

from search.events import TrialEvents
from trainables.layout import RunLayout
from trainables.record import read_record


class TensorBoardCallback(Callback):
    """Writes the events of all trials of a search, in the driver: workers need no TensorBoard."""

    def setup(self, **_: Any) -> None:
        self._open: dict[str, TrialEvents] = {}

    def on_trial_result(self, *, trial: Trial, result: dict[str, Any], **_: Any) -> None:
        if trial.trial_id not in self._open:
            folder = RunLayout(trial.config["run"]).trial(trial.config["number"])
            self._open[trial.trial_id] = TrialEvents(folder.root, params=read_record(folder).params)
        for report in result["reports"]:
            self._open[trial.trial_id].epoch(report)

    def on_trial_complete(self, *, trial: Trial, **_: Any) -> None:
        self._close(trial)

    def on_trial_error(self, *, trial: Trial, **_: Any) -> None:
        self._close(trial)

    def on_experiment_end(self, **_: Any) -> None:
        for events in self._open.values():
            events.close()
        self._open.clear()

    def _close(self, trial: Trial) -> None:
        if events := self._open.pop(trial.trial_id, None):
            events.close()
