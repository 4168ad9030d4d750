"""Account of a stage in words: what it opened, when it would end, why it ended."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from trainables.core.config_errors import counted
from trainables.recipe.recipe import Recipe
from trainables.recipe.stage_config import EarlyStop
from trainables.training.stage_plan import Position, last_improvement, watched_values


def reason_of_end(recipe: Recipe, position: Position, *, stopped_for: str | None) -> str:
    """Returns the reason why a stage ended, such as `plateau: val_loss has not improved by more than 0.005 on
    0.417 for 5 epochs`.

    Args:
        recipe: recipe of the run.
        position: position of the run after the stage's last epoch.
        stopped_for: warning flag that ended the run; None: there is none.
    """
    if stopped_for:
        return f"stopped for {stopped_for}"
    rule, epochs = recipe.ending_rule(position.stage), recipe.train.stages[position.stage].epochs
    if rule is None or position.epoch_in_stage >= epochs:
        return "its one epoch is done" if epochs == 1 else f"all {epochs} epochs are done"
    gain = f"by more than {rule.threshold:g} " if rule.threshold else ""
    since, value = _improved(recipe, position, rule)
    return (
        f"{_name(recipe, position)}: {rule.metric} has not improved {gain}on {value:.4g} for {counted(since, 'epoch')}"
    )


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
    number = f"{len(blocks)} of {counted(len(recipe.blocks), 'block')}"
    parts = f"the head and {_ranges(blocks, recipe.blocks)} ({number})" if blocks else "the head alone"
    return (
        f"stage {stages[index].name} ({index + 1} of {len(stages)}) trains {parts}:"
        f" {opened['parameters']:,} parameters, {_percent(opened['share'])};"
        f" BatchNorms: {opened['batch_norms_open']} open, {opened['batch_norms_frozen']} frozen"
    )


def stage_lines(report: Mapping[str, Any], recipe: Recipe) -> list[str]:
    """Lines about the stage of an epoch: what it opened, in its first one; why it ended, in its last one.

    Args:
        report: report of the epoch.
        recipe: recipe of the run.
    """
    lines = [opening(report, recipe)] if report["opened"] else []
    if report["stage_end"]:
        epochs = counted(report["epoch_in_stage"], "epoch")
        lines.append(f"stage {report['stage']} ended after {epochs}: {report['stage_end']}")
    return lines


def beginning(report: Mapping[str, Any], recipe: Recipe) -> str:
    """Returns where a run that is resumed begins.

    Args:
        report: report of the last epoch that was trained before.
        recipe: recipe of the run.
    """
    stages, index, epoch = recipe.train.stages, report["stage_index"], report["epoch_in_stage"] + 1
    if report["stage_over"] and not report["finished"]:
        index, epoch = index + 1, 1
    done, best = report["epoch"], "no score so far"
    if report["best_epoch"]:
        best = f"best {recipe.train.metric} so far {report['best_score']:.4f}, in epoch {report['best_epoch']}"
    resumes = f": resumes in stage {stages[index].name}, epoch {epoch} of {stages[index].epochs}"
    then = ", which is all" if report["finished"] else resumes
    return f"{counted(done, 'epoch')} {'was' if done == 1 else 'were'} trained before{then}; {best}"


def _ranges(blocks: Sequence[str], network: Sequence[str]) -> str:
    """Blocks as ranges of those that follow each other in the network: `stem, layer3 … layer4`."""
    ranges = [list(found) for is_open, found in groupby(network, key=lambda block: block in blocks) if is_open]
    return ", ".join(found[0] if len(found) == 1 else f"{found[0]} … {found[-1]}" for found in ranges)


def _percent(share: float) -> str:
    return "< 0.1 %" if 0 < share < 0.0005 else f"{100 * share:.1f} %"


def _improved(recipe: Recipe, position: Position, rule: EarlyStop) -> tuple[int, float]:
    values = watched_values(recipe, position, rule.metric)
    return last_improvement(values, threshold=rule.threshold, metric=rule.metric)


def _name(recipe: Recipe, position: Position) -> str:
    return "early stop" if position.stage == len(recipe.train.stages) - 1 else "plateau"
