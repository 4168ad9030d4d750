"""Parses the `space:` section of a search file into a `Space`, or reports all its mistakes."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Collection, Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from spaces.checked_values import shown
from spaces.distributions import KINDS, Distribution
from spaces.space import FunctionSpace, Space, SpaceError, SpaceProblem, requirements

Place = tuple[str | int, ...]

_PRESETS = Path(__file__).parent / "presets"


def parse_space(data: object) -> Space:
    """Parses a space from plain data: a mapping from recipe paths to distributions, or the name or names of presets.

    Besides paths, the mapping may have the key `preset`, with the name or names of presets to start from. A path of the
    mapping then replaces the preset's, null removes it, and preset parameters whose conditions can no longer hold are
    dropped. Alternatively, the mapping has the single key `python`, with `module:function`.

    Raises:
        SpaceError: with all mistakes found.
    """
    if isinstance(data, Mapping) and "python" in data:
        return _function_space(data)
    data = {} if data is None else data  # `space:` with nothing after it
    own = _without_preset(data) if isinstance(data, Mapping) else {}
    presets, problems = _named_presets(data)
    presets_are_known = not problems
    inherited = _merged(map(_preset, presets))
    searched = _merged([inherited, own])

    parameters: dict[str, Distribution] = {}
    for path, value in searched.items():
        try:
            parameters[path] = _parameter(path, value)
        except SpaceError as error:
            problems += error.problems
    if presets_are_known:  # otherwise a path that seems missing may belong to the preset whose name is misspelt
        problems += _wrong_removals(own, inherited, parameters)
        problems += _wrong_conditions(own, searched, parameters)
        if not searched and not problems:
            problems.append(
                SpaceProblem((), "nothing is searched; give recipe paths and their distributions, or a preset")
            )
    if problems:
        raise SpaceError(problems)
    return Space(_without_unreachable(_in_order(parameters), own))


# --- presets --------------------------------------------------------------------------------------------------------


def preset_names() -> list[str]:
    """Names of the presets that come with Thaw."""
    return sorted(file.stem for file in _PRESETS.glob("*.yaml"))


def preset_text(name: str) -> str:
    """Text of a preset's file, comments included."""
    return (_PRESETS / f"{name}.yaml").read_text("utf-8")


def preset_paths(data: object) -> dict[str, str]:
    """Paths that a `space:` section takes over from presets, without those it replaces or removes -> the preset's name."""
    own = _without_preset(data) if isinstance(data, Mapping) else {}
    presets, _ = _named_presets(data)
    return {path: preset for preset in presets for path in _preset(preset) if path not in own}


def _named_presets(data: object) -> tuple[list[str], list[SpaceProblem]]:
    """Known presets that a space names, and a problem for each unknown name."""
    place: Place = ("preset",) if isinstance(data, Mapping) else ()
    named = data.get("preset", []) if isinstance(data, Mapping) else data
    if isinstance(named, str):
        items: list[tuple[Place, object]] = [(place, named)]
    elif isinstance(named, list | tuple):
        items = [((*place, i), name) for i, name in enumerate(named)]
    else:
        return [], [SpaceProblem(place, f"{shown(named)}: needs the name of a preset, or a list of them")]
    valid = preset_names()
    known = [name for _, name in items if isinstance(name, str) and name in valid]
    unknown = [(at, name) for at, name in items if name not in valid]
    return known, [
        SpaceProblem(at, f"unknown preset {shown(name)}; {_did_you_mean(name, valid)}") for at, name in unknown
    ]


def _preset(name: str) -> dict[str, Any]:
    data = yaml.safe_load(preset_text(name))
    presets, _ = _named_presets(data)
    return _merged([*map(_preset, presets), _without_preset(data)])


def _without_preset(data: Mapping[str, Any]) -> dict[str, Any]:
    return {path: value for path, value in data.items() if path != "preset"}


