"""`ablate` of a search file."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from trainables.core.config_errors import Config


class Ablation(Config):
    """The `ablate` section of a search file."""

    seeds: int = Field(3, ge=1)
    """Number of seeds that the baseline and each change are trained with, counting up from `train.seed`."""
    changes: dict[str, dict[str, Any]] = Field(min_length=1)
    """Name of a change -> recipe paths and the values that it sets."""
