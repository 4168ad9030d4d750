"""Losses of regression, as a recipe says them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trainables.problems import Config


class Huber(Config):
    """Half the squared error up to `delta`, linear beyond (Huber 1964): an outlier pulls no harder than what is `delta` away."""

    kind: Literal["huber"]
    delta: float = Field(1.0, gt=0)
    """In standard deviations of the training targets."""


class Mse(Config):
    """Mean squared error."""

    kind: Literal["mse"]
