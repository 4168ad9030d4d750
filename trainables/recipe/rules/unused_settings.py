"""Settings that have no effect in a recipe, because of others. What is given acts, or is refused with the reason; a default that
does not fit is not reported."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from pydantic import BaseModel

from trainables.core.config_errors import Path, Problem, counted
from trainables.core.dotted_paths import resolve
from trainables.core.vocabulary import Flag
from trainables.recipe.augment_config import Augment
from trainables.recipe.loss_config import loss_spec
from trainables.recipe.recipe import Recipe
from trainables.recipe.stage_config import Cosine, Step

Rule = Callable[[Recipe, int], str | None]
"""Reason why a setting has no effect and what would be right, or None if it has one: recipe, position in the list."""

# --- stages ----------------------------------------------------------------------------------------------------------


def _is_last(recipe: Recipe, i: int) -> bool:
    return i == len(recipe.train.stages) - 1


def _opens_blocks(recipe: Recipe, i: int) -> bool:
    return recipe.cut(i) < len(recipe.blocks)


def _named(recipe: Recipe, i: int) -> str:
    return repr(recipe.train.stages[i].name)


def _plateau(recipe: Recipe, i: int) -> str | None:
    stage, early_stop = recipe.train.stages[i], recipe.train.early_stop
    if not _is_last(recipe, i):
        return None
    if stage.plateau is not None:
        return "the last stage ends by train.early_stop, not by a plateau rule; set patience and threshold there"
    if early_stop is not None and early_stop.patience < stage.epochs - 1:
        return "null, but train.early_stop can end the last stage before its last epoch; set train.early_stop: null"
    return None


def _backbone_rate(recipe: Recipe, i: int) -> str | None:
    if _opens_blocks(recipe, i):
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
    if recipe.train.one_cycle:
        return "train.one_cycle replaces warm-ups; keep one of the two"
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
    if _opens_blocks(recipe, i):
        spans.append((stage.peak_backbone_lr, stage.epochs - stage.backbone_warmup_epochs))
    longest = max(0, *(epochs for _, epochs in spans))
    match stage.schedule:
        case Step(every_epochs=every) if every >= longest:
            drop = f"its first drop would be after {counted(every, 'epoch')}"
            return f"{drop}, and at most {longest} follow the warm-up; lower every_epochs"
        case Cosine() if longest < 2:
            return "a cosine needs at least two epochs after the warm-up; remove it"
    floor = getattr(stage.schedule, "min_lr", 0.0)
    if floor >= max(peak for peak, _ in spans):
        return f"min_lr {floor:g} is not below the peak learning rate, so no rate would fall; lower it"
    return None


# --- training --------------------------------------------------------------------------------------------------------


def _each(recipe: Recipe, holds: Callable[[Recipe, int], bool]) -> bool:
    return all(holds(recipe, i) for i in range(len(recipe.train.stages)))


def _batch_size(recipe: Recipe, _: int) -> str | None:
    if any(stage.batch_size is None for stage in recipe.train.stages):
        return None
    return "each stage has a batch_size of its own; remove it here, or there"


def _layer_decay(recipe: Recipe, _: int) -> str | None:
    if not _each(recipe, lambda r, i: r.cut(i) >= len(r.blocks) - 1):
        return None
    return "no stage opens more than the last block, whose learning rate is not lowered; remove it"


def _bn_affine(recipe: Recipe, _: int) -> str | None:
    if not _each(recipe, lambda r, i: not _opens_blocks(r, i)):
        return None
    return "no stage opens blocks of the backbone; remove it"


def _prefix_dtype(recipe: Recipe, _: int) -> str | None:
    if _each(recipe, lambda r, i: r.cut(i) == 0):
        return "no stage has frozen blocks; remove it"
    if recipe.train.precision != "fp32":
        return f"with train.precision {recipe.train.precision} these features have that type anyway; remove it"
    return None


def _corrects_imbalance(recipe: Recipe) -> bool:
    spec, loss = loss_spec(recipe.train.loss), recipe.train.loss
    return spec.corrects_imbalance and not (spec.prior_power and getattr(loss, spec.prior_power) == 0)


def _balance(recipe: Recipe, _: int) -> str | None:
    kind, balance = recipe.train.loss.kind, recipe.train.balance
    if balance not in {"sampler", "class_weights"} or not _corrects_imbalance(recipe):
        return None
    return f"{balance!r} and train.loss {kind!r} would correct the imbalance twice; set balance: none, or another loss"


def _drw(recipe: Recipe, _: int) -> str | None:
    drw, loss = recipe.train.drw, recipe.train.loss
    if drw is None:
        return None
    if drw.beta == 0:
        return "with beta 0 all classes have the same weight; raise it, or set drw: null"
    if loss_spec(loss).prior_power and _corrects_imbalance(recipe):
        return f"drw and train.loss {loss.kind!r} would correct the imbalance twice; set drw: null, or another loss"
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


def _milestone(recipe: Recipe, i: int) -> str | None:
    epoch = recipe.train.checkpoints.milestones[i]
    if isinstance(epoch, str) or epoch <= recipe.train.max_epochs:
        return None
    most = counted(recipe.train.max_epochs, "epoch")
    return f"{epoch}: the run has at most {most}; give an epoch of the run, or a share such as 50%"


def _keep_every(recipe: Recipe, _: int) -> str | None:
    every = recipe.train.checkpoints.keep_every_epochs or 0
    if every <= recipe.train.max_epochs:
        return None
    return f"{every}: the run has at most {counted(recipe.train.max_epochs, 'epoch')}; lower it, or remove it"


RULES: Mapping[str, Rule] = {
    "train.stages[*].plateau": _plateau,
    "train.stages[*].backbone_lr": _backbone_rate,
    "train.stages[*].backbone_lr_ratio": _backbone_rate,
    "train.stages[*].backbone_warmup_epochs": _backbone_warmup,
    "train.stages[*].head_warmup_epochs": _head_warmup,
    "train.stages[*].head_frozen_epochs": _head_frozen,
    "train.stages[*].schedule": _schedule,
    "train.batch_size": _batch_size,
    "train.optimizer.layer_decay": _layer_decay,
    "train.bn_affine": _bn_affine,
    "train.prefix_dtype": _prefix_dtype,
    "train.balance": _balance,
    "train.drw": _drw,
    "train.augment": _augment,
    "train.augment.erase": _erase,
    "train.mix": _mix,
    "train.mix.at": _mix_at,
    "train.stop_on[*]": _stop_on,
    "train.checkpoints.milestones[*]": _milestone,
    "train.checkpoints.keep_every_epochs": _keep_every,
}
"""Path of a setting -> its rule. A rule also holds for everything below its path."""

# --- recipes ---------------------------------------------------------------------------------------------------------


def unused_settings(recipes: Sequence[Recipe]) -> list[Problem]:
    """Returns a problem for each setting that differs from its default and has no effect in any of some recipes.

    Not part of `parse_recipe`: a search may well draw a value that only some of its trials use.
    """
    unused = [_unused_in(recipe) for recipe in recipes]
    return [
        Problem(place, reason)
        for place, reason in (unused[0].items() if unused else ())
        if all(place in found for found in unused) and any(_is_given(recipe, place) for recipe in recipes)
    ]


def _unused_in(recipe: Recipe) -> dict[Path, str]:
    """Settings of a recipe, defaults included, that have no effect, neither at first nor after its changes during a run, and the
    reasons."""
    found = [dict(_unused_now(each)) for each in (recipe, *_after_changes(recipe))]
    unused = {place: reason for place, reason in found[0].items() if all(place in other for other in found)}
    return unused | dict(_late_changes(recipe, recipe.model_dump(mode="json")))


def _after_changes(recipe: Recipe) -> Iterator[Recipe]:
    return (recipe.in_epoch(change.after_epoch + 1) for change in recipe.train.changes)


def _unused_now(recipe: Recipe) -> Iterator[tuple[Path, str]]:
    data = recipe.model_dump(mode="json")
    for path, rule in RULES.items():
        for place in resolve(path, data):
            i = next((key for key in place if isinstance(key, int)), 0)
            if _exists(recipe, place) and (reason := rule(recipe, i)):
                yield place, reason


def _exists(recipe: Recipe, place: Path) -> bool:
    return _value_at(recipe, place[:-1]) is not None


def _is_given(recipe: Recipe, place: Path) -> bool:
    """True if a value differs from its default."""
    if not _exists(recipe, place):
        return False
    owner = _value_at(recipe, place[:-1])
    if not isinstance(owner, BaseModel):
        return True  # items of lists have no defaults
    return bool(
        _value_at(recipe, place) != type(owner).model_fields[str(place[-1])].get_default(call_default_factory=True)
    )


def _value_at(recipe: Recipe, place: Path) -> Any:
    value: Any = recipe
    for key in place:
        value = None if value is None else value[key] if isinstance(key, int) else getattr(value, key)
    return value


def _late_changes(recipe: Recipe, data: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Yields the changes during a run that concern only stages which are over by then."""
    ends = list(accumulate(stage.epochs for stage in recipe.train.stages))
    for n, change in enumerate(recipe.train.changes):
        for path in change.set:
            stages = [int(place[2]) for place in resolve(path, data) if place[:2] == ("train", "stages")]
            last = max((ends[i] for i in stages), default=None)
            if last is not None and last <= change.after_epoch:
                yield (
                    ("train", "changes", n, "set", path),
                    f"the stage is over after epoch {last} at the latest; remove it",
                )
