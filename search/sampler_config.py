"""`search.sampler`: where proposals come from. Plain data."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trainables.problems import Config


class Sampler(Config):
    """Where proposals come from."""

    kind: Literal["tpe", "random"] = "tpe"
    startup_trials: int = Field(10, ge=1)
    """Random proposals before TPE has seen enough to guess."""
