"""A trial that sleeps: what is left of a search's time is the controller's. Imported by Ray's workers; no torch."""

from __future__ import annotations

import random
import time
from typing import Any

from ray import tune

from trainables.run_folder.protocol import StepResult, TrialAssignment

STEP_S, STEPS = 0.5, 4
START_S = 20.0
"""A step of a worker's first trial: meanwhile the others start, so that what is measured begins when all are there."""


class Sleeping(tune.Trainable):
    """As many steps as epochs, each as long; reports what `StagedUnfreezing` does."""

    def setup(self, config: dict[str, Any]) -> None:
        self._begin(config)
        self._step_s = START_S

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._begin(new_config)
        self._step_s = STEP_S
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        self._epoch = 0
        self._best = float("-inf")
        self._random = random.Random(TrialAssignment.of_config(config).number)

    def step(self) -> dict[str, Any]:
        time.sleep(self._step_s)
        self._epoch += 1
        score = self._random.random()
        self._best = max(self._best, score)
        finished = self._epoch == STEPS
        report = {
            "epoch": self._epoch,
            "stage": "head",
            "stage_index": 0,
            "val_loss": 1 - score,
            "score": score,
            "best_score": self._best,
            "best_epoch": 1,
            "best_corrected": self._best,
            "drw_pending": False,
            "compute_share": self._epoch / STEPS,
            "flags": [],
            "train_s": STEP_S,
            "time": "2026-01-01T00:00:00+00:00",
            "stage_over": finished,
            "finished": finished,
        }
        result = StepResult(
            epoch=self._epoch, best_score=self._best, finished=finished, objectives=[self._best], reports=[report]
        )
        return result.to_result()
