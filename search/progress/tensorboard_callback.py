"""TensorBoard during a search: the driver writes each trial's events into its folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial

from search.progress.tensorboard_events import TrialEvents, write_columns
from spaces.distributions import Distribution
from trainables.core.vocabulary import Metric
from trainables.run_folder.protocol import StepResult, TrialAssignment
from trainables.run_folder.trial_record import read_record


class TensorBoardCallback(Callback):
    """Writes the events of all trials of a search, in the driver: workers need no TensorBoard."""

    def __init__(self, folder: Path, parameters: Mapping[str, Distribution], metric: Metric):
        """
        Args:
            folder: folder of the trials' folders.
            parameters: searched values by dotted path; empty if the space is a function.
            metric: metric of the scores.
        """
        self._folder, self._parameters, self._metric = folder, parameters, metric

    def setup(self, **_: Any) -> None:
        self._open: dict[str, TrialEvents] = {}
        if self._parameters:
            write_columns(self._folder, self._parameters, self._metric)

    def on_trial_result(self, *, trial: Trial, result: dict[str, Any], **_: Any) -> None:
        if trial.trial_id not in self._open:
            folder = TrialAssignment.of_config(trial.config).folder
            self._open[trial.trial_id] = TrialEvents(folder.root, params=read_record(folder).params)
        for report in StepResult.of_result(result).reports:
            self._open[trial.trial_id].epoch(report)

    def on_trial_complete(self, *, trial: Trial, **_: Any) -> None:
        self._close(trial, well=True)

    def on_trial_error(self, *, trial: Trial, **_: Any) -> None:
        self._close(trial, well=False)

    def on_experiment_end(self, **_: Any) -> None:
        self._open.clear()

    def _close(self, trial: Trial, *, well: bool) -> None:
        if events := self._open.pop(trial.trial_id, None):
            events.ended(well=well)
