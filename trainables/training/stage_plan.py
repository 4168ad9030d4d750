"""Position of a run in its stages: the plan of the next epoch and the end of each stage. Pure functions of values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import NamedTuple

from trainables.core.vocabulary import Metric
from trainables.recipe.recipe import Recipe
from trainables.training.learning_rates import Rates, rates_of_epoch


def epochs_without_improvement(values: Sequence[float], *, threshold: float, metric: Metric = Metric.VAL_LOSS) -> int:
    """Number of epochs since the last improvement of a metric.

    Args:
        values, threshold, metric: see `last_improvement`.
    """
    return last_improvement(values, threshold=threshold, metric=metric)[0]


def last_improvement(
    values: Sequence[float], *, threshold: float, metric: Metric = Metric.VAL_LOSS
) -> tuple[int, float]:
    """Last time that a metric was better by more than `threshold` than at the improvement before.

    Smaller gains add up and count once they exceed `threshold` together. NaN is never an improvement.

    Args:
        values: values of the metric in the epochs so far, oldest first.
        threshold: gain that an improvement must exceed.
        metric: the metric, which says which direction is better.
    Returns:
        Number of epochs since then, and the value it had; all epochs, and the worst value, if it was never a number.
    """
    sign = 1 if metric.mode == "min" else -1
    low, waited = float("inf"), 0
    for value in values:
        if sign * value < low - threshold:
            low, waited = sign * value, 0
        else:
            waited += 1
    return waited, sign * low


@dataclass(frozen=True, kw_only=True)
class Position:
    """Progress of a run: everything that determines the next epoch."""

    epoch: int = 0
    """Number of epochs done, over all stages."""
    stage: int = 0
    """Position of the current stage, counted from 0."""
    epoch_in_stage: int = 0
    """Number of epochs done in the current stage."""
    losses: tuple[float, ...] = field(default=())
    """Validation losses of the epochs done in the current stage."""
    watched: tuple[float, ...] = field(default=())
    """Values, in these epochs, of the metric that can end the stage, if that is another than the validation loss."""

    def after_epoch(self, val_loss: float, watched: float | None = None) -> Position:
        """Position after one more epoch."""
        return replace(
            self,
            epoch=self.epoch + 1,
            epoch_in_stage=self.epoch_in_stage + 1,
            losses=(*self.losses, val_loss),
            watched=self.watched if watched is None else (*self.watched, watched),
        )

    def next_stage(self) -> Position:
        """Position at the start of the next stage."""
        return replace(self, stage=self.stage + 1, epoch_in_stage=0, losses=(), watched=())


def planned_epochs(recipe: Recipe, position: Position) -> int:
    """Number of epochs done by the recipe's plan: a stage that ended on its plateau counts as if it had used all its epochs.

    Re-weighting (DRW), which is timed by the plan, thus starts in the same stage of every run, however early the stages before
    ended.
    """
    return sum(stage.epochs for stage in recipe.train.stages[: position.stage]) + position.epoch_in_stage


def stage_is_over(recipe: Recipe, position: Position) -> bool:
    """Returns True if the current stage ends with the epoch just done: its last one, or by its plateau (`early_stop` in the last
    stage)."""
    train = recipe.train
    if position.epoch_in_stage >= train.stages[position.stage].epochs:
        return True
    rule = recipe.ending_rule(position.stage)
    if rule is None:
        return False
    values = watched_values(recipe, position, rule.metric)
    return epochs_without_improvement(values, threshold=rule.threshold, metric=rule.metric) >= rule.patience


def watched_values(recipe: Recipe, position: Position, metric: Metric) -> Sequence[float]:
    """Values of the metric that can end the current stage, in the epochs that count for it.

    Args:
        recipe: recipe of the run.
        position: position of the run.
        metric: metric of the stage's `Recipe.ending_rule`.
    """
    train = recipe.train
    values = position.losses if metric is Metric.VAL_LOSS else position.watched
    if position.stage == len(train.stages) - 1 and train.drw_start is not None:
        # Early stop of a run that defers re-weighting only considers re-weighted epochs.
        reweighted = max(0, planned_epochs(recipe, position) - train.drw_start + 1)
        values = values[max(0, len(values) - reweighted) :]
    return values


SETTLING_EPOCHS = 3
"""First epochs of a stage, and of re-weighting, whose warning signs may come from the change alone."""


def has_settled(recipe: Recipe, position: Position) -> bool:
    """Returns True if warning signs of the epoch just done come from the run and not from a recent change.

    A run has not settled in the first `SETTLING_EPOCHS` of a stage, while the head is frozen or a learning rate warms up, and in
    the first `SETTLING_EPOCHS` of re-weighting.
    """
    stage = recipe.train.stages[position.stage]
    rest = recipe.head_frozen_epochs(position.stage)
    warm_up = max(
        rest + stage.head_warmup_epochs, stage.backbone_warmup_epochs if _opens_blocks(recipe, position) else 0
    )
    if cosine := recipe.train.cosine:
        before = planned_epochs(recipe, position) - position.epoch_in_stage
        warm_up = max(rest, max(cosine.head_warmup_epochs, cosine.backbone_warmup_epochs) - before)
    begun = _reweighted_epochs(recipe, position) > 0
    return position.epoch_in_stage > max(SETTLING_EPOCHS, warm_up) and not (begun and drw_is_pending(recipe, position))


def drw_is_pending(recipe: Recipe, position: Position) -> bool:
    """Returns True if re-weighting has not started yet, or is in its first `SETTLING_EPOCHS`."""
    return recipe.train.drw_start is not None and _reweighted_epochs(recipe, position) <= SETTLING_EPOCHS


def _reweighted_epochs(recipe: Recipe, position: Position) -> int:
    """Number of epochs done with DRW's class weights, by the plan; 0 or less before."""
    start = recipe.train.drw_start
    return 0 if start is None else planned_epochs(recipe, position) - start + 1


