"""Grid of all points of a finite space."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from spaces.distributions import Choice, Distribution, Integer, Scalar, Uniform
from spaces.space import Space


def grid_values(parameter: Distribution) -> list[Scalar] | None:
    """All values of a parameter; None if it has no grid, as in a continuous or logarithmic range."""
    if isinstance(parameter, Choice):
        return list(parameter.choices)
    if isinstance(parameter, Integer):
        low, high = parameter.bounds
        return list(range(low, high + 1, parameter.step or 1))
    if isinstance(parameter, Uniform) and parameter.step:
        lowest, highest, step = (Decimal(str(number)) for number in (*parameter.bounds, parameter.step))
        return [float(lowest + i * step) for i in range(int((highest - lowest) / step) + 1)]
    return None


def grid_points(space: Space, *, most: int | None = None) -> list[dict[str, Any]]:
    """All points of a finite space, each once, with conditions respected.

    Args:
        space: a space whose parameters all have grid values.
        most: stop after this many points.
    """
    return list(itertools.islice(_points(list(space.parameters.items()), {}), most))


def _points(parameters: list[tuple[str, Distribution]], values: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if not parameters:
        yield values
        return
    (path, parameter), *rest = parameters
    if not parameter.is_active(values):
        yield from _points(rest, values)
        return
    for value in grid_values(parameter) or ():
        yield from _points(rest, {**values, path: value})
