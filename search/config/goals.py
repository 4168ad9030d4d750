"""`search.objectives` and `search.constraints`: values that trials are compared by, and bounds that rule trials out.
Plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from trainables.core.config_errors import Config, nearest
from trainables.core.vocabulary import Metric, Objective

GOALS = (*(objective.value for objective in Objective), *(metric.value for metric in Metric))
"""Names of all values that can be an objective or a constraint."""


def _known(name: str) -> str:
    if name not in GOALS:
        raise ValueError(f"{name!r} is not an objective or a metric; {nearest(name, GOALS)}")
    return name


def _score_first(names: tuple[str, ...]) -> tuple[str, ...]:
    if names[0] != Objective.SCORE:
        raise ValueError(f"{names[0]!r}: the first must be score, which is the recipe's train.metric")
    if len(set(names)) < len(names):
        raise ValueError(f"{', '.join(names)}: one of them is listed twice")
    return names


Goal = Annotated[str, AfterValidator(_known)]
Objectives = Annotated[tuple[Goal, ...], Field(min_length=1, max_length=4), AfterValidator(_score_first)]


class Bound(Config):
    """Bounds of a value, both included."""

    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _bounds_something(self) -> Bound:
        if self.min is None and self.max is None:
            raise ValueError("needs min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}: no trial can satisfy both")
        return self

    def excess(self, value: float) -> float:
        """Distance by which a value is out of bounds; 0 or less if it is within them."""
        return max(
            value - self.max if self.max is not None else float("-inf"),
            self.min - value if self.min is not None else float("-inf"),
        )

    def describe(self) -> str:
        """Bounds as text: `at least 0.5, at most 1`."""
        parts = (("at least", self.min), ("at most", self.max))
        return ", ".join(f"{word} {bound:g}" for word, bound in parts if bound is not None)


def violations(constraints: Mapping[str, Bound], objectives: Mapping[str, float]) -> str | None:
    """Constraints that a trial violates, as text; None if it violates none.

    Args:
        constraints: bounds by name.
        objectives: results of the trial by name; a constraint without a result is not violated.
    """
    violated = [
        f"{name} is {objectives[name]:.4g} ({bound.describe()})"
        for name, bound in constraints.items()
        if name in objectives and bound.excess(objectives[name]) > 0
    ]
    return ", ".join(violated) or None
