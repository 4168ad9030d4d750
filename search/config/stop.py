"""`search.stop`: when a search has had enough. Plain data."""

from __future__ import annotations

from pydantic import Field, model_validator

from trainables.core.config_errors import Config


class Stop(Config):
    """Budgets beside `search.trials`. At the first that is reached no trial starts any more, and those that run are pruned."""

    hours: float | None = Field(None, gt=0)
    """Of wall time, over the start and all resumes."""
    score: float | None = None
    """A finished trial that is at least this good."""
    no_improvement: int | None = Field(None, ge=1)
    """Trials that ended since the best finished one did."""
    cost: float | None = Field(None, gt=0)
    """Of the hours that trials trained, all together, in the currency of `price_per_trial_hour`."""
    price_per_trial_hour: float | None = Field(None, gt=0)
    """What the resources of one trial cost in an hour."""

    @model_validator(mode="after")
    def _a_cost_has_a_price(self) -> Stop:
        if (self.cost is None) != (self.price_per_trial_hour is None):
            raise ValueError("cost and price_per_trial_hour need each other; give both or neither")
        return self
