"""Grid of all points of a finite space."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from spaces.distributions import Distribution
from spaces.space import Space


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
    for value in parameter.grid() or ():
        yield from _points(rest, {**values, path: value})
