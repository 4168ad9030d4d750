"""`History`: best scores, metrics and compute of a run's epochs so far."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from trainables.core.vocabulary import Flag, Metric
from trainables.training.warning_flags import EpochHealth

_EPOCHS = TypeAdapter(list[EpochHealth])


class History:
    """Epochs of a run so far, in numbers."""

    def __init__(self, metric: Metric):
        self._metric = metric
        self.best_score, self.best_epoch = metric.worst, 0
        self.best_corrected = metric.worst
        """Best score with predictions corrected for class frequencies; see `metrics.corrected_score`."""
        self.compute = 0
        self.stopped_for: Flag | None = None
        """Flag that ended the run."""
        self.epochs: list[EpochHealth] = []

    def add(self, epoch: int, health: EpochHealth, *, corrected: float, compute: int) -> None:
        """Adds an epoch.

        Args:
            epoch: its number, counted from 1.
            health: its metrics.
            corrected: its corrected score.
            compute: its compute, in parameters times images.
        """
        self.epochs.append(health)
        self.compute += compute
        # Compared over all stages, even if their image sizes differ: a network is scored at the size at which it will be used.
        if self._metric.better(health.score, self.best_score):
            self.best_score, self.best_epoch = health.score, epoch
        if self._metric.better(corrected, self.best_corrected):
            self.best_corrected = corrected

    def state_dict(self) -> dict[str, Any]:
        """Everything above, in plain values."""
        return {
            "best": {"score": self.best_score, "epoch": self.best_epoch, "corrected": self.best_corrected},
            "compute": self.compute,
            "history": [dict(vars(epoch)) for epoch in self.epochs],
            "stopped_for": None if self.stopped_for is None else self.stopped_for.value,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from a state that `state_dict` returned; ignores other keys."""
        best = state["best"]
        self.best_score, self.best_epoch = float(best["score"]), int(best["epoch"])
        self.best_corrected, self.compute = float(best["corrected"]), int(state["compute"])
        self.epochs = _EPOCHS.validate_python(state["history"])
        self.stopped_for = None if state["stopped_for"] is None else Flag(state["stopped_for"])
