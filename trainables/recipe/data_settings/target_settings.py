"""Settings of the numbers that a regression predicts."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trainables.core.config_errors import Config

Transform = Literal["none", "log", "log1p", "rank", "rank_normal"]
"""Scale on which targets are learned."""


class TargetConfig(Config):
    """Scale on which the numbers are learned. Predictions and errors are in the table's unit, whatever the scale."""

    transform: Transform = "none"
    """`log`: the logarithm, for numbers above 0 that span decades; `log1p`: log(1 + number), for counts from 0; `rank`: the rank
    among the training images, evenly from 0 to 1; `rank_normal`: ranks with the distances of a normal distribution."""


class TimeAdjustment(Config):
    """Adjustment of the targets for their time, such as that of popularity for inflation.

    A target is compared with the median of the training images nearest in time (`data.columns.time`), and given as it would be at
    the latest time.
    """

    by: Literal["ratio", "difference"] = "ratio"
    """`ratio`: times the latest median over that of its time; `difference`: plus the latest median minus that of its time."""
    span: float = Field(0.1, gt=0, le=1)
    """Share of the training images, those nearest in time, of which the median is taken."""
