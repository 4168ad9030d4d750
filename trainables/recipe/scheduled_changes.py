"""`train.changes`: values of a recipe that change during its run, and which ones may. Plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from trainables.core.config_errors import Config, dotted
from trainables.core.config_errors import Path as KeyPath
from trainables.core.dotted_paths import PathError, resolve
from trainables.recipe.loss_config import loss_numbers

CHANGEABLE = (
    "train.stages[*].head_lr",
    "train.stages[*].backbone_lr",
    "train.stages[*].backbone_lr_ratio",
    "train.stages[*].lr_scale",
    "train.stages[*].schedule",
    "train.stages[*].head_warmup_epochs",
    "train.stages[*].backbone_warmup_epochs",
    "train.stages[*].dropout",
    "train.stages[*].weight_decay",
    "train.one_cycle",
    "train.cosine",
    "train.schedule_by",
    "train.clip_norm",
    "train.optimizer.momentum",
    "train.optimizer.layer_decay",
    *(f"train.loss.{name}" for name in loss_numbers()),
    "train.drw.beta",
    "train.ema.decay",
)
"""Paths that may change, with everything below them: numbers on which weights, moments and the counting of epochs do not depend."""


class Change(Config):
    """Values that a run continues with after some epoch. Weights, moments, averages and the position in the plan are unaffected."""

    after_epoch: int = Field(ge=1)
    """Last epoch before the change, counted from 1 over all stages."""
    set: dict[str, Any] = Field(min_length=1)
    """New values by dotted paths, as in `space`. Only numbers that do not change the run's structure: learning rates and their
    schedules, dropout, weight decay, momentum, clipping, parameters of the loss, decay of the weight average."""


def may_change(path: str, data: Mapping[str, Any]) -> bool:
    """Returns True if a dotted path names only values of a recipe that may change during a run.

    Args:
        path: dotted path.
        data: the recipe as plain data.
    Raises:
        PathError: if the path leads nowhere in the recipe.
    """
    return all(_is_changeable(place) for place in resolve(path, data))


def fixed_reason(path: str, data: Mapping[str, Any]) -> str | None:
    """Returns the reason why a run cannot change what a dotted path names, or None if it can; see `may_change`."""
    try:
        if not may_change(path, data):
            return f"cannot change during a run; these can: {', '.join(CHANGEABLE)}"
        above = next((missing for place in resolve(path, data) if (missing := _missing_above(place, data))), None)
    except PathError as error:
        return str(error)
    return None if above is None else f"cannot change, because this run has no {dotted(above)}"


def _is_changeable(place: KeyPath) -> bool:
    name = "".join("[*]" if isinstance(key, int) else f".{key}" for key in place).removeprefix(".")
    return any(name == path or name.startswith(f"{path}.") for path in CHANGEABLE)


def _missing_above(place: KeyPath, data: Any) -> KeyPath | None:
    """First null mapping on the way to a place: a value set below it would create it."""
    for length, key in enumerate(place[:-1], start=1):
        data = data[key]
        if data is None:
            return place[:length]
    return None
