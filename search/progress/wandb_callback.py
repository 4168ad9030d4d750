"""W&B during a search: the driver logs each trial's epochs; workers need no account."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial

from search.progress.wandb_run import WandbRun, run_id
from trainables.run_folder.epoch_report import read_epochs
from trainables.run_folder.protocol import StepResult, TrialAssignment
from trainables.run_folder.trial_record import read_record


class WandbCallback(Callback):
    """Logs all trials of a search to a W&B project, in a group of the search's name."""

    def __init__(self, project: str, search: str, folder: Path):
        """
        Args:
            project: `PROJECT` or `ENTITY/PROJECT`.
            search: name of the search.
            folder: folder of the search.
        """
        self._project, self._search, self._folder = project, search, folder

    def setup(self, **_: Any) -> None:
        self._open: dict[int, WandbRun] = {}
        self._failed = False

    def on_trial_result(self, *, trial: Trial, result: dict[str, Any], **_: Any) -> None:
        reports = StepResult.of_result(result).reports
        if not reports or self._failed:
            return
        assignment = TrialAssignment.of_config(trial.config)
        if assignment.number not in self._open:
            self._open[assignment.number] = self._begin(assignment, first=reports[0]["epoch"])
        run = self._open[assignment.number]
        for report in reports:
            run.epoch(report)
        self._failed = run.failed  # the others would wait for W&B, too

    def on_trial_complete(self, *, trial: Trial, **_: Any) -> None:
        self._finish(trial, well=True)

    def on_trial_error(self, *, trial: Trial, **_: Any) -> None:
        self._finish(trial, well=False)

    def on_experiment_end(self, **_: Any) -> None:
        for run in self._open.values():
            run.finish(well=False)
        self._open.clear()

    def _begin(self, assignment: TrialAssignment, *, first: int) -> WandbRun:
        number, folder = assignment.number, assignment.folder
        record = read_record(folder)
        return WandbRun(
            self._project,
            self._folder,
            identifier=run_id(self._search, number, record.started),
            name=f"{self._search} trial {number}",
            group=self._search,
            config={**json.loads(assignment.recipe), "trial": number, "searched": record.params},
            earlier=[report for report in read_epochs(folder.epochs) if report["epoch"] < first],
        )

    def _finish(self, trial: Trial, *, well: bool) -> None:
        if run := self._open.pop(TrialAssignment.of_config(trial.config).number, None):
            run.finish(well=well)
