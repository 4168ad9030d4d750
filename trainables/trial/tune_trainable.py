"""`StagedUnfreezing`: a training run as Ray Tune's trainable. The only file of this room that imports Ray."""

from __future__ import annotations

from trainables.core.gc_tuning import imports_are_done  # isort: skip

import contextlib
import gc
import json
import logging
import os
import platform
import socket
import time
import traceback
from typing import Any

import torch
from ray import tune

from trainables.core.atomic_write import replacing
from trainables.data.dataset import open_dataset
from trainables.recipe.recipe import parse_recipe
from trainables.run_folder.cache_progress import Building
from trainables.run_folder.protocol import StepResult, TrialAssignment
from trainables.run_folder.trial_failures import is_final, last_failure, mark_if_repeated, refusal_in
from trainables.run_folder.trial_log import TrialLog
from trainables.trial.network_costs import network_costs
from trainables.trial.objectives import objectives_of
from trainables.trial.start_from_parent import fork
from trainables.trial.training_run import SupersededError, TrainingRun

_log = logging.getLogger(__name__)

REPORT_EVERY_S = 0.2
"""Epochs that take less share a report: telling Ray costs more than an epoch of a head on kept features."""


class StagedUnfreezing(tune.Trainable):
    """One `step` is an epoch, or several that are done in a moment. A trial that is taken up first reports its last epoch again.

    Actors are reused: data and pretrained weights stay in the process from trial to trial.

    Ray keeps no checkpoints of it: the run's folder is the truth, and a trial goes on from there whoever starts it again.

    Its config is a `TrialAssignment`, its results are `StepResult`s.
    """

    def setup(self, config: dict[str, Any]) -> None:
        # Nothing is opened before the first step: Ray may set up an actor and tear it down without one.
        self._run: TrainingRun | None = None
        self._output: TrialLog | None = None
        self._assignment = TrialAssignment.of_config(config)
        self._rungs = self._assignment.rungs
        # What the trial before took shall be free for this one and for its neighbours.
        gc.collect()
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.empty_cache()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._close()
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        return self._step().to_result()

    def _step(self) -> StepResult:
        folder = self._assignment.folder
        if self._output is None:
            self._failed_before = last_failure(folder)  # opening the run forgets it
            if is_final(self._failed_before):
                return StepResult(given_up=self._failed_before)
        try:
            if self._output is None:
                self._output = TrialLog(folder.output)
            with self._output.taking():
                return self._some_epochs()
        except SupersededError:
            raise
        except Exception as error:
            if refusal := refusal_in(error):
                return StepResult(refused=str(refusal))
            with contextlib.suppress(OSError):
                mark_if_repeated(folder, self._failed_before)
            raise  # which ends the process: what a GPU or a library is left in concerns no other trial

    def _some_epochs(self) -> StepResult:
        if self._run is None:
            self._run = _opened_here(self._assignment)
            self._costs = network_costs(self._run.trainer, self._assignment.objectives)
            if taken_up := self._run.reports[-1:]:
                return self._result(taken_up)  # nobody may have judged it: its driver was killed, or its worker
        began = time.monotonic()
        passed = self._rungs.passed(self._run.reports[-1]) if self._run.reports else 0
        reports: list[dict[str, Any]] = []
        while not reports or not self._is_due(reports[-1], since=began, passed=passed):
            next(self._run, None)  # None: the last epoch was done by a process that could not tell Ray any more
            reports.append(self._run.reports[-1])
        return self._result(reports)

    def _result(self, reports: list[dict[str, Any]]) -> StepResult:
        """What Ray is told after some epochs."""
        assert self._run is not None
        report = reports[-1]
        score = report["best_score"]
        if score is None:
            score = self._run.recipe.train.metric.worst
        if report["finished"] and self._assignment.reads_test:
            self._run.test()
        return StepResult(
            epoch=report["epoch"],
            best_score=score,
            finished=report["finished"],
            stopped_for=report["stopped_for"],
            objectives=objectives_of(self._assignment.objectives, self._run.reports, self._costs),
            reports=reports,
        )

    def _is_due(self, report: dict[str, Any], *, since: float, passed: int) -> bool:
        """Whether Ray is to be told now.

        Args:
            passed: rungs that the run had come to when the step began.
        """
        return report["finished"] or self._rungs.passed(report) > passed or time.monotonic() - since >= REPORT_EVERY_S

    def cleanup(self) -> None:
        self._close()

    def _close(self) -> None:
        if self._run is not None:
            self._run.close()
            self._run = None


def _opened_here(assignment: TrialAssignment) -> TrainingRun:
    """The trial's run; where it cannot be opened, its folder says on which machine and why, if that can be written.

    Nodes may join when the others have been checked.
    """
    try:
        return _open(assignment)
    except SupersededError:
        raise
    except Exception as error:
        message = f"on {platform.node()}: {error}"
        with contextlib.suppress(OSError), replacing(assignment.folder.error) as file:
            file.write(f"{traceback.format_exc()}\n{' '.join(message.split())}\n")
        raise RuntimeError(message) from error


def _open(assignment: TrialAssignment) -> TrainingRun:
    layout, attempt = assignment.layout, assignment.attempt

    def check_ownership() -> None:
        newest = layout.read_attempt()
        if newest != attempt:
            raise SupersededError(
                f"{layout.root}: attempt {newest} of this search has taken over from attempt {attempt}"
            )

    folder, recipe = assignment.folder, parse_recipe(json.loads(assignment.recipe))
    _log.info("trial %d, attempt %d: process %d on %s", folder.number, attempt, os.getpid(), socket.gethostname())
    if parent := assignment.parent:
        check_ownership()
        fork(layout.trial(parent.trial), folder, recipe, after_epoch=parent.epoch)
    building = Building(folder.building)
    decoding = building.progress("decoding images")
    return TrainingRun(
        recipe,
        folder,
        dataset=open_dataset(recipe.data, image_sizes=recipe.image_sizes, progress=decoding),
        sharing_runs=assignment.trials,
        progress=building.progress("computing features"),
        check_ownership=check_ownership,
    )


imports_are_done()
