"""`Space`: ordered parameters that give values to the recipe's paths."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from spaces.checked_values import Scalar
from spaces.distributions import Distribution

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import BaseTrial


class SpaceProblem(NamedTuple):
    """One mistake in a space. The recipe has a class of its own for its mistakes: this room does not know it."""

    path: tuple[str | int, ...]
    """Keys and list positions below `space`; a dotted recipe path is one key."""
    message: str


class SpaceError(ValueError):
    """Error that lists all mistakes of a space."""

    def __init__(self, problems: Sequence[SpaceProblem]):
        self.problems = tuple(problems)
        super().__init__("\n".join(f"{'.'.join(map(str, ('space', *p.path)))}: {p.message}" for p in self.problems))

    def __reduce__(self) -> tuple[type[SpaceError], tuple[tuple[SpaceProblem, ...]]]:
        return type(self), (self.problems,)  # lets the error be sent between processes


@dataclass(frozen=True)
class Space:
    """A search space. Build it with `parse_space`, which checks what this class assumes."""

    parameters: Mapping[str, Distribution]
    """Recipe path -> distribution; a parameter comes after those that its conditions name."""

    def suggest(self, trial: BaseTrial) -> dict[str, Any]:
        """Draws the values of one trial: recipe path -> value, without parameters whose conditions do not hold."""
        return self._point(lambda path, parameter: parameter.suggest(trial, path))

    def corner_points(self) -> Iterator[dict[str, Any]]:
        """Points that a trial could draw and that together cover the extremes of each parameter, with conditions
        respected.

        The other parameters have their lowest value or first choice. If the recipe is valid at all these points, no
        single parameter can make a trial fail.
        """
        seen: list[dict[str, Any]] = []
        for path, parameter in self.parameters.items():
            pinned = {parent: values[0] for parent, values in requirements(path, self.parameters).items()}
            for extreme in parameter.extremes():
                point = self._corner({**pinned, path: extreme})
                if point not in seen:
                    seen.append(point)
                    yield point

    @property
    def is_conditional(self) -> bool:
        """True if some parameters are drawn only in some trials."""
        return any(parameter.when for parameter in self.parameters.values())

    def distributions(self) -> dict[str, BaseDistribution]:
        """Optuna's distributions of the study's parameters, conditional ones included, as far as they are known before
        anything is drawn."""
        trial = random_study().ask()
        for path, parameter in self.parameters.items():
            parameter.suggest(trial, path)
        return trial.distributions

    def parameters_of(self, values: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Converts values by recipe path to the parameters that the study stores."""
        return {
            self.parameters[path].parameter(path): self.parameters[path].as_parameter(value)
            for path, value in values.items()
        }

    def recipe_values(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Values for the recipe, of drawn ones: recipe path -> value, where a choice was drawn by its name."""
        return {
            path: self.parameters[path].recipe_value(value) if path in self.parameters else value
            for path, value in values.items()
        }

    def _corner(self, pinned: Mapping[str, Scalar]) -> dict[str, Any]:
        return self._point(lambda path, parameter: pinned.get(path, parameter.extremes()[0]))

    def _point(self, value_of: Callable[[str, Distribution], Scalar]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for path, parameter in self.parameters.items():
            if parameter.is_active(values):
                values[path] = value_of(path, parameter)
        return values

    def to_data(self) -> dict[str, Any]:
        """Plain data, with presets resolved, that `parse_space` turns into this space again."""
        return {path: parameter.to_data() for path, parameter in self.parameters.items()}


def requirements(path: str, parameters: Mapping[str, Distribution]) -> dict[str, tuple[Scalar, ...]]:
    """Conditions under which a parameter is drawn: each of its ancestors -> the values that leave it active.

    Only values that the ancestor can draw are listed; if there are none, the parameter is never drawn. Conditions must
    name searched parameters and must not be circular.
    """
    required: dict[str, tuple[Scalar, ...]] = {}
    to_visit = [path]
    while to_visit:
        for parent, allowed in parameters[to_visit.pop()].when.items():
            possible = required.get(parent, tuple(v for v in allowed if parameters[parent].can_draw(v)))
            required[parent] = tuple(v for v in possible if v in allowed)
            to_visit.append(parent)
    return required


@dataclass(frozen=True)
class FunctionSpace(Space):
    """Space defined by a Python function `suggest(trial) -> {path: value}`. It has no corner points, only draws."""

    parameters: Mapping[str, Distribution] = field(init=False, default_factory=dict)
    """Empty: only the function knows them."""
    python: str
    """Location of the function: `module:function`."""
    function: Callable[[BaseTrial], Mapping[str, Any]]

    def suggest(self, trial: BaseTrial) -> dict[str, Any]:
        """Calls the function.

        Raises:
            SpaceError: if it does not return a mapping from recipe paths to values.
        """
        values = self.function(trial)
        if not isinstance(values, Mapping) or not values or not all(isinstance(path, str) for path in values):
            message = f"{self.python} returned {values!r}; it must return recipe paths and their values, as a dict"
            raise SpaceError([SpaceProblem(("python",), message)])
        return dict(values)

    @property
    def is_conditional(self) -> bool:
        names = [frozenset(drawn) for drawn in self._drawn()]
        return len(set(names)) > 1

    def distributions(self) -> dict[str, BaseDistribution]:
        return {name: distribution for drawn in self._drawn() for name, distribution in drawn.items()}

    def parameters_of(self, values: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Returns the values unchanged: they have the names that the function suggests, not recipe paths."""
        return dict(values)

    def _drawn(self, count: int = 20) -> Iterator[dict[str, BaseDistribution]]:
        """Parameters that each of some random trials suggests."""
        study = random_study()
        for _ in range(count):
            trial = study.ask()
            self.suggest(trial)
            yield trial.distributions

    def to_data(self) -> dict[str, Any]:
        return {"python": self.python}


def random_study() -> Study:
    """Study that draws at random, with the same results each time."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    optuna.logging.set_verbosity(verbosity)
    return study
