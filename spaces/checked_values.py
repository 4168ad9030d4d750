"""Values of a distribution as they are checked one by one: bounds, steps and choices."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

Scalar: TypeAlias = bool | int | float | str | None
Number = TypeVar("Number", int, float)


_LARGEST_INTEGER = 2**53
"""Largest integer that samplers, which compute in doubles, tell from its neighbours."""
_LARGEST_NUMBER = 1e300
"""Largest bound whose distance from any other is a double."""


def _two_numbers(value: Any) -> Any:
    if not isinstance(value, list | tuple) or len(value) != 2 or any(isinstance(v, bool) for v in value):
        raise ValueError(f"{shown(value)}: needs two numbers, [low, high]")
    if large := [v for v in value if isinstance(v, int) and abs(v) > _LARGEST_INTEGER]:
        raise ValueError(f"{shown(large[0])}: is too large; whole numbers are at most {_LARGEST_INTEGER:,}")
    if far := [v for v in value if isinstance(v, float) and math.isfinite(v) and abs(v) > _LARGEST_NUMBER]:
        raise ValueError(f"{far[0]}: is too large; the bounds are at most {_LARGEST_NUMBER:g}")
    return value


def shown(value: Any) -> str:
    """A value as it is shown in a message: short."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _low_below_high(bounds: tuple[Number, Number]) -> tuple[Number, Number]:
    if bounds[0] >= bounds[1]:
        raise ValueError(f"{list(bounds)}: the first number must be below the second")
    return bounds


def divides_the_range(step: Number, info: ValidationInfo) -> Number:
    # Optuna would silently lower `high` to the last multiple. Fractions, because 0.4 % 0.1 is not 0 in binary.
    if "bounds" in info.data:
        low, high = info.data["bounds"]
        steps = (Fraction(str(high)) - Fraction(str(low))) / Fraction(str(step))
        if steps.denominator > 1:
            raise ValueError(f"{step}: the range from {low} to {high} is not a multiple of this step")
        if steps > _LARGEST_INTEGER:
            raise ValueError(f"{step}: the range from {low} to {high} has too many steps; leave the step out")
    return step


def _distinct_scalars(value: Any) -> tuple[Scalar, ...]:
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(f"{shown(value)}: needs a list of at least one value")
    for i, item in enumerate(value):
        if not isinstance(item, Scalar) or (isinstance(item, float) and not math.isfinite(item)):
            raise ValueError(f"{shown(item)} is neither a finite number, nor text, true, false or null")
        if isinstance(item, int) and abs(item) >= 2**63:
            raise ValueError(f"{shown(item)}: is too large")
        if item in value[:i]:
            raise ValueError(f"{shown(item)} is listed twice")
    return tuple(value)


def _options(value: Any) -> Any:
    if not isinstance(value, Mapping):
        try:
            return _distinct_scalars(value)
        except ValueError as error:
            if isinstance(value, list | tuple) and any(isinstance(item, Mapping | list | tuple) for item in value):
                raise ValueError(
                    f"{error}; to choose between sections or lists, give each a name: {{off: null, on: {{…}}}}"
                ) from None
            raise
    if not value:
        raise ValueError("{}: needs at least one value")
    if unnamed := [name for name in value if not isinstance(name, str)]:
        raise ValueError(f"{shown(unnamed[0])}: a name of a value is text; put it in quotes")
    return dict(value)


def _listed(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


Bounds = Annotated[tuple[Number, Number], BeforeValidator(_two_numbers), AfterValidator(_low_below_high)]
Options = Annotated[
    tuple[Scalar, ...] | dict[str, Any],
    BeforeValidator(_options, json_schema_input_type=list[Scalar] | dict[str, Any]),
]
Scalars = Annotated[tuple[Scalar, ...], BeforeValidator(_distinct_scalars, json_schema_input_type=list[Scalar])]
ScalarOrScalars = Annotated[Scalars, BeforeValidator(_listed, json_schema_input_type=Scalar | list[Scalar])]
Finite = Annotated[float, Field(allow_inf_nan=False)]
