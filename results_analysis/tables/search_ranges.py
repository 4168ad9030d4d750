"""Searched values: the range and scale of each, from the config or, if a Python function defines the space, from the trials."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal

from results_analysis.tables.terminal_table import short_names

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

Scale = Literal["linear", "log", "one_minus_log", "choice"]

_SCALES: dict[str, Scale] = {
    "float": "linear",
    "int": "linear",
    "log": "log",
    "int_log": "log",
    "one_minus_log": "one_minus_log",
    "choice": "choice",
}
"""Scale by kind of distribution."""


@dataclass(frozen=True)
class Searched:
    """One searched value of the recipe."""

    path: str
    name: str
    """Shortest distinct end of the path (`short_names`)."""
    scale: Scale
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
        numbers = values.astype("float64").to_numpy(dtype=float, na_value=math.nan)
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.scale == "log":
                return np.log10(numbers)
            return -np.log10(1 - numbers) if self.scale == "one_minus_log" else numbers

    def position(self, value: Any) -> float:
        """Position of one value on the scale."""
        import pandas as pd

        return float(self.positions(pd.Series([value], dtype="object"))[0])

    @property
    def ends(self) -> tuple[float, float]:
        """Positions of the bounds."""
        if self.scale == "choice":
            return 0.0, float(max(len(self.choices) - 1, 1))
        low, high = self.position(self.low), self.position(self.high)
        return (low, high) if low < high else (low - 0.5, high + 0.5)

    def shares(self, values: pd.Series[Any]) -> np.ndarray:
        """Positions scaled to 0 at the lower bound and 1 at the upper bound."""
        low, high = self.ends
        shares: np.ndarray = (self.positions(values) - low) / (high - low)
        return shares

    def value_at(self, position: float) -> float:
        """Number at a position."""
        if self.scale == "log":
            return float(10**position)
        return float(1 - 10**-position) if self.scale == "one_minus_log" else float(position)

    def format_value(self, value: Any) -> str:
        """Formats a value in a few characters."""
        if not _is_number(value):
            return str(value)
        if self.whole and float(value).is_integer():
            return str(int(value))
        return f"{value:.5g}" if 0.99 < value < 1 else f"{value:.3g}"

    def end_ticks(self) -> tuple[list[float], list[str]]:
        """Positions and texts of the bounds."""
        places = list(self.ends)
        return places, [self.format_value(self._whole(self.value_at(place))) for place in places]

    def ticks(self, most: int = 5) -> tuple[list[float], list[str]]:
        """Positions and texts of the ticks of an axis: all choices, or at most `most` round numbers."""
        if self.scale == "choice":
            return [float(i) for i in range(len(self.choices))], [str(choice) for choice in self.choices]
        low, high = self.ends
        if self.scale == "linear":
            values = _round_steps(low, high, most, whole=self.whole)
        else:
            decades = range(math.floor(low), math.ceil(high) + 1)
            fine = [(digit, power) for power in decades for digit in (1, 2, 5)]
            coarse = [(1, power) for power in decades]
            sign = -1 if self.scale == "one_minus_log" else 1
            values = []
            for candidates in (fine, [c for c in fine if c[0] != 5], coarse, coarse[::2], coarse[::4]):
                # The scale counts powers of ten below 1: 0.9 lies at position 1.
                values = [float(digit * 10.0 ** (sign * power)) for digit, power in candidates]
                values = [1 - value for value in values] if sign < 0 else values
                values = [value for value in values if self._inside(value)]
                if len(values) <= most:
                    break
        if len(values) < 2:
            return self.end_ticks()
        return [self.position(value) for value in values], [self.format_value(value) for value in values]

    def _inside(self, value: float) -> bool:
        low, high = self.ends
        return value < 1 - 1e-12 * (self.scale == "one_minus_log") and low - 1e-9 <= self.position(value) <= high + 1e-9

    def _whole(self, value: float) -> float:
        return round(value) if self.whole else value


def _round_steps(low: float, high: float, most: int, *, whole: bool) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten, within the bounds."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * digit for digit in (1, 2, 5, 10) if power * digit >= rough)
    step = max(step, 1.0) if whole else step
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 12) for n in range(first, math.floor(high / step + 1e-9) + 1)]


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
    kind = next((kind for kind in _SCALES if kind in given), None)
    whole = kind in ("int", "int_log") or (
        kind is None and all(_is_number(value) and isinstance(value, Integral) for value in values)
    )
    if kind == "choice":
        return Searched(path, name, "choice", choices=_with_drawn(given["choice"], values))
    drawn = [value for value in values if _is_number(value)]
    if len(drawn) < len(values) or (not drawn and kind is None):
        return Searched(path, name, "choice", choices=_with_drawn((), values), bounded=False)
    bounds = [*given[kind], *drawn] if kind else drawn  # before a resume, the search may have had other bounds
    low, high = float(min(bounds)), float(max(bounds))
    # Without a config, numbers that span decades were most likely drawn on a log scale.
    scale = _SCALES[kind] if kind else "log" if low > 0 and high / low > 30 else "linear"
    return Searched(path, name, scale, low, high, whole, bounded=kind is not None)


def _with_drawn(choices: Sequence[Any], values: pd.Series[Any]) -> tuple[Any, ...]:
    known = {_key(choice): choice for choice in choices}
    for value in values:
        known.setdefault(_key(value), value)
    return tuple(known.values())


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _key(value: Any) -> tuple[str, str]:
    """Hashable key of any value that distinguishes 1, True and '1'."""
    plain = value.item() if hasattr(value, "item") else value
    return type(plain).__name__, str(plain)


# --- the file's own values ------------------------------------------------------------------------------------------


def value_in(config: Mapping[str, Any], path: str) -> Any:
    """Value at a dotted path of a search's own recipe; None where there is none, or where `[*]` matches different values."""
    found: list[Any] = [config]
    for step in re.findall(r"\[[^\[\]]+\]|[^.\[\]]+", path):
        found = [inner for outer in found for inner in _step(outer, step)]
    return found[0] if found and all(value == found[0] for value in found) else None


def _step(outer: Any, step: str) -> list[Any]:
    if not step.startswith("["):
        return [outer[step]] if isinstance(outer, Mapping) and step in outer else []
    if not isinstance(outer, list):
        return []
    selector = step[1:-1]
    if selector == "*":
        return outer
    if re.fullmatch(r"-?\d+", selector):
        return [outer[int(selector)]] if -len(outer) <= int(selector) < len(outer) else []
    return [item for item in outer if isinstance(item, Mapping) and item.get("name") == selector]
