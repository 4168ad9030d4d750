"""Ray's schedulers, told what happened before they were made."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from search.config import SearchConfig
from search.scheduler_config import Asha

Records = Mapping[int, Sequence[Mapping[str, Any]]]
"""Number of a trial -> its results so far (`epoch`, `best_score`, `time`), oldest first."""


class ReplayedAsha(AsyncHyperBandScheduler):
    """ASHA whose rungs hold what trials of earlier attempts reached there. (Ray itself forgets its rungs on a restore.)"""

    def __init__(self, *, ended: Records, interrupted: Records, **kwargs: Any):
        """
        Args:
            ended: results of trials that will not come back.
            interrupted: results of trials that will be taken up again.
        """
        super().__init__(time_attr="epoch", **kwargs)
        self._interrupted = interrupted
        stubs = {number: SimpleNamespace(trial_id=f"earlier-{number}") for number in ended}
        for stub in stubs.values():
            super().on_trial_add(None, stub)
        results = [(result, stubs[number]) for number in ended for result in ended[number]]
        for result, stub in sorted(results, key=lambda pair: str(pair[0]["time"])):
            super().on_trial_result(None, stub, self._as_told(result))

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        super().on_trial_add(tune_controller, trial)
        for result in self._interrupted.get(trial.config["number"], ()):
            super().on_trial_result(tune_controller, trial, self._as_told(result))

    def _as_told(self, result: Mapping[str, Any]) -> dict[str, Any]:
        score = result["best_score"]  # null on disk until an epoch has a score
        return {**result, "best_score": -math.inf * self._metric_op if score is None else score}


def build_scheduler(config: SearchConfig, *, max_epochs: int, ended: Records, interrupted: Records) -> TrialScheduler:
    """What decides which trials go on.

    Args:
        max_epochs: of the longest trial the space allows.
    """
    settings = config.settings.scheduler
    if not isinstance(settings, Asha):
        return FIFOScheduler()
    return ReplayedAsha(
        ended=ended,
        interrupted=interrupted,
        metric="best_score",
        mode=config.recipe.train.metric.mode,
        max_t=max_epochs + 1,  # trials end by themselves: at max_t Ray would stop them and call that pruned
        grace_period=settings.grace_epochs,
        reduction_factor=settings.reduction,
    )
