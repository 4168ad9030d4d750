"""`StagedUnfreezing`: a training run as a trainable of Ray Tune."""

from __future__ import annotations

from trainables.core.gc_tuning import restore_collection  # isort: skip

import contextlib
import gc
import json
import logging
import os
import platform
import socket
import time
import traceback
from functools import partial
from typing import Any

import torch
from ray import tune
from ray.exceptions import RayTaskError
from ray.tune import PlacementGroupFactory

from trainables.core.atomic_write import replacing
from trainables.core.available_cpus import set_own_cpus
from trainables.data.dataset import open_dataset
from trainables.recipe.recipe import parse_recipe
from trainables.run_folder.cache_progress import CacheProgress
from trainables.run_folder.protocol import StepResult, TrialAssignment
from trainables.run_folder.trial_failures import is_given_up, last_failure, mark_if_repeated, storage_error_in
from trainables.run_folder.trial_log import TrialLog
from trainables.trial.network_costs import network_costs
from trainables.trial.objectives import objectives_of
from trainables.trial.start_from_parent import fork
from trainables.trial.training_run import SupersededError, TrainingRun
from trainables.trial.trial_processes import TrialProcesses

_log = logging.getLogger(__name__)

REPORT_EVERY_S = 0.2
"""Seconds below which several epochs share a report: a report to Ray costs more than an epoch of a head on cached features."""


class StagedUnfreezing(tune.Trainable):
    """Trains a trial. One `step` is an epoch, or several short ones. A resumed trial first reports its last epoch again.

    Actors are reused: data and pretrained weights stay in the process from trial to trial.

    Ray stores no checkpoints of it: a trial always resumes from its folder, whichever process starts it again.

    Its config is a `TrialAssignment`, its results are `StepResult`s.
    """

    _processes: TrialProcesses | None = None
    """Other processes of this worker's trials; None if it trains them alone."""

    def setup(self, config: dict[str, Any]) -> None:
        """Stores the trial's config; called by Ray."""
        # Nothing is opened before the first step, because Ray may set up an actor and tear it down without one.
        self._run: TrainingRun | None = None
        self._output: TrialLog | None = None
        self._assignment = TrialAssignment.of_config(config)
        self._rungs = self._assignment.rungs
        if self.trial_resources:
            set_own_cpus(self.trial_resources.bundles[0].get("CPU", 1))
        # Free the memory of the previous trial for this one and for other processes.
        gc.collect()
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.empty_cache()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Prepares the actor for another trial; called by Ray."""
        self._close()
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Trains some epochs and returns their results; called by Ray."""
        return self._step().to_result()

    def _step(self) -> StepResult:
        folder = self._assignment.folder
        if self._output is None:
            self._failed_before = last_failure(folder)  # read first, because opening the run deletes it
            if is_given_up(self._failed_before):
                return StepResult(given_up=self._failed_before)
        try:
            if self._output is None:
                self._output = TrialLog(folder.output)
            with self._output.redirected():
                return self._some_epochs()
        except SupersededError:
            raise
        except Exception as error:
            if refusal := storage_error_in(error):
                return StepResult(refused=str(refusal))
            with contextlib.suppress(OSError):
                if isinstance(error, RayTaskError):  # of another process; here it was a lost connection
                    with replacing(folder.error) as file:
                        file.write(f"{error}\n")
                mark_if_repeated(folder, self._failed_before)
            raise  # ends the process, so that a GPU or library in a bad state does not affect other trials

    def _some_epochs(self) -> StepResult:
        if self._run is None:
            if self._processes is None and (others := _bundles_of_others(self.trial_resources)):
                self._processes = TrialProcesses(others)
            self._run = _opened_here(self._assignment, self._processes)
            self._costs = network_costs(self._run.trainer, self._assignment.objectives)
            if resumed := self._run.reports[-1:]:
                return self._result(resumed)  # the scheduler may not have seen it: the driver or the worker was killed
        began = time.monotonic()
        passed = self._rungs.reached(self._run.reports[-1]) if self._run.reports else 0
        reports: list[dict[str, Any]] = []
        while not reports or not self._is_due(reports[-1], since=began, passed=passed):
            # The run may be over, if the process that trained the last epoch could not report it to Ray.
            if self._processes is None:
                next(self._run, None)
            else:
                self._processes.next_epoch(self._run)
            reports.append(self._run.reports[-1])
        return self._result(reports)

    def _result(self, reports: list[dict[str, Any]]) -> StepResult:
        """Result to report to Ray after some epochs."""
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
        """Returns True if the step ends with this report.

        Args:
            report: report of the last epoch.
            since: start of the step, by `time.monotonic`.
            passed: number of rungs that the run had reached when the step began.
        """
        return report["finished"] or self._rungs.reached(report) > passed or time.monotonic() - since >= REPORT_EVERY_S

    def cleanup(self) -> None:
        """Closes the run; called by Ray when the actor ends."""
        self._close()

    def _close(self) -> None:
        if self._run is not None:
            self._run.close()
            self._run = None
            if self._processes is not None:
                self._processes.close()


def _bundles_of_others(resources: PlacementGroupFactory | None) -> list[dict[str, float]]:
    return resources.bundles[1:] if resources else []


def _opened_here(assignment: TrialAssignment, processes: TrialProcesses | None) -> TrainingRun:
    """Opens the run of a trial; if that fails, writes the machine and the reason to the trial's folder, if possible.

    The machine matters, because nodes may join a cluster after the others have been checked.
    """
    try:
        return _open(assignment, processes)
    except SupersededError:
        raise
    except Exception as error:
        message = f"on {platform.node()}: {error}"
        with contextlib.suppress(OSError), replacing(assignment.folder.error) as file:
            file.write(f"{traceback.format_exc()}\n{' '.join(message.split())}\n")
        raise RuntimeError(message) from error


def _open(assignment: TrialAssignment, processes: TrialProcesses | None) -> TrainingRun:
    layout, attempt = assignment.layout, assignment.attempt

    def check_ownership() -> None:
        newest = layout.read_attempt()
        if newest != attempt:
            raise SupersededError(f"{layout.root}: attempt {newest} of this search has replaced attempt {attempt}")

    folder, recipe = assignment.folder, parse_recipe(json.loads(assignment.recipe))
    _log.info("trial %d, attempt %d: process %d on %s", folder.number, attempt, os.getpid(), socket.gethostname())
    if parent := assignment.parent:
        check_ownership()
        fork(layout.trial(parent.trial), folder, recipe, after_epoch=parent.epoch)
    building = CacheProgress(folder.building)
    decoding = building.progress("decoding images")
    dataset = open_dataset(recipe.data, image_sizes=recipe.image_sizes, progress=decoding)
    if dataset.streamed:
        _log.info(dataset.streamed)
    open_run = partial(
        TrainingRun,
        recipe,
        folder,
        dataset=dataset,
        sharing_runs=assignment.trials,
        progress=building.progress("computing features"),
        check_ownership=check_ownership,
    )
    if processes is None:
        return open_run()
    return processes.open(recipe, lambda replicas: open_run(replicas=replicas))


restore_collection()
