"""`search.scheduler`: which trials go on. Plain data."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from trainables.problems import Config


class Asha(Config):
    """Asynchronous successive halving (Li et al. 2020): at each rung the worse trials stop."""

    kind: Literal["asha"] = "asha"
    grace_epochs: int = Field(4, ge=1)
    """Epochs before the first rung."""
    reduction: float = Field(3, gt=1)
    """One in `reduction` trials passes a rung; rungs are this factor apart."""


class NoPruning(Config):
    kind: Literal["none"]


Scheduler = Annotated[Asha | NoPruning, Field(discriminator="kind")]
