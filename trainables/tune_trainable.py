"""`StagedUnfreezing`: a training run as Ray Tune's trainable. The only file of this room that imports Ray."""

from __future__ import annotations

import gc
import time
from typing import Any

import torch
from ray import tune

from trainables.layout import RunLayout
from trainables.objectives import network_costs, objectives_of
from trainables.recipe import parse_recipe
from trainables.run import SupersededError, TrainingRun

REPORT_EVERY_S = 0.2
"""Epochs that take less share a report: telling Ray costs more than an epoch of a head on kept features."""


class StagedUnfreezing(tune.Trainable):
    """One `step` is an epoch, or several that are done in a moment. A trial that is taken up first reports its last epoch again.

    Actors are reused: data and pretrained weights stay in the process from trial to trial.

    Ray keeps no checkpoints of it: the run's folder is the truth, and a trial goes on from there whoever starts it again.

    Config:
        run: the search's folder.
        number: the trial's number in it.
        attempt: which start or resume of the search this belongs to.
        recipe: the trial's recipe, as plain data.
        trials: how many the search has; they share what frozen blocks make of the images.
        rungs: epochs at which the scheduler judges: a step ends with them.
        objectives: names of `Objective` and `Metric` that the search asks for.

    Results:
        epoch: epochs done, over all stages.
        best_score: of the best epoch so far, so that the dip after a stage change speaks against nobody.
        finished: the run came to its own end; a result without it that stays the last one was pruned.
        stopped_for: the flag that made it end itself early, or None.
        objectives: what the trial has come to by now in each of them, or None. (A list: Ray flattens mappings.)
        reports: the step's lines in `epochs.jsonl`.
    """

    def setup(self, config: dict[str, Any]) -> None:
        # Nothing is opened before the first step: Ray may set up an actor and tear it down without one.
        self._run: TrainingRun | None = None
        self._assignment = config
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            # What the trial before took shall be free for this one and for its neighbours on the GPU.
            gc.collect()
            torch.cuda.empty_cache()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        names = self._assignment["objectives"]
        if self._run is None:
            self._run = _open(self._assignment)
            self._costs = network_costs(self._run.trainer, names)
            if taken_up := self._run.reports[-1:]:
                return self._result(taken_up)  # nobody may have judged it: its driver was killed, or its worker
        began = time.monotonic()
        reports: list[dict[str, Any]] = []
        while not reports or not self._is_due(reports[-1], since=began):
            next(self._run, None)  # None: the last epoch was done by a process that could not tell Ray any more
            reports.append(self._run.reports[-1])
        return self._result(reports)

    def _result(self, reports: list[dict[str, Any]]) -> dict[str, Any]:
        """What Ray is told after some epochs."""
        assert self._run is not None
        report = reports[-1]
        score = report["best_score"]
        if score is None:
            score = self._run.recipe.train.metric.worst
        finished = report["finished"]
        return {
            "epoch": report["epoch"],
            "best_score": score,
            "finished": finished,
            "stopped_for": report["stopped_for"],
            "done": finished,
            "objectives": objectives_of(self._assignment["objectives"], self._run.reports, self._costs),
            "reports": reports,
        }

    def _is_due(self, report: dict[str, Any], *, since: float) -> bool:
        """Whether Ray is to be told now."""
        return (
            report["finished"]
            or report["epoch"] in self._assignment["rungs"]
            or time.monotonic() - since >= REPORT_EVERY_S
        )

    def cleanup(self) -> None:
        self._run = None


def _open(assignment: dict[str, Any]) -> TrainingRun:
    layout = RunLayout(assignment["run"])
    attempt = assignment["attempt"]

    def check_ownership() -> None:
        newest = layout.read_attempt()
        if newest != attempt:
            raise SupersededError(
                f"{layout.root}: attempt {newest} of this search has taken over from attempt {attempt}"
            )

    return TrainingRun(
        parse_recipe(assignment["recipe"]),
        layout.trial(assignment["number"]),
        sharing_runs=assignment["trials"],
        check_ownership=check_ownership,
    )
