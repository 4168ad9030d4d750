"""Distributions that a searched value can have, one class per kind: `{log: [1e-4, 1e-1]}` is a `LogUniform`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from spaces.checked_values import Bounds, Finite, Options, Scalar, ScalarOrScalars, divides_the_range

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

Scale: TypeAlias = Literal["linear", "log", "one_minus_log", "choice"]


class Distribution(BaseModel, ABC):
    """Distribution of one recipe value, and the conditions under which it is drawn."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: ClassVar[str]
    """Key that selects this class in a search file."""
    scale: ClassVar[Scale]
    """Scale on which values are drawn evenly."""
    when: dict[str, ScalarOrScalars] = {}
    """Searched paths, each with the value or list of values that it must have for this value to be drawn."""

    @abstractmethod
    def suggest(self, trial: BaseTrial, path: str) -> Scalar:
        """Asks the trial for a value for `path`. The study's parameter is named after the path, unless `parameter` says
        otherwise."""

    @abstractmethod
    def extremes(self) -> tuple[Scalar, ...]:
        """Lowest and highest value, or all choices."""

    @abstractmethod
    def grid(self) -> Iterable[Scalar] | None:
        """All values, in order, made one by one; None if there is no grid, as in a continuous or logarithmic range."""

    @abstractmethod
    def describe(self) -> str:
        """Short text for tables and messages, without the conditions: `log 0.0001 … 0.1`."""

    def can_draw(self, value: Scalar) -> bool:  # noqa: ARG002 - a continuous range never draws a given value exactly
        """True if exactly `value` can be drawn, so that a condition on it can hold."""
        return False

    def contains(self, value: Scalar) -> bool:
        """True if `value` lies within the range or among the choices."""
        return self.can_draw(value)

    def parameter(self, path: str) -> str:
        """Name of the study's parameter for `path`."""
        return path

    def as_parameter(self, value: Scalar) -> Scalar:
        """Value of the study's parameter for a recipe value."""
        return value

    def recipe_value(self, value: Scalar) -> Any:
        """Value that the recipe gets for a drawn one."""
        return value

    def is_active(self, values: Mapping[str, Scalar]) -> bool:
        """True if the conditions hold, given the values of all parameters before this one."""
        return all(parent in values and values[parent] in allowed for parent, allowed in self.when.items())

    def to_data(self) -> dict[str, Any]:
        """Plain data that `parse_space` turns into this distribution again."""
        data = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        if when := data.pop("when", None):
            data["when"] = when  # last, as people write it
        return data


class Range(Distribution):
    """A distribution between two bounds."""

    bounds: tuple[float, float]
    """Lowest and highest value, both included."""

    def extremes(self) -> tuple[Scalar, ...]:
        return self.bounds

    def describe(self) -> str:
        return f"{self.kind} {self.bounds[0]:.12g} … {self.bounds[1]:.12g}"

    def contains(self, value: Scalar) -> bool:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and self.bounds[0] <= value <= self.bounds[1]  # type: ignore[operator]


class Stepped(Range):
    """A range that may have a step, which makes it a grid."""

    step: float | None = None
    """Distance between neighbouring values, counted from the lowest."""

    def describe(self) -> str:
        return super().describe() + (f" in steps of {self.step:.12g}" if self.step else "")


class Uniform(Stepped):
    """`{float: [0.1, 0.5]}`, optionally with `step: 0.1`."""

    kind = "float"
    scale = "linear"
    bounds: Bounds[Finite] = Field(alias="float")
    """Lowest and highest value, both included."""
    step: Annotated[Finite, Field(gt=0), AfterValidator(divides_the_range)] | None = None
    """Distance between neighbouring values, counted from the lowest; any value if not given."""

    def suggest(self, trial: BaseTrial, path: str) -> float:
        return trial.suggest_float(path, *self.bounds, step=self.step)

    def grid(self) -> Iterable[Scalar] | None:
        if not self.step:
            return None
        lowest, highest, step = (Fraction(str(number)) for number in (*self.bounds, self.step))
        return (float(lowest + i * step) for i in range(int((highest - lowest) / step) + 1))

    def contains(self, value: Scalar) -> bool:
        if not super().contains(value) or self.step is None:
            return super().contains(value)
        steps = (float(value) - self.bounds[0]) / self.step  # type: ignore[arg-type]
        return abs(steps - round(steps)) < 1e-8  # Optuna draws 0.30000000000000004, too


