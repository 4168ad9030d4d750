"""Scales of searched values: the one of each kind of distribution, and positions and round numbers on each."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    import numpy as np

ScaleName = Literal["linear", "log", "one_minus_log", "choice"]


class Kind(NamedTuple):
    """Kind of distribution in a search file."""

    scale: ScaleName
    whole: bool = False
    """True for integers."""


KINDS: dict[str, Kind] = {
    "float": Kind("linear"),
    "int": Kind("linear", whole=True),
    "log": Kind("log"),
    "int_log": Kind("log", whole=True),
    "one_minus_log": Kind("one_minus_log"),
    "choice": Kind("choice"),
}
"""Every kind, by its key in a search file. This room does not import `spaces`; a test compares the two."""


LARGEST = 308.25
"""Logarithm of the largest number that a computer represents, rounded down."""


class Scale(ABC):
    """Scale of numbers."""

    @abstractmethod
    def positions(self, numbers: np.ndarray) -> np.ndarray:
        """Positions of numbers: their logarithms, for example. NaN where missing."""

    @abstractmethod
    def value_at(self, position: float) -> float:
        """Number at a position."""

    @abstractmethod
    def round_numbers(self, low: float, high: float, most: int, *, whole: bool) -> list[float]:
        """Round numbers for the ticks of an axis.

        Args:
            low: position of the lower end.
            high: position of the upper end.
            most: largest number of ticks.
            whole: True for integers only.
        """


class Linear(Scale):
    """Numbers as they are."""

    def positions(self, numbers: np.ndarray) -> np.ndarray:
        return numbers

    def value_at(self, position: float) -> float:
        return float(position)

    def round_numbers(self, low: float, high: float, most: int, *, whole: bool) -> list[float]:
        """See `Scale`: multiples of 1, 2 or 5 times a power of ten."""
        rough = (high - low) / most
        if not 0 < rough < math.inf:
            return []  # the range is narrower or wider than the numbers of a computer are apart
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * digit for digit in (1, 2, 5, 10) if power * digit >= rough)
        step = max(step, 1.0) if whole else step
        first = math.ceil(low / step - 1e-9)
        return [float(f"{n * step:.12g}") for n in range(first, math.floor(high / step + 1e-9) + 1)]


class Log(Scale):
    """Powers of ten."""

    def positions(self, numbers: np.ndarray) -> np.ndarray:
        import numpy as np

        with np.errstate(divide="ignore", invalid="ignore"):
            logarithms: np.ndarray = np.log10(numbers)
        return logarithms

    def value_at(self, position: float) -> float:
        return float(10 ** min(position, LARGEST))

    def round_numbers(self, low: float, high: float, most: int, *, whole: bool) -> list[float]:  # noqa: ARG002
        """See `Scale`: 1, 2 and 5 times powers of ten, or fewer of them."""
        found: list[float] = []
        for candidates in _round_powers(range(math.floor(low), math.ceil(high) + 1)):
            found = list(self._between(low, high, candidates))
            if len(found) <= most:
                break
        return found

    def _between(self, low: float, high: float, candidates: Iterable[tuple[int, int]]) -> Iterator[float]:
        import numpy as np

        numbers = [self._number(digit, power) for digit, power in candidates]
        positions = self.positions(np.array(numbers))
        return (n for n, at in zip(numbers, positions, strict=True) if low - 1e-9 <= at <= high + 1e-9)

    def _number(self, digit: int, power: int) -> float:
        return float(f"{digit}e{power}")


class OneMinusLog(Log):
    """Distances from 1, as powers of ten below it: 0.9 is at position 1."""

    def positions(self, numbers: np.ndarray) -> np.ndarray:
        return -super().positions(1 - numbers)

    def value_at(self, position: float) -> float:
        return float(1 - 10**-position)

    def _number(self, digit: int, power: int) -> float:
        return 1 - float(f"{digit}e{-power}")


def _round_powers(powers: Iterable[int]) -> Iterator[list[tuple[int, int]]]:
    """Digits and the powers of ten they multiply: first many, then ever fewer."""
    fine = [(digit, power) for power in powers for digit in (1, 2, 5)]
    coarse = [(digit, power) for digit, power in fine if digit == 1]
    return iter((fine, [(digit, power) for digit, power in fine if digit != 5], coarse, coarse[::2], coarse[::4]))


SCALES: dict[ScaleName, Scale] = {"linear": Linear(), "log": Log(), "one_minus_log": OneMinusLog()}
"""Scales of numbers by name; a choice has none."""
