"""Report of an epoch from what was measured in it and the run's history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from trainables.recipe.backbone_catalog import HEAD
from trainables.recipe.recipe import Recipe
from trainables.run_folder.epoch_report import EpochReport
from trainables.tasks.metrics import Evaluation
from trainables.training.epoch_training import TrainedEpoch
from trainables.training.history.run_history import RunHistory
from trainables.training.history.stage_words import outlook, reason_of_end
from trainables.training.stage_plan import EpochPlan, drw_is_pending, stage_is_over


@dataclass(frozen=True, kw_only=True)
class MeasuredEpoch:
    """Measurements of an epoch: its training, its validation and its times."""

    trained: TrainedEpoch
    evaluation: Evaluation
    images: int
    """Number of training images of the stage."""
    train_s: float
    val_s: float
    cache_s: float
    """Part of these two times spent on computing features of frozen blocks for the cache, in seconds."""
    uncached: str | None
    """Reason why training images passed through the frozen blocks; None: their features were cached."""
    opened: Mapping[str, Any] | None
    """In the first epoch of a stage: result of `freezing.opened_parts`."""


def report_epoch(
    recipe: Recipe, history: RunHistory, plan: EpochPlan, measured: MeasuredEpoch, *, planned_compute: int
) -> EpochReport:
    """Reports the epoch that the history took in last.

    Args:
        recipe: recipe of the run, as it is in this epoch.
        history: history of the run.
        plan: plan of the epoch.
        measured: measurements of the epoch.
        planned_compute: compute of the run if its stages use all their epochs.
    """
    position, evaluation = history.position, measured.evaluation
    over = history.is_over(recipe)
    stage_over = over or stage_is_over(recipe, position)
    return EpochReport(
        epoch=position.epoch,
        stage=recipe.train.stages[position.stage].name,
        stage_index=position.stage,
        epoch_in_stage=position.epoch_in_stage,
        open_from=(*recipe.blocks, HEAD)[plan.opening.cut],
        head_lr=plan.head_lr,
        backbone_lr=plan.backbone_lr,
        head_frozen=not plan.opening.head,
        reweighted=plan.reweighted,
        train_loss=measured.trained.loss,
        train_accuracy=measured.trained.accuracy,
        grad_norm=measured.trained.grad_norm,
        metrics=evaluation.metrics,
        per_class=evaluation.per_class,
        confusion=evaluation.confusion,
        flags=history.flags,
        score=history.health[-1].score,
        best_score=history.best_score,
        best_epoch=history.best_epoch,
        best_corrected=history.best_corrected,
        drw_pending=drw_is_pending(recipe, position),
        train_s=measured.train_s,
        val_s=measured.val_s,
        cache_s=measured.cache_s,
        uncached=measured.uncached,
        images_per_s=measured.images / measured.train_s,
        compute=history.compute,
        compute_share=history.compute / planned_compute,
        time=datetime.now(UTC).isoformat(timespec="milliseconds"),
        stage_over=stage_over,
        stage_end=reason_of_end(recipe, position, stopped_for=history.stopped_for) if stage_over else None,
        stage_outlook=None if stage_over else outlook(recipe, position),
        opened=measured.opened,
        finished=over,
        stopped_for=history.stopped_for,
    )