def _opens_blocks(recipe: Recipe, position: Position) -> bool:
    return recipe.cut(position.stage) < len(recipe.blocks)


class Opening(NamedTuple):
    """Parts of a model that train."""

    cut: int
    """Position of the first open block; the number of blocks if none is open."""
    head: bool
    """True if the head trains."""
    frozen: frozenset[int] = frozenset()
    """Positions of blocks after the cut that stay frozen."""

    def trains(self, block: int) -> bool:
        """Returns True if the block at a position trains."""
        return block >= self.cut and block not in self.frozen


def opening_of(recipe: Recipe, stage: int, *, head: bool) -> Opening:
    """Parts of the model that train in a stage.

    Args:
        recipe: recipe of the run.
        stage: position of the stage.
        head: whether the head trains.
    """
    cut = recipe.cut(stage)
    return Opening(cut, head, frozenset(i for i in recipe.frozen(stage) if i > cut))


class EpochPlan(NamedTuple):
    """Open blocks and learning rates of an epoch."""

    opening: Opening
    rates: tuple[Rates, ...]
    """Rates of each optimizer step, or of all of them; what is frozen has a learning rate of 0."""
    reweighted: bool
    """True if DRW's class weights are used."""

    @property
    def head_lr(self) -> float:
        """Learning rate of the head, averaged over the steps; 0 while it is frozen."""
        return fmean(rates.head_lr for rates in self.rates)

    @property
    def backbone_lr(self) -> float:
        """Learning rate of the open blocks, averaged over the steps; 0 if none is open."""
        return fmean(rates.backbone_lr for rates in self.rates)


def plan_epoch(recipe: Recipe, position: Position, *, steps_in_epoch: Callable[[int], int] | None = None) -> EpochPlan:
    """Plans the epoch that follows `position`.

    Args:
        recipe: recipe of the run.
        position: position in its stages.
        steps_in_epoch: position of a stage -> optimizer steps in each of its epochs; needed for `schedule_by: step`.
    """
    stage, done = position.stage, position.epoch_in_stage
    opening = opening_of(recipe, stage, head=done >= recipe.head_frozen_epochs(stage))
    opens_blocks = _opens_blocks(recipe, position)
    rates = rates_of_epoch(recipe, stage, done, losses=position.losses, steps_in_epoch=steps_in_epoch)
    drw_start = recipe.train.drw_start
    return EpochPlan(
        opening,
        tuple(
            Rates(head_lr if opening.head else 0.0, backbone_lr if opens_blocks else 0.0, momentum)
            for head_lr, backbone_lr, momentum in rates
        ),
        reweighted=drw_start is not None and planned_epochs(recipe, position) + 1 >= drw_start,
    )
