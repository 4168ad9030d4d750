"""Rules for settings of stages that have no effect, because of others."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from trainables.core.config_errors import counted
from trainables.recipe.backbone_catalog import HEAD
from trainables.recipe.recipe import Recipe
from trainables.recipe.rules.stage_openings import first_open_block, positions_of
from trainables.recipe.stage_config import Cosine, Plateau, Step

Rule = Callable[[Recipe, int], str | None]
"""Reason why a setting has no effect and what would be right, or None if it has one: recipe, position in the list."""


def opens_blocks(recipe: Recipe, i: int) -> bool:
    """Returns True if blocks of the backbone train in a stage."""
    return recipe.cut(i) < len(recipe.blocks)


def _is_last(recipe: Recipe, i: int) -> bool:
    return i == len(recipe.train.stages) - 1


def _named(recipe: Recipe, i: int) -> str:
    return repr(recipe.train.stages[i].name)


_EARLIER_DEFAULT = Plateau(patience=5, threshold=0.005)
"""Default that earlier versions wrote into resolved recipes."""


def _plateau(recipe: Recipe, i: int) -> str | None:
    stage, early_stop = recipe.train.stages[i], recipe.train.early_stop
    if not _is_last(recipe, i):
        return None
    if stage.plateau == _EARLIER_DEFAULT:
        return None
    if stage.plateau is not None:
        return "the last stage ends by train.early_stop, not by a plateau rule; set patience and threshold there"
    if early_stop is not None and early_stop.patience < stage.epochs - 1:
        return "null, but train.early_stop can end the last stage before its last epoch; set train.early_stop: null"
    return None


def _freeze(recipe: Recipe, i: int) -> str | None:
    stage, own = recipe.train.stages[i], recipe.backbone_blocks
    first = first_open_block(stage.unfreeze_from, recipe.blocks, own)
    if idle := [name for name in stage.freeze if positions_of(name, recipe.blocks)[-1] < first]:
        return f"frozen anyway, because the stage opens {stage.unfreeze_from}: {', '.join(idle)}; remove it"
    if stage.freeze and not opens_blocks(recipe, i):
        return f"freezes all that {stage.unfreeze_from} opens; set unfreeze_from: {HEAD} instead"
    return None


def _backbone_rate(recipe: Recipe, i: int) -> str | None:
    if opens_blocks(recipe, i):
        return None
    return f"only the head trains in stage {_named(recipe, i)}; remove it, or open blocks with unfreeze_from"


def _backbone_warmup(recipe: Recipe, i: int) -> str | None:
    stage = recipe.train.stages[i]
    if stage.backbone_warmup_epochs == 0:
        return None
    return _backbone_rate(recipe, i) or _warmup(recipe, stage.backbone_warmup_epochs, stage.epochs)


def _head_warmup(recipe: Recipe, i: int) -> str | None:
    stage = recipe.train.stages[i]
    return _warmup(recipe, stage.head_warmup_epochs, stage.epochs - recipe.head_frozen_epochs(i))


def _warmup(recipe: Recipe, given: int, epochs: int) -> str | None:
    if curve := recipe.train.curve_of_run:
        return f"train.{curve} replaces warm-ups; keep one of the two"
    if given > epochs:
        return f"{given}: longer than the {counted(max(0, epochs), 'epoch')} in which it could rise; give at most {max(0, epochs)}"
    return None


def _head_frozen(recipe: Recipe, i: int) -> str | None:
    stage = recipe.train.stages[i]
    given = stage.head_frozen_epochs or 0
    return f"{given}: the stage has only {counted(stage.epochs, 'epoch')}" if given > stage.epochs else None


def _schedule(recipe: Recipe, i: int) -> str | None:
    """Reason of a schedule that changes no learning rate; one that depends on the losses may change them."""
    stage = recipe.train.stages[i]
    rest = recipe.head_frozen_epochs(i)
    spans = [(stage.peak_head_lr, stage.epochs - rest - stage.head_warmup_epochs)]
    if opens_blocks(recipe, i):
        spans.append((stage.peak_backbone_lr, stage.epochs - stage.backbone_warmup_epochs))
    longest = max(0, *(epochs for _, epochs in spans))
    match stage.schedule:
        case Step(every_epochs=every) if every >= longest:
            drop = f"its first drop would be after {counted(every, 'epoch')}"
            return f"{drop}, and at most {longest} follow the warm-up; lower every_epochs"
        case Cosine() if longest < 2 and recipe.train.schedule_by == "epoch":
            return "a cosine needs at least two epochs after the warm-up; remove it, or set train.schedule_by: step"
    floor = getattr(stage.schedule, "min_lr", 0.0)
    if floor >= max(peak for peak, _ in spans):
        return f"min_lr {floor:g} is not below the peak learning rate, so no rate would fall; lower it"
    return None


def _continues(recipe: Recipe, i: int) -> str | None:  # noqa: ARG001
    return "the first stage has none before it; remove it" if i == 0 else None


STAGE_RULES: Mapping[str, Rule] = {
    "train.stages[*].plateau": _plateau,
    "train.stages[*].freeze": _freeze,
    "train.stages[*].backbone_lr": _backbone_rate,
    "train.stages[*].backbone_lr_ratio": _backbone_rate,
    "train.stages[*].backbone_warmup_epochs": _backbone_warmup,
    "train.stages[*].head_warmup_epochs": _head_warmup,
    "train.stages[*].head_frozen_epochs": _head_frozen,
    "train.stages[*].schedule": _schedule,
    "train.stages[*].continues": _continues,
}
"""Path of a setting -> its rule."""
