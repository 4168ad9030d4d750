"""`ablate` of a search file."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from trainables.core.config_errors import Config


class Ablation(Config):
    """`ablate` of a search file."""

    seeds: int = Field(3, ge=1)
    """Seeds that the baseline and every change are trained with: as many from `train.seed` on."""
    changes: dict[str, dict[str, Any]] = Field(min_length=1)
    """Name of a change -> dotted recipe paths and the values that it sets."""
