"""Rules for settings of `train`, other than those of stages, that have no effect, because of others."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from trainables.core.config_errors import counted
from trainables.core.vocabulary import Flag
from trainables.recipe.augment_config import Augment
from trainables.recipe.recipe import Recipe
from trainables.recipe.rules.imbalance_rules import balance_rule, class_weights_rule, drw_rule
from trainables.recipe.rules.unused_stage_settings import Rule, opens_blocks


def _each(recipe: Recipe, holds: Callable[[Recipe, int], bool]) -> bool:
    return all(holds(recipe, i) for i in range(len(recipe.train.stages)))


def _batch_size(recipe: Recipe, _: int) -> str | None:
    if any(stage.batch_size is None for stage in recipe.train.stages):
        return None
    return "each stage has a batch_size of its own; remove it here, or there"


def _layer_decay(recipe: Recipe, _: int) -> str | None:
    if not _each(recipe, lambda r, i: r.depth(i) >= len(r.backbone_blocks) - 1):
        return None
    return "no stage opens more than the last block, whose learning rate is not lowered; remove it"


def _freeze_head_at(recipe: Recipe, _: int) -> str | None:
    train = recipe.train
    other = train.model_copy(update={"freeze_head_at": "first_opening"})
    at_first = recipe.model_copy(update={"train": other})
    if not _each(recipe, lambda r, i: r.head_frozen_epochs(i) == at_first.head_frozen_epochs(i)):
        return None
    return f"{train.freeze_head_at!r} freezes the head in the same epochs as 'first_opening'; remove it"


def _bn_affine(recipe: Recipe, _: int) -> str | None:
    if not _each(recipe, lambda r, i: not opens_blocks(r, i)):
        return None
    return "no stage opens blocks of the backbone; remove it"


def _gradient_checkpointing(recipe: Recipe, _: int) -> str | None:
    if not _each(recipe, lambda r, i: not opens_blocks(r, i)):
        return None
    return "no stage opens blocks of the backbone, whose outputs it would keep; remove it"


def _prefix_dtype(recipe: Recipe, _: int) -> str | None:
    if _each(recipe, lambda r, i: r.cut(i) == 0):
        return "no stage has frozen blocks; remove it"
    if recipe.train.precision != "fp32":
        return f"with train.precision {recipe.train.precision} these features have that type anyway; remove it"
    return None


def _augment(recipe: Recipe, _: int) -> str | None:
    if recipe.train.augment is None or recipe.train.augment.model_copy(update={"views": None}) != Augment():
        return None
    return "names no variation of the images, such as horizontal_flip: 0.5; add one, or set augment: null"


def _erase(recipe: Recipe, _: int) -> str | None:
    erase = recipe.train.augment and recipe.train.augment.erase
    return (
        "with probability 0 nothing is erased; raise it, or set erase: null"
        if erase and not erase.probability
        else None
    )


def _mix(recipe: Recipe, _: int) -> str | None:
    mix = recipe.train.mix
    return "with probability 0 no image is mixed; raise it, or set mix: null" if mix and not mix.probability else None


def _mix_at(recipe: Recipe, _: int) -> str | None:
    if not _each(recipe, lambda r, i: r.cut(i) == 0):
        return None
    return "no stage has frozen blocks, so that the cut is the input; remove it"


def _stop_on(recipe: Recipe, i: int) -> str | None:
    if recipe.train.stop_on[i] != Flag.DRW_DROP or recipe.train.drw:
        return None
    return f"{str(Flag.DRW_DROP)!r} is raised only with train.drw; remove it"


def _milestones(recipe: Recipe, _: int) -> str | None:
    epochs = (epoch for epoch in recipe.train.checkpoints.milestones or () if isinstance(epoch, int))
    epoch = max(epochs, default=0)
    if epoch <= recipe.train.max_epochs:
        return None
    most = counted(recipe.train.max_epochs, "epoch")
    return f"{epoch}: the run has at most {most}; give an epoch of the run, or a share such as 50%"


def _keep_every(recipe: Recipe, _: int) -> str | None:
    every = recipe.train.checkpoints.keep_every_epochs or 0
    if every <= recipe.train.max_epochs:
        return None
    return f"{every}: the run has at most {counted(recipe.train.max_epochs, 'epoch')}; lower it, or remove it"


TRAIN_RULES: Mapping[str, Rule] = {
    "train.batch_size": _batch_size,
    "train.optimizer.layer_decay": _layer_decay,
    "train.freeze_head_at": _freeze_head_at,
    "train.bn_affine": _bn_affine,
    "train.gradient_checkpointing": _gradient_checkpointing,
    "train.prefix_dtype": _prefix_dtype,
    "train.balance": lambda recipe, _: balance_rule(recipe.train),
    "train.class_weights": lambda recipe, _: class_weights_rule(recipe.train),
    "train.drw": lambda recipe, _: drw_rule(recipe.train),
    "train.augment": _augment,
    "train.augment.erase": _erase,
    "train.mix": _mix,
    "train.mix.at": _mix_at,
    "train.stop_on[*]": _stop_on,
    "train.checkpoints.milestones": _milestones,
    "train.checkpoints.keep_every_epochs": _keep_every,
}
"""Path of a setting -> its rule."""
