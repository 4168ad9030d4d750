"""`train.changes`: what of a recipe changes while its run goes on, and what may. Plain data."""

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
    "train.clip_norm",
    "train.optimizer.momentum",
    "train.optimizer.layer_decay",
    *(f"train.loss.{name}" for name in loss_numbers()),
    "train.drw.beta",
    "train.ema.decay",
)
"""What may change, with all that lies under it: numbers that weights, moments and the counting of epochs do not depend on."""


class Change(Config):
    """Values that a run goes on with. Weights, moments, averages and the place in the plan stay what they are."""

    after_epoch: int = Field(ge=1)
    """Epochs done before, over all stages."""
    set: dict[str, Any] = Field(min_length=1)
    """Values by dotted paths, as in `space`. Only numbers that leave the run's structure alone: learning rates and their schedules,
    dropout, weight decay, momentum, clipping, the loss's numbers, the decay of the average."""


def may_change(path: str, data: Mapping[str, Any]) -> bool:
    """Whether a dotted path names only places of a recipe that may change.

    Args:
        data: the recipe, as plain data.
    Raises:
        PathError: if it leads nowhere in it.
    """
    return all(_is_changeable(place) for place in resolve(path, data))


def why_fixed(path: str, data: Mapping[str, Any]) -> str | None:
    """Why a run cannot change what a dotted path names, if so; see `may_change`."""
    try:
        if not may_change(path, data):
            return f"cannot change while a run goes on; what can: {', '.join(CHANGEABLE)}"
        above = next((missing for place in resolve(path, data) if (missing := _missing_above(place, data))), None)
    except PathError as error:
        return str(error)
    return None if above is None else f"there is no {dotted(above)} in this run that could change"


def _is_changeable(place: KeyPath) -> bool:
    name = "".join("[*]" if isinstance(key, int) else f".{key}" for key in place).removeprefix(".")
    return any(name == path or name.startswith(f"{path}.") for path in CHANGEABLE)


def _missing_above(place: KeyPath, data: Any) -> KeyPath | None:
    """The first mapping on the way to a place that is null: values under it would make it."""
    for length, key in enumerate(place[:-1], start=1):
        data = data[key]
        if data is None:
            return place[:length]
    return None
