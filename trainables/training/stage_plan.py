"""When a stage ends, and where a run stands. Pure: values in, values out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

from trainables.recipe.recipe import Recipe
from trainables.recipe.stage_config import Plateau
from trainables.training.learning_rates import learning_rate, one_cycle_factor


def is_plateau(losses: Sequence[float], *, patience: int, threshold: float) -> bool:
    """Whether the loss has not dropped by more than `threshold` below its last low for `patience` epochs.

    Drops smaller than `threshold` add up: they count once they exceed it together. NaN never improves.
    """
    low, waited = float("inf"), 0
    for loss in losses:
        if loss < low - threshold:
            low, waited = loss, 0
        else:
            waited += 1
    return waited >= patience


@dataclass(frozen=True, kw_only=True)
class Position:
    """How far a run has come: all that decides what the next epoch does."""

    epoch: int = 0
    """Epochs done, over all stages."""
    stage: int = 0
    """Index of the current stage."""
    epoch_in_stage: int = 0
    """Epochs done in it."""
    losses: tuple[float, ...] = field(default=())
    """Validation losses of the epochs done in this stage."""

    def after_epoch(self, val_loss: float) -> Position:
        return replace(
            self, epoch=self.epoch + 1, epoch_in_stage=self.epoch_in_stage + 1, losses=(*self.losses, val_loss)
        )

    def next_stage(self) -> Position:
        return replace(self, stage=self.stage + 1, epoch_in_stage=0, losses=())


def planned_epochs(recipe: Recipe, position: Position) -> int:
    """Epochs done by the recipe's plan: a stage that ended on its plateau counts as if it had used all it had.

    What is timed by the plan (DRW) thus happens in the same stage of every run, however early the stages before ended.
    """
    return sum(stage.epochs for stage in recipe.train.stages[: position.stage]) + position.epoch_in_stage


def stage_is_over(recipe: Recipe, position: Position) -> bool:
    """Whether the current stage ends with the epoch just done: on its plateau (the last stage: early stop) or its last epoch."""
    train = recipe.train
    stage = train.stages[position.stage]
    if position.epoch_in_stage >= stage.epochs:
        return True
    final = position.stage == len(train.stages) - 1
    rule: Plateau | None = train.early_stop if final else stage.plateau
    if rule is None:
        return False
    losses = position.losses
    if final and train.drw_start is not None:
        # A run that defers re-weighting is only judged on what re-weighting makes of it.
        reweighted = max(0, planned_epochs(recipe, position) - train.drw_start + 1)
        losses = losses[max(0, len(losses) - reweighted) :]
    return is_plateau(losses, patience=rule.patience, threshold=rule.threshold)


SETTLING_EPOCHS = 3
"""First epochs of a stage, and of re-weighting, whose signs may be those of the change alone."""


def has_settled(recipe: Recipe, position: Position) -> bool:
    """Whether the epoch just done can be held against the run, and not the change it follows.

    It cannot in the first `SETTLING_EPOCHS` of a stage, while the head rests or a learning rate warms up, nor in the first
    `SETTLING_EPOCHS` of re-weighting.
    """
    stage = recipe.train.stages[position.stage]
    rest = recipe.head_frozen_epochs(position.stage)
    warm_up = max(
        rest + stage.head_warmup_epochs, stage.backbone_warmup_epochs if _opens_blocks(recipe, position) else 0
    )
    begun = _reweighted_epochs(recipe, position) > 0
    return position.epoch_in_stage > max(SETTLING_EPOCHS, warm_up) and not (begun and drw_is_pending(recipe, position))


def drw_is_pending(recipe: Recipe, position: Position) -> bool:
    """Whether re-weighting is still to come, or is in its first `SETTLING_EPOCHS`."""
    return recipe.train.drw_start is not None and _reweighted_epochs(recipe, position) <= SETTLING_EPOCHS


def _reweighted_epochs(recipe: Recipe, position: Position) -> int:
    """Epochs done with DRW's class weights, by the plan; 0 or less before."""
    start = recipe.train.drw_start
    return 0 if start is None else planned_epochs(recipe, position) - start + 1


def _opens_blocks(recipe: Recipe, position: Position) -> bool:
    return recipe.cut(position.stage) < len(recipe.blocks)


class Opening(NamedTuple):
    """What of a model trains."""

    cut: int
    """Position of the first open block; the number of blocks where none is."""
    head: bool


class EpochPlan(NamedTuple):
    """What the next epoch trains, and how fast."""

    opening: Opening
    head_lr: float
    """0 while the head rests."""
    backbone_lr: float
    """0 where no block is open."""
    reweighted: bool
    """Whether DRW's class weights are in force."""


def plan_epoch(recipe: Recipe, position: Position) -> EpochPlan:
    """The epoch that follows `position`."""
    train = recipe.train
    stage, cut = train.stages[position.stage], recipe.cut(position.stage)
    rest, done = recipe.head_frozen_epochs(position.stage), position.epoch_in_stage
    planned = planned_epochs(recipe, position)
    head_lr, backbone_lr = stage.peak_head_lr, stage.peak_backbone_lr
    if train.one_cycle:
        factor = one_cycle_factor((planned + 0.5) / train.max_epochs, train.one_cycle)  # in the middle of the epoch
        head_lr, backbone_lr = head_lr * factor, backbone_lr * factor
    else:
        rate = partial(learning_rate, stage.schedule, losses=position.losses)
        # The head's schedule begins when the head does.
        head_lr = rate(head_lr, max(0, done - rest), warmup_epochs=stage.head_warmup_epochs, epochs=stage.epochs - rest)
        backbone_lr = rate(backbone_lr, done, warmup_epochs=stage.backbone_warmup_epochs, epochs=stage.epochs)
    return EpochPlan(
        Opening(cut, head=done >= rest),
        head_lr=head_lr if done >= rest else 0.0,
        backbone_lr=backbone_lr if _opens_blocks(recipe, position) else 0.0,
        reweighted=train.drw_start is not None and planned + 1 >= train.drw_start,
    )
