"""Account of a stage in words: what it opened, when it would end, why it ended."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from trainables.core.config_errors import counted
from trainables.recipe.recipe import Recipe
from trainables.recipe.stage_config import EarlyStop
from trainables.training.stage_plan import Position, last_improvement, watched_values


def reason_of_end(recipe: Recipe, position: Position, *, stopped_for: str | None) -> str:
    """Returns the reason why a stage ended, such as `plateau: val_loss has not improved by more than 0.005 for 5 epochs`.

    Args:
        recipe: recipe of the run.
        position: position of the run after the stage's last epoch.
        stopped_for: warning flag that ended the run; None: there is none.
    """
    if stopped_for:
        return f"stopped for {stopped_for}"
    rule, epochs = recipe.ending_rule(position.stage), recipe.train.stages[position.stage].epochs
    if rule is None or (since := _improved(recipe, position, rule)[0]) < rule.patience:
        return f"length: {'its epoch is' if epochs == 1 else f'all {epochs} epochs are'} done"
    gain = f"by more than {rule.threshold:g} " if rule.threshold else ""
    return f"{_name(recipe, position)}: {rule.metric} has not improved {gain}for {counted(since, 'epoch')}"


def outlook(recipe: Recipe, position: Position) -> str | None:
    """Returns when the stage would end before its last epoch, such as `plateau in 3 epochs unless val_loss < 0.412`.

    None if it cannot, if it has just improved, and after its end.
    """
    rule = recipe.ending_rule(position.stage)
    if rule is None or not position.epoch_in_stage:
        return None
    since, value = _improved(recipe, position, rule)
    left = rule.patience - since
    if not since or not 0 < left < recipe.train.stages[position.stage].epochs - position.epoch_in_stage:
        return None
    falls = rule.metric.mode == "min"
    needed = value - rule.threshold if falls else value + rule.threshold
    unless = f" unless {rule.metric} {'<' if falls else '>'} {needed:.4g}" if math.isfinite(needed) else ""
    return f"{_name(recipe, position)} in {counted(left, 'epoch')}{unless}"


def opening(report: Mapping[str, Any], recipe: Recipe) -> str:
    """Returns what a stage opened, from the report of its first epoch.

    Args:
        report: report with `opened`.
        recipe: recipe of the run.
    """
    stages, index, opened = recipe.train.stages, report["stage_index"], report["opened"]
    blocks = opened["blocks"]
    parts = (
        "the head"
        if not blocks
        else f"{blocks[0]} and the head"
        if len(blocks) == 1
        else (f"{blocks[0]} … {blocks[-1]} ({len(blocks)} of {len(recipe.blocks)} blocks) and the head")
    )
    return (
        f"stage {stages[index].name} ({index + 1} of {len(stages)}) trains {parts}: {opened['parameters']:,} parameters"
        f" ({opened['share']:.1%}); BatchNorms: {opened['batch_norms_open']} open, {opened['batch_norms_frozen']} frozen"
    )


def _improved(recipe: Recipe, position: Position, rule: EarlyStop) -> tuple[int, float]:
    values = watched_values(recipe, position, rule.metric)
    return last_improvement(values, threshold=rule.threshold, metric=rule.metric)


def _name(recipe: Recipe, position: Position) -> str:
    return "early stop" if position.stage == len(recipe.train.stages) - 1 else "plateau"
