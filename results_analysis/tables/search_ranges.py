"""Searched values: the range and scale of each, from the config or, if a Python function defines the space, from the trials."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from results_analysis.runs.columns import NULL
from results_analysis.tables.scales import KINDS, SCALES, ScaleName
from results_analysis.tables.short_names import short_names
from trainables.core.dotted_paths import PathError, value_at

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


@dataclass(frozen=True)
class Searched:
    """One searched value of the recipe."""

    path: str
    name: str
    """Shortest distinct end of the path (`short_names`)."""
    scale: ScaleName
    low: float = 0.0
    high: float = 1.0
    """Bounds of the searched range; unused for a choice."""
    whole: bool = False
    """True for integers."""
    choices: tuple[Any, ...] = ()
    bounded: bool = True
    """True where the config gives the bounds; otherwise they are the lowest and highest value in the trials."""

    def positions(self, values: pd.Series[Any]) -> np.ndarray:
        """Positions of values on the scale: their logarithm, for example, or the index of a choice; NaN where missing."""
        import numpy as np

        if self.scale == "choice":
            index = {_key(choice): float(i) for i, choice in enumerate(self.choices)}
            return np.array([index.get(_key(value), math.nan) for value in values], dtype=float)
        return SCALES[self.scale].positions(values.astype("float64").to_numpy(dtype=float, na_value=math.nan))

    def position(self, value: Any) -> float:
        """Position of one value on the scale; NaN where it has none."""
        import pandas as pd

        if self.scale != "choice" and not _is_number(value):
            return math.nan
        return float(self.positions(pd.Series([value], dtype="object"))[0])

    @property
    def ends(self) -> tuple[float, float]:
        """Positions of the bounds."""
        if self.scale == "choice":
            return 0.0, float(max(len(self.choices) - 1, 1))
        low, high = self.position(self.low), self.position(self.high)
        room = max(0.5, abs(low) * 1e-9)  # 0.5 is lost in the rounding of large numbers
        return (low, high) if low < high else (low - room, high + room)

    def shares(self, values: pd.Series[Any]) -> np.ndarray:
        """Positions scaled to 0 at the lower bound and 1 at the upper bound."""
        low, high = self.ends
        shares: np.ndarray = (self.positions(values) - low) / (high - low)
        return shares

    def value_at(self, position: float) -> float:
        """Number at a position."""
        return SCALES[self.scale].value_at(position)

    def format_value(self, value: Any) -> str:
        """Formats a value in a few characters."""
        if not _is_number(value):
            return str(value)
        if self.whole and float(value).is_integer():
            return str(int(value))
        return f"{value:.5g}" if 0.99 < value < 1 else f"{value:.3g}"

    def end_ticks(self) -> tuple[list[float], list[str]]:
        """Positions and texts of the bounds."""
        values = [self.value_at(place) for place in self.ends]
        return list(self.ends), [self.format_value(round(value) if self.whole else value) for value in values]

    def ticks(self, most: int = 5) -> tuple[list[float], list[str]]:
        """Positions and texts of the ticks of an axis: all choices, or at most `most` round numbers."""
        if self.scale == "choice":
            return [float(i) for i in range(len(self.choices))], [str(choice) for choice in self.choices]
        values = SCALES[self.scale].round_numbers(*self.ends, most, whole=self.whole)
        if len(values) < 2:
            return self.end_ticks()
        return [self.position(value) for value in values], [self.format_value(value) for value in values]


def searched_values(space: object, trials: pd.DataFrame, columns: Sequence[str]) -> tuple[Searched, ...]:
    """The searched values of a run's trials, in the order of their columns.

    Args:
        space: the section `space` of the search's config.
        trials: one row a trial.
        columns: dotted paths of searched values; columns of `trials`.
    """
    names = short_names(columns, taken=[name for name in trials.columns if name not in columns])
    kinds = space if isinstance(space, Mapping) else {}
    return tuple(_searched(path, names[path], kinds.get(path), trials[path].dropna()) for path in columns)


def _searched(path: str, name: str, distribution: object, values: pd.Series[Any]) -> Searched:
    given = distribution if isinstance(distribution, Mapping) else {}
    key = next((key for key in KINDS if key in given), None)
    kind = None if key is None else KINDS[key]
    whole = all(_is_number(value) and isinstance(value, Integral) for value in values) if kind is None else kind.whole
    if kind and kind.scale == "choice":
        listed = [NULL if choice is None else choice for choice in given[key]]
        return Searched(path, name, "choice", choices=_with_drawn(listed, values))
    drawn = [value for value in values if _is_number(value)]
    bounds = [*given[key], *drawn] if kind else drawn  # before a resume, the search may have had other bounds
    if len(drawn) < len(values) or not bounds or not all(map(_is_number, bounds)):
        return Searched(path, name, "choice", choices=_with_drawn((), values), bounded=False)
    low, high = float(min(bounds)), float(max(bounds))
    # Without a config, numbers that span decades were most likely drawn on a log scale.
    scale = kind.scale if kind else "log" if low > 0 and high / low > 30 else "linear"
    return Searched(path, name, scale, low, high, whole, bounded=kind is not None)


def _with_drawn(choices: Sequence[Any], values: pd.Series[Any]) -> tuple[Any, ...]:
    known = {_key(choice): choice for choice in choices}
    for value in values:
        known.setdefault(_key(value), value)
    return tuple(known.values())


def _is_number(value: object) -> bool:
    """True for a number that has a place on an axis."""
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer of more than 308 digits
        return False


def _key(value: Any) -> tuple[str, str]:
    """Hashable key of any value that distinguishes 1, True and '1'."""
    plain = value.item() if hasattr(value, "item") else value
    return type(plain).__name__, str(plain)


# --- the file's own values ------------------------------------------------------------------------------------------


def value_in(config: Mapping[str, Any], path: str) -> Any:
    """Value at a dotted path of a search's own recipe; None where there is none, or where `[*]` matches different values."""
    try:
        return value_at(path, config)
    except PathError:
        return None
