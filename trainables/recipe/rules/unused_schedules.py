"""Rules for settings of learning rates and momentum over the whole run that have no effect, because of others."""

from __future__ import annotations

from collections.abc import Mapping

from trainables.core.config_errors import counted
from trainables.recipe.recipe import Recipe
from trainables.recipe.rules.unused_stage_settings import Rule, opens_blocks
from trainables.recipe.stage_config import Cosine


def _schedule_by(recipe: Recipe, _: int) -> str | None:
    if recipe.train.curve_of_run or any(_follows_steps(recipe, i) for i in range(len(recipe.train.stages))):
        return None
    return "no stage has a warm-up or a cosine that could follow the steps; remove it"


def _follows_steps(recipe: Recipe, i: int) -> bool:
    stage = recipe.train.stages[i]
    warms_up = stage.head_warmup_epochs or (opens_blocks(recipe, i) and stage.backbone_warmup_epochs)
    return bool(warms_up) or isinstance(stage.schedule, Cosine)


def _run_cosine(recipe: Recipe, _: int) -> str | None:
    train = recipe.train
    if train.cosine and train.max_epochs < 2 and train.schedule_by == "epoch":
        return "a cosine needs at least two epochs; remove it, or set train.schedule_by: step"
    return None


def _run_floor(recipe: Recipe, _: int) -> str | None:
    assert recipe.train.cosine is not None
    floor, stages = recipe.train.cosine.min_lr, enumerate(recipe.train.stages)
    if floor < max(
        max(stage.peak_head_lr, stage.peak_backbone_lr if opens_blocks(recipe, i) else 0) for i, stage in stages
    ):
        return None
    return f"{floor:g}: not below the peak learning rate, so no rate would fall; lower it"


def _run_head_warmup(recipe: Recipe, _: int) -> str | None:
    cosine = recipe.train.cosine
    return _longer_than_run(recipe, cosine.head_warmup_epochs) if cosine else None


def _run_backbone_warmup(recipe: Recipe, _: int) -> str | None:
    if not (cosine := recipe.train.cosine) or not cosine.backbone_warmup_epochs:
        return None
    if not any(opens_blocks(recipe, i) for i in range(len(recipe.train.stages))):
        return "no stage opens blocks of the backbone; remove it"
    return _longer_than_run(recipe, cosine.backbone_warmup_epochs)


def _longer_than_run(recipe: Recipe, epochs: int) -> str | None:
    longest = recipe.train.max_epochs
    return f"{epochs}: longer than the run, {counted(longest, 'epoch')}; lower it" if epochs > longest else None


def _momentum(recipe: Recipe, _: int) -> str | None:
    cycle = recipe.train.one_cycle
    return "train.one_cycle.momentum replaces it; keep one of the two" if cycle and cycle.momentum else None


SCHEDULE_RULES: Mapping[str, Rule] = {
    "train.schedule_by": _schedule_by,
    "train.cosine": _run_cosine,
    "train.cosine.head_warmup_epochs": _run_head_warmup,
    "train.cosine.backbone_warmup_epochs": _run_backbone_warmup,
    "train.cosine.min_lr": _run_floor,
    "train.optimizer.momentum": _momentum,
}
"""Path of a setting -> its rule."""