def _merged(spaces: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Merges several spaces: for each path the last one wins, and null removes the path."""
    together = {path: value for space in spaces for path, value in space.items()}
    return {path: value for path, value in together.items() if value is not None}


def _wrong_removals(
    own: Mapping[str, Any], inherited: Collection[str], parameters: Mapping[str, Distribution]
) -> list[SpaceProblem]:
    """Problems with nulls: for paths that no preset searches, and for paths that the rest of the preset depends on."""
    problems = []
    for path in (path for path, value in own.items() if value is None):
        children = [child for child, parameter in parameters.items() if child not in own and path in parameter.when]
        if path not in inherited:
            message = "null removes a path that a preset searches, but no preset searches this one; "
            problems.append(SpaceProblem((path,), message + _did_you_mean(path, inherited, cutoff=0.8)))
        elif children:
            message = f"the preset's {', '.join(children)} depend on it: remove them too, or narrow this instead"
            problems.append(SpaceProblem((path,), message))
    return problems


# --- parameters -----------------------------------------------------------------------------------------------------


def _parameter(path: object, data: object) -> Distribution:
    """Parses the distribution of one path.

    Raises:
        SpaceError: with all mistakes found.
    """
    if not isinstance(path, str) or "." not in path:  # each recipe path starts with its section: train.batch_size
        valid = ["preset", "python", "a recipe path such as train.batch_size"]
        raise SpaceError([SpaceProblem((str(path),), f"unknown key; {_did_you_mean(path, valid)}")])
    if not isinstance(data, Mapping):
        example = f"{{choice: {shown(data)}}}" if isinstance(data, list) else "{int: [2, 8]}"
        message = f"{shown(data)}: needs a distribution such as {example}; a fixed value belongs in the recipe"
        raise SpaceError([SpaceProblem((path,), message)])
    kinds = [key for key in data if key in KINDS]
    if len(kinds) == 1:
        kind = KINDS[kinds[0]]
        try:
            return kind.model_validate(data)
        except ValidationError as error:
            raise SpaceError([_problem(item, path, kind) for item in error.errors(include_url=False)]) from None
    if kinds:
        raise SpaceError([SpaceProblem((path,), f"has several distributions, {' and '.join(kinds)}; keep one")])
    other_keys = ["when", "step"]
    unknown = [(key, _did_you_mean(key, [*KINDS, *other_keys])) for key in data if key not in other_keys]
    if not unknown:
        raise SpaceError([SpaceProblem((path,), f"needs a distribution: one of {', '.join(KINDS)}")])
    raise SpaceError([SpaceProblem((path, str(key)), f"unknown kind {shown(key)}; {hint}") for key, hint in unknown])


def _problem(item: ErrorDetails, path: str, kind: type[Distribution]) -> SpaceProblem:
    """Converts one of pydantic's errors."""
    if item["type"] == "extra_forbidden":
        valid = [field.alias or name for name, field in kind.model_fields.items()]
        message = f"unknown key; {_did_you_mean(item['loc'][-1], valid)}"
    elif item["type"] == "value_error":
        message = str(item["ctx"]["error"])
    else:
        message = f"{shown(item['input'])}: {item['msg'][0].lower()}{item['msg'][1:]}"
    return SpaceProblem((path, *item["loc"]), message)


def _did_you_mean(word: object, valid: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Hint for a misspelt word: `did you mean 'log'?`, or the list of valid words if none is close.

    Args:
        word: the word as written.
        valid: words that are allowed.
        cutoff: lowest similarity, from 0 to 1, of a word that is suggested. Dotted paths need a higher one, since they
            share their first keys.
    """
    valid = list(valid)
    close = difflib.get_close_matches(str(word), valid, n=1, cutoff=cutoff)
    return f"did you mean {close[0]!r}?" if close else f"valid: {', '.join(valid) or 'none'}"


# --- conditions -----------------------------------------------------------------------------------------------------


def _wrong_conditions(
    own: Collection[str], searched: Collection[str], parameters: Mapping[str, Distribution]
) -> list[SpaceProblem]:
    """Problems with the user's conditions: on paths that are not searched, on values that are never drawn, and on
    themselves."""
    problems = []
    for path, parameter in ((path, parameter) for path, parameter in parameters.items() if path in own):
        for parent, values in parameter.when.items():
            place = (path, "when", parent)
            if parent not in searched:
                others = [other for other in searched if other != path]
                problems.append(SpaceProblem(place, f"is not searched; {_did_you_mean(parent, others, cutoff=0.8)}"))
            elif parent in parameters:
                never = [value for value in values if not parameters[parent].can_draw(value)]
                text = parameters[parent].describe()
                problems += [SpaceProblem(place, f"is never exactly {value!r}: it is {text}") for value in never]
        if path in _ancestors(path, parameters):
            problems.append(SpaceProblem((path, "when"), "the parameter depends on itself"))
    return problems


def _ancestors(path: str, parameters: Mapping[str, Distribution]) -> set[str]:
    """Paths that a parameter's conditions name, directly or through others."""
    found: set[str] = set()
    to_visit = [path]
    while to_visit:
        parameter = parameters.get(to_visit.pop())
        parents = set(parameter.when) - found if parameter else set()
        found |= parents
        to_visit += parents
    return found


def _in_order(parameters: Mapping[str, Distribution]) -> dict[str, Distribution]:
    """Parameters in the order of the file, except that each comes after those its conditions name."""
    ordered: dict[str, Distribution] = {}

    def add(path: str) -> None:
        for parent in parameters[path].when:
            add(parent)
        ordered.setdefault(path, parameters[path])

    for path in parameters:
        add(path)
    return ordered


def _without_unreachable(parameters: Mapping[str, Distribution], own: Collection[str]) -> dict[str, Distribution]:
    """Drops preset parameters that can no longer be drawn because the user narrowed the parameters they depend on.

    Raises:
        SpaceError: if one of the user's own parameters can never be drawn.
    """
    required = {path: requirements(path, parameters) for path in parameters}
    unreachable = [path for path in parameters if not all(required[path].values())]
    if mistakes := [path for path in unreachable if path in own]:
        raise SpaceError([SpaceProblem((path, "when"), "these conditions never hold together") for path in mistakes])
    return {
        path: parameter.model_copy(update={"when": {parent: required[path][parent] for parent in parameter.when}})
        for path, parameter in parameters.items()
        if path not in unreachable
    }


# --- functions ------------------------------------------------------------------------------------------------------


def _function_space(data: Mapping[Any, Any]) -> FunctionSpace:
    python = data["python"]
    message = "cannot be combined with python, whose function defines the whole space"
    problems = [SpaceProblem((str(key),), message) for key in data if key != "python"]
    try:
        function = _imported(python)
    except ValueError as error:
        problems.append(SpaceProblem(("python",), str(error)))
    if problems:
        raise SpaceError(problems)
    return FunctionSpace(python=python, function=function)


def _imported(python: object) -> Any:
    module_name, colon, name = python.partition(":") if isinstance(python, str) else ("", "", "")
    if not (module_name and colon and name):
        raise ValueError(f"{shown(python)}: needs module:function")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)  # the folder in which `thaw` runs, as for the user's own networks
    try:
        module = import_module(module_name)
    except (
        Exception,
        SystemExit,
    ) as error:  # the user's code may raise anything; it is reported at the key that names it
        where = "; is its folder on PYTHONPATH?" if isinstance(error, ModuleNotFoundError) else ""
        raise ValueError(f"cannot import {module_name}: {type(error).__name__}: {error}{where}") from error
    if not hasattr(module, name):
        functions = [key for key, value in vars(module).items() if callable(value)]
        raise ValueError(f"{module_name} has no {name!r}; {_did_you_mean(name, functions)}")
    function = getattr(module, name)
    if not callable(function):
        raise ValueError(f"{python} is not a function but {function!r}")
    return function
