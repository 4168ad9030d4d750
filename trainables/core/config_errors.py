"""What is wrong with a config, said so that a person can mend it: where, what, and what would be right."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

Path = tuple[str | int, ...]


class Config(BaseModel):
    """Base of every config: frozen, no unknown keys, the docstring under a field is its description."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True, allow_inf_nan=False
    )


class Problem(NamedTuple):
    """One mistake in a config."""

    path: Path
    """Keys and list positions from the top of the config to the mistake."""
    message: str


class ConfigError(ValueError):
    """A config that cannot be used, with all its mistakes."""

    def __init__(self, problems: Sequence[Problem]):
        self.problems = tuple(problems)
        super().__init__("\n".join(": ".join(filter(None, (dotted(p.path), p.message))) for p in self.problems))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[tuple[Problem, ...]]]:
        return type(self), (self.problems,)  # crosses process borders inside Ray


def dotted(path: Path) -> str:
    """`("train", "stages", 2, "name")` -> `train.stages[2].name`."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return text.removeprefix(".")


def nearest(key: str, valid: Sequence[str]) -> str:
    """`; did you mean 'x'?` where one of `valid` is close to `key`, else the list of them."""
    close = difflib.get_close_matches(key, valid, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"valid: {', '.join(valid)}"


def problems_of(error: ValidationError, model: type[BaseModel], data: Any) -> list[Problem]:
    """pydantic's findings as problems whose paths are those of `data` (without the tags of discriminated unions)."""
    items = [(_path_in_data(item["loc"], data), item) for item in error.errors(include_url=False)]
    return [
        Problem(path, _message(item, path, model))
        for path, item in items
        # A list counts as too short when its items are wrong: the items' own messages say it better.
        if not (item["type"] == "too_short" and any(len(p) > len(path) and p[: len(path)] == path for p, _ in items))
    ]


def _path_in_data(loc: Path, data: Any) -> Path:
    path: list[str | int] = []
    for position, key in enumerate(loc):
        last = position == len(loc) - 1
        if isinstance(data, Mapping):
            if key not in data and not last:
                continue  # the tag of a discriminated union, not a key
            data = data.get(key)
        elif isinstance(data, Sequence) and not isinstance(data, str) and isinstance(key, int) and key < len(data):
            data = data[key]
        elif not last or not isinstance(key, str):
            continue
        else:
            break  # the value is a scalar; what is left names the type that was tried
        path.append(key)
    return tuple(path)


def _message(item: Any, path: Path, model: type[BaseModel]) -> str:
    kind, value = item["type"], item["input"]
    if kind == "extra_forbidden":
        return f"unknown key; {nearest(str(path[-1]), keys_at(model, item['loc'][:-1]))}"
    if kind == "missing":
        return "is required and missing"
    if kind in {"value_error", "assertion_error"}:
        return str(item["ctx"]["error"])
    if kind == "union_tag_invalid":
        return f"{item['ctx']['tag']!r} is not one of {item['ctx']['expected_tags']}"
    if kind == "union_tag_not_found":
        return f"needs the key {item['ctx']['discriminator']}"
    text = item["msg"][0].lower() + item["msg"][1:]
    return f"{_short(value)}: {text}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def keys_at(model: type[BaseModel], loc: Path) -> list[str]:
    """The keys that are valid in the mapping at `loc` of a config of type `model`; a `loc` of pydantic's, tags and all."""
    models = [model]
    for key in loc:
        if isinstance(key, int):
            continue  # a tuple's element type was already unwrapped with its field
        models = [m for m in models if key in _tags(m)] or [
            m for owner in models if key in owner.model_fields for m in _models_in(owner.model_fields[key].annotation)
        ]
    return list(dict.fromkeys(name for m in models for name in m.model_fields))


def _tags(model: type[BaseModel]) -> tuple[Any, ...]:
    """The kinds by which a discriminated union tells this model from others."""
    return typing.get_args(model.model_fields["kind"].annotation) if "kind" in model.model_fields else ()


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if (
        isinstance(annotation, type)
        and not isinstance(annotation, types.GenericAlias)
        and issubclass(annotation, BaseModel)
    ):
        return [annotation]
    return [model for part in typing.get_args(annotation) for model in _models_in(part)]


def listed(names: Sequence[str], limit: int = 10, separator: str = ", ") -> str:
    """The first names as a text, and how many more there are.

    Args:
        names: all names.
        limit: most names to show.
        separator: text between names.
    """
    more = [f"… and {len(names) - limit} more"] if len(names) > limit else []
    return separator.join([*names[:limit], *more])
