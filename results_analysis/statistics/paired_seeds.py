"""Means over seeds, and differences between candidates that were trained with the same seeds. Pure functions of numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over seeds, with its confidence interval."""

    mean: float
    deviation: float
    """Standard deviation over seeds; NaN with one seed."""
    low: float
    """Ends of the interval (`CONFIDENCE`, Student's t); NaN with one seed."""
    high: float
    seeds: int

    def __str__(self) -> str:
        """Mean and standard deviation: `0.8123 ± 0.0045`."""
        return f"{self.mean:.4f}" + (f" ± {self.deviation:.4f}" if self.seeds > 1 else "")

    @property
    def excludes_zero(self) -> bool:
        """True where the interval lies on one side of 0; never with one seed."""
        return self.low > 0 or self.high < 0


def estimate(values: Sequence[float], *, comparisons: int = 1) -> Estimate:
    """Mean of independent values, one a seed, with its interval.

    Args:
        values: at least one.
        comparisons: number of intervals that should hold together; each is widened accordingly (Bonferroni).
    """
    array, n = np.array(values, np.float64), len(values)
    mean = float(array.mean())
    if n == 1:
        return Estimate(mean=mean, deviation=math.nan, low=math.nan, high=math.nan, seeds=1)
    deviation = float(array.std(ddof=1))
    half = _t_quantile(n - 1, comparisons) * deviation / math.sqrt(n)
    return Estimate(mean=mean, deviation=deviation, low=mean - half, high=mean + half, seeds=n)


def paired_difference(of: Mapping[int, float], than: Mapping[int, float], *, comparisons: int = 1) -> Estimate | None:
    """Mean difference of `of` and `than`, seed by seed: the part of the noise that a seed adds to both cancels.

    Args:
        of, than: seed -> score.
        comparisons: see `estimate`.
    Returns:
        None where they have no seed in common.
    """
    common = sorted(of.keys() & than.keys())
    return estimate([of[seed] - than[seed] for seed in common], comparisons=comparisons) if common else None


def seeds_to_tell(difference: Estimate) -> int | None:
    """Number of seeds at which the interval would exclude 0, if mean and deviation stay the same.

    Returns:
        None where it is unknown: with one seed, or a difference of 0.
    """
    if difference.seeds < 2 or difference.mean == 0:
        return None
    for n in range(2, 10_000):
        if _t_quantile(n - 1, 1) * difference.deviation / math.sqrt(n) < abs(difference.mean):
            return n
    return None


def _t_quantile(freedom: int, comparisons: int) -> float:
    from scipy.special import stdtrit  # scipy.stats takes a second to import

    return float(stdtrit(freedom, 1 - (1 - CONFIDENCE) / 2 / comparisons))
