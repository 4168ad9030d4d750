"""`search.stop`: budgets of a search. Plain data."""

from __future__ import annotations

from pydantic import Field, model_validator

from trainables.core.config_errors import Config


class Stop(Config):
    """Budgets in addition to `search.trials`. When the first is used up, no new trial starts, and running ones are
    pruned."""

    hours: float | None = Field(None, gt=0)
    """Hours of wall time, over the start and all resumes."""
    score: float | None = None
    """Score that a finished trial must reach."""
    no_improvement: int | None = Field(None, ge=1)
    """Number of trials that end without improving on the best finished one."""
    cost: float | None = Field(None, gt=0)
    """Cost of the hours that all trials together train, in the currency of `price_per_trial_hour`."""
    price_per_trial_hour: float | None = Field(None, gt=0)
    """Price of the resources of one trial for an hour."""

    @model_validator(mode="after")
    def _a_cost_has_a_price(self) -> Stop:
        if (self.cost is None) != (self.price_per_trial_hour is None):
            raise ValueError("cost and price_per_trial_hour need each other; give both or neither")
        return self
