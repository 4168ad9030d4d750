"""`TimeLevels`: usual targets over time, by which targets of different times are made comparable."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from trainables.core.config_errors import ConfigError, Problem
from trainables.recipe.data_settings.target_settings import TimeAdjustment

_MOST_TIMES = 200
"""Most times whose level is stored; levels between them are interpolated."""


@dataclass(frozen=True)
class TimeLevels:
    """Level of the targets over time: the median of the training images that are nearest in time. Adjusted targets are in the units
    of the latest time: what an image would have had then."""

    by: Literal["ratio", "difference"]
    """`ratio` or `difference`, see `data.adjust_time`."""
    times: tuple[float, ...]
    """Ascending."""
    levels: tuple[float, ...]

    def adjusted(self, targets: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Targets [n] of some times [n] in the units of the latest time."""
        then, latest = np.interp(times, self.times, self.levels), self.levels[-1]
        adjusted: np.ndarray = targets * (latest / then) if self.by == "ratio" else targets + (latest - then)
        return adjusted


def fitted_levels(targets: np.ndarray, times: np.ndarray, how: TimeAdjustment) -> TimeLevels:
    """Fits the levels of training images.

    Args:
        targets: [n] their targets.
        times: [n] their times.
        how: `data.adjust_time`.
    Raises:
        ConfigError: at `data.adjust_time.by`, if targets are to be divided by a level that is not above 0.
    """
    distinct = np.unique(times)
    knots = distinct[np.unique(np.linspace(0, len(distinct) - 1, min(len(distinct), _MOST_TIMES)).round().astype(int))]
    nearest = min(len(times), max(1, math.ceil(how.span * len(times)))) - 1
    levels = []
    for time in knots:
        away = np.abs(times - time)
        levels.append(float(np.median(targets[away <= np.partition(away, nearest)[nearest]])))
    if how.by == "ratio" and min(levels) <= 0:
        worst = int(np.argmin(levels))
        found = f"the median target around {knots[worst]:g} is {levels[worst]:g}"
        message = f"'ratio' divides by the median of the time, but {found}; use difference"
        raise ConfigError([Problem(("data", "adjust_time", "by"), message)])
    return TimeLevels(how.by, tuple(knots.tolist()), tuple(levels))
