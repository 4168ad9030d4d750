"""`RunHistory`: what a run has reached so far, as plain values. It knows neither weights nor data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import TypeAdapter

from trainables.core.vocabulary import Flag, Metric
from trainables.recipe.recipe import Recipe
from trainables.tasks.metrics import Evaluation, corrected_score, score_of
from trainables.training.epoch_training import TrainedEpoch
from trainables.training.history.warning_flags import EpochHealth, accuracy_for_shares, flag_that_stops, flags_of
from trainables.training.stage_plan import EpochPlan, Position, has_settled, stage_is_over

_WATCHED = ("val_loss", "auc", "classes_predicted", "adjusted_balanced_accuracy", "kappa", "prediction_spread")
"""Metrics of an epoch that the rules of `warning_flags` use, if the task has them."""

_POSITION, _HEALTH = TypeAdapter(Position), TypeAdapter(list[EpochHealth])


@dataclass
class RunHistory:
    """Position, best epoch, compute and warning signs of a run."""

    best_score: float
    """Score of the best epoch so far, over all stages: each score is that of a network at the image size it is used with."""
    best_corrected: float
    """Best score so far with the class shares learned in training divided out."""
    best_epoch: int = 0
    position: Position = field(default_factory=Position)
    compute: int = 0
    """Trained parameters × training images, summed over all epochs so far."""
    health: list[EpochHealth] = field(default_factory=list)
    """Input of the rules for warning flags, for each epoch."""
    flags: tuple[Flag, ...] = ()
    """Warning flags of the last epoch."""
    stopped_for: Flag | None = None
    """Flag of `train.stop_on` that has ended the run."""

    @classmethod
    def at_start(cls, recipe: Recipe) -> RunHistory:
        """History of a run before its first epoch."""
        worst = recipe.train.metric.worst
        return cls(best_score=worst, best_corrected=worst)

    def add_epoch(
        self,
        recipe: Recipe,
        plan: EpochPlan,
        trained: TrainedEpoch,
        evaluation: Evaluation,
        *,
        compute: int,
        class_shares: Sequence[float],
    ) -> float:
        """Takes in an epoch that has been trained and validated.

        Args:
            recipe: recipe of the run, as it is in this epoch.
            plan: plan of the epoch.
            trained: measurements of its training.
            evaluation: result of its validation.
            compute: trained parameters × training images of the epoch.
            class_shares: [c] shares of the classes in the images that were trained on; empty in regression.
        Returns:
            Score of the epoch.
        """
        metric, metrics = recipe.train.metric, evaluation.metrics
        self.position = self.position.after_epoch(metrics["val_loss"], self._watched(recipe, metrics))
        self.compute += compute
        score, corrected = score_of(metrics, metric), corrected_score(evaluation, metric)
        if metric.better(score, self.best_score):
            self.best_score, self.best_epoch = score, self.position.epoch
        if metric.better(corrected, self.best_corrected):
            self.best_corrected = corrected
        watched = {name: metrics[name] for name in _WATCHED if name in metrics}
        self.health.append(
            EpochHealth(
                stage=self.position.stage,
                reweighted=plan.reweighted,
                train_loss=trained.loss,
                train_accuracy=math.nan if trained.accuracy is None else trained.accuracy,
                accuracy=accuracy_for_shares(evaluation.per_class.get("recall", ()), class_shares),
                score=score,
                **watched,
            )
        )
        self.flags = flags_of(self.health, classes=len(class_shares), metric=metric)
        settled = has_settled(recipe, self.position)
        self.stopped_for = flag_that_stops(self.flags, recipe.train.stop_on, settled=settled)
        return score

    def is_over(self, recipe: Recipe) -> bool:
        """Returns True if the run ends with the epoch just done."""
        last = self.position.stage == len(recipe.train.stages) - 1
        return self.stopped_for is not None or (last and stage_is_over(recipe, self.position))

    def _watched(self, recipe: Recipe, metrics: Mapping[str, float]) -> float | None:
        """Value of the metric that can end the stage; None if that is the validation loss, or there is none."""
        rule = recipe.ending_rule(self.position.stage)
        return None if rule is None or rule.metric is Metric.VAL_LOSS else metrics.get(rule.metric, math.nan)

    def state_dict(self) -> dict[str, Any]:
        """Everything the rest of the run depends on, as plain values."""
        return {
            "position": {
                **asdict(self.position),
                "losses": list(self.position.losses),
                "watched": list(self.position.watched),
            },
            "best": {"score": self.best_score, "epoch": self.best_epoch, "corrected": self.best_corrected},
            "compute": self.compute,
            "history": [dict(vars(epoch)) for epoch in self.health],
            "stopped_for": None if self.stopped_for is None else self.stopped_for.value,
        }

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> RunHistory:
        """History that `state_dict` returned.

        Raises:
            Exception: of nearly any kind, if the state is not one.
        """
        return cls(
            best_score=float(state["best"]["score"]),
            best_corrected=float(state["best"]["corrected"]),
            best_epoch=int(state["best"]["epoch"]),
            position=_POSITION.validate_python(state["position"]),
            compute=int(state["compute"]),
            health=_HEALTH.validate_python(state["history"]),
            stopped_for=None if state["stopped_for"] is None else Flag(state["stopped_for"]),
        )


class OtherOriginError(ValueError):
    """A state that belongs to a run with other pretrained weights or other data."""


def check_origin(state: Mapping[str, Any], *, pretrained: str, data: str) -> None:
    """Checks that the state of a trainer belongs to a run with the same origin.

    Args:
        state: what the trainer's `state_dict` returned.
        pretrained: fingerprint of this run's pretrained weights.
        data: fingerprint of its data set.
    Raises:
        OtherOriginError: if one of them is another.
    """
    for key, what, own in (("pretrained", "pretrained weights", pretrained), ("data", "data", data)):
        if state[key] != own:
            made_with = f"the checkpoint was made with other {what} ({state[key][:12]})"
            raise OtherOriginError(f"{made_with} than this run's ({own[:12]})")