class LogUniform(Range):
    """`{log: [1e-4, 1e-1]}`: every factor of ten is equally likely."""

    kind = "log"
    scale = "log"
    bounds: Bounds[Annotated[Finite, Field(gt=0)]] = Field(alias="log")
    """Lowest and highest value, both included; above 0."""

    def suggest(self, trial: BaseTrial, path: str) -> float:
        return trial.suggest_float(path, *self.bounds, log=True)

    def grid(self) -> None:
        return None


class OneMinusLogUniform(Range):
    """`{one_minus_log: [0.9, 0.9999]}`: 1 − value is log-uniform, for decays, where the distance from 1 matters.

    The study stores that distance as the parameter `1 - <path>`, so that Optuna's plots show it on a log axis.
    """

    kind = "one_minus_log"
    scale = "one_minus_log"
    bounds: Bounds[Annotated[Finite, Field(gt=0, lt=1)]] = Field(alias="one_minus_log")
    """Lowest and highest value, both included; between 0 and 1."""

    def suggest(self, trial: BaseTrial, path: str) -> float:
        low, high = self.bounds
        distance = trial.suggest_float(self.parameter(path), self.as_parameter(high), self.as_parameter(low), log=True)
        return min(max(1 - distance, low), high)

    def grid(self) -> None:
        return None

    def parameter(self, path: str) -> str:
        return f"1 - {path}"

    def as_parameter(self, value: Scalar) -> float:
        # Through Decimal, so that the study shows 0.0001 and not 0.00009999999999998899.
        return float(1 - Decimal(str(value)))


class Integer(Stepped):
    """`{int: [2, 8]}`, optionally with `step: 2`."""

    kind = "int"
    scale = "linear"
    bounds: Bounds[int] = Field(alias="int")
    """Lowest and highest value, both included."""
    step: Annotated[int, Field(ge=1), AfterValidator(divides_the_range)] | None = None
    """Distance between neighbouring values, counted from the lowest; 1 if not given."""

    def suggest(self, trial: BaseTrial, path: str) -> int:
        return trial.suggest_int(path, *self.bounds, step=self.step or 1)

    def grid(self) -> Iterable[Scalar]:
        low, high = self.bounds
        return range(low, high + 1, self.step or 1)

    def can_draw(self, value: Scalar) -> bool:
        low, high = self.bounds
        return type(value) is int and low <= value <= high and (value - low) % (self.step or 1) == 0

    def contains(self, value: Scalar) -> bool:
        return self.can_draw(value)


class LogInteger(Range):
    """`{int_log: [16, 128]}`: every doubling is equally likely."""

    kind = "int_log"
    scale = "log"
    bounds: Bounds[Annotated[int, Field(ge=1)]] = Field(alias="int_log")
    """Lowest and highest value, both included; at least 1."""

    def suggest(self, trial: BaseTrial, path: str) -> int:
        return trial.suggest_int(path, *self.bounds, log=True)

    def grid(self) -> None:
        return None

    def can_draw(self, value: Scalar) -> bool:
        return type(value) is int and self.bounds[0] <= value <= self.bounds[1]

    def contains(self, value: Scalar) -> bool:
        return self.can_draw(value)


class Choice(Distribution):
    """`{choice: [cross_entropy, ldam]}`: one of the listed values, without order.

    `{choice: {off: null, on: {decay: 0.99}}}`: one of several values of any kind, drawn by its name.
    """

    kind = "choice"
    scale = "choice"
    choices: Options = Field(alias="choice")
    """Numbers, texts, true, false or null; or whole sections and lists, each with a name."""

    def suggest(self, trial: BaseTrial, path: str) -> Scalar:
        return trial.suggest_categorical(path, self.extremes())

    def grid(self) -> Iterable[Scalar]:
        return self.extremes()

    def extremes(self) -> tuple[Scalar, ...]:
        return tuple(self.choices)

    def recipe_value(self, value: Scalar) -> Any:
        return self.choices[str(value)] if isinstance(self.choices, dict) else value

    def describe(self) -> str:
        return f"choice of {', '.join(map(str, self.choices))}"

    def can_draw(self, value: Scalar) -> bool:
        return value in self.choices


KINDS: dict[str, type[Distribution]] = {
    kind.kind: kind for kind in (Uniform, LogUniform, OneMinusLogUniform, Integer, LogInteger, Choice)
}
"""Every kind: key in a search file -> class. A new one is a class and its name here, and its scale in `KINDS` of
`results_analysis/tables/scales.py`, which reads runs without this room."""
