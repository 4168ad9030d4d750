"""Errors in a config, reported so that a person can fix them: where, what, and what would be right."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from trainables.core.printable import one_message

Path = tuple[str | int, ...]


class Config(BaseModel):
    """Base class of all configs: frozen, rejects unknown keys, and takes the docstring under a field as its description."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True, allow_inf_nan=False
    )


class Problem(NamedTuple):
    """One error in a config."""

    path: Path
    """Keys and list positions from the top of the config to the error."""
    message: str


class ConfigError(ValueError):
    """A config that cannot be used, with all its problems."""

    def __init__(self, problems: Sequence[Problem]):
        self.problems = tuple(problems)
        lines = (": ".join(filter(None, (dotted(p.path), p.message))) for p in self.problems)
        super().__init__("\n".join(map(one_message, lines)))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[tuple[Problem, ...]]]:
        return type(self), (self.problems,)  # Ray pickles it to pass it between processes


def dotted(path: Path) -> str:
    """Writes a path as text: `("train", "stages", 2, "name")` becomes `train.stages[2].name`."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return text.removeprefix(".")


def nearest(key: str, valid: Sequence[str]) -> str:
    """Returns `did you mean 'x'?` if one of `valid` is close to `key`, else the list of all valid keys."""
    close = difflib.get_close_matches(key, valid, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"valid: {', '.join(valid)}"


def problems_of(error: ValidationError, model: type[BaseModel], data: Any) -> list[Problem]:
    """Turns pydantic's errors into problems whose paths are those of `data`, without the tags of discriminated unions. A value that
    fits none of several types is one problem.

    Args:
        error: error that pydantic raised.
        model: type of the config.
        data: plain data that was validated.
    """
    items = [(_path_in_data(item["loc"], data), item) for item in error.errors(include_url=False)]
    messages: dict[Path, list[str]] = {}
    for path, item in items:
        # pydantic also reports a list as too short if its items are invalid; the messages about the items are enough.
        if not (item["type"] == "too_short" and any(len(p) > len(path) and p[: len(path)] == path for p, _ in items)):
            messages.setdefault(path, []).append(_message(item, path, model))
    return [Problem(path, _either(tried)) for path, tried in messages.items()]


_SHOULD = ": input should be "


def _either(messages: Sequence[str]) -> str:
    """Message for a value that fits none of several types: `-1: input should be at least 0, or 'middle'`."""
    first, *others = messages
    return "".join([first, *(f", or {other.partition(_SHOULD)[2] or other}" for other in others)])


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
            break  # the value is a scalar; the remaining keys name the type that was tried
        path.append(key)
    return tuple(path)


def _message(item: Any, path: Path, model: type[BaseModel]) -> str:
    kind, value = item["type"], item["input"]
    if kind == "extra_forbidden":
        return f"unknown key; {right_key(path, keys_at(model, item['loc'][:-1]), {'': model})}"
    if kind == "missing":
        too_few = isinstance(value, list | tuple) and isinstance(item["loc"][-1], int)
        return f"{shown(value)}{_SHOULD}a longer list" if too_few else "is required and missing"
    if kind in {"value_error", "assertion_error"}:
        return bounded(str(item["ctx"]["error"]))
    if kind == "union_tag_invalid":
        return f"{shown(item['ctx']['tag'])} is not one of {item['ctx']['expected_tags']}"
    if kind == "union_tag_not_found":
        return f"needs the key {item['ctx']['discriminator']}"
    if kind in {"model_type", "dict_type"} and (names := keys_at(model, item["loc"])):
        absent = ", or null for none" if _may_be_null(model, item["loc"]) else ""
        return f"{shown(value)}: input should be a section with keys such as {listed(names, 4)}{absent}"
    if kind == "model_attributes_type" and (kinds := [tag for m in _models_at(model, item["loc"]) for tag in _tags(m)]):
        example = value if value in kinds else kinds[0]
        return f"{shown(value)}: input should be a section such as {{kind: {example}}}, with one of the kinds {', '.join(kinds)}"
    text = item["msg"][0].lower() + item["msg"][1:]
    for pydantics, plain in _PLAIN.items():
        text = text.replace(pydantics, plain)
    return f"{shown(value)}: {bounded(text)}"


_PLAIN = {
    "string should match pattern": "input should be text of the form",
    ", unable to parse string as an integer": "",
    ", unable to parse string as a number": "",
    "tuple should have": "list should have",
    " after validation": "",
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid string": "text",
    "a valid tuple": "a list",
    "a valid dictionary": "a section of keys and values",
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
    "greater than": "above",
    "less than": "below",
}
"""Parts of pydantic's messages, in plain words."""


def right_key(path: Path, valid: Sequence[str], models: Mapping[str, type[BaseModel]]) -> str:
    """Hint for an unknown key: one that is spelt alike, the places where the same key is valid, or the valid keys.

    Args:
        path: place of the key.
        valid: keys that are valid where it stands.
        models: types of configs in which it may be valid, by the beginning of their paths.
    """
    key, own = str(path[-1]), "".join("[*]" if isinstance(name, int) else f".{name}" for name in path).removeprefix(".")
    places = [place for above, model in models.items() for place in _places_of(key, model, above) if place != own]
    if not difflib.get_close_matches(key, valid, n=1, cutoff=0.6) and 0 < len(places) <= 3:
        return f"did you mean {' or '.join(places)}?"
    return nearest(key, valid)


def _places_of(key: str, model: type[BaseModel], above: str) -> Iterator[str]:
    """Yields the dotted paths below a model at which a key is valid."""
    for name, field in model.model_fields.items():
        below = f"{above}{name}"
        if name == key:
            yield below
        several = "[*]" if typing.get_origin(field.annotation) is tuple else ""
        for part in _models_in(field.annotation):
            yield from _places_of(key, part, f"{below}{several}.")


def shown(value: Any) -> str:
    """A value as it is shown in a message: on one line, and short."""
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python writes
        text = f"{type(value).__name__} of many digits"
    return text if len(text) <= 60 else text[:57] + "..."


def bounded(message: str, most: int = 4000) -> str:
    """Message of limited length.

    Args:
        message: the message.
        most: most characters.
    """
    return message if len(message) <= most else f"{message[: most - 1]}…"


def keys_at(model: type[BaseModel], loc: Path) -> list[str]:
    """Returns the valid keys of the mapping at `loc` in a config of type `model`; `loc` is pydantic's, including tags."""
    return list(dict.fromkeys(name for m in _models_at(model, loc) for name in m.model_fields))


def _may_be_null(model: type[BaseModel], loc: Path) -> bool:
    """True if null is valid at `loc`."""
    *above, name = loc or ("",)
    fields = [owner.model_fields[str(name)] for owner in _models_at(model, tuple(above)) if name in owner.model_fields]
    return any(type(None) in typing.get_args(field.annotation) for field in fields)


def _models_at(model: type[BaseModel], loc: Path) -> list[type[BaseModel]]:
    models = [model]
    for key in loc:
        if isinstance(key, int):
            continue  # the element type of a tuple was already unwrapped with its field
        models = [m for m in models if key in _tags(m)] or [
            m for owner in models if key in owner.model_fields for m in _models_in(owner.model_fields[key].annotation)
        ]
    return models


def _tags(model: type[BaseModel]) -> tuple[Any, ...]:
    """Values of `kind` by which a discriminated union recognises this model."""
    return typing.get_args(model.model_fields["kind"].annotation) if "kind" in model.model_fields else ()


def misread_numbers(config: object, data: object, path: Path = ()) -> Iterator[Problem]:
    """Yields the values that pydantic takes for numbers although nobody meant one: true and false; and numbers too large to store.

    Args:
        config: a validated config, or a value in it.
        data: the plain data that it was validated from.
        path: place of the value.
    """
    if isinstance(data, bool) and type(config) in {int, float}:
        yield Problem(path, f"{str(data).lower()}: input should be a number")
    elif type(config) is int and abs(config) >= 2**63:
        yield Problem(path, f"{shown(config)}: is too large")
    elif isinstance(data, Mapping) and isinstance(config, BaseModel | Mapping):
        values = dict(config)
        for key, given in data.items():
            yield from misread_numbers(values.get(key), given, (*path, key))
    elif isinstance(data, list | tuple) and isinstance(config, tuple):
        for i, (value, given) in enumerate(zip(config, data, strict=False)):
            yield from misread_numbers(value, given, (*path, i))


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if (
        isinstance(annotation, type)
        and not isinstance(annotation, types.GenericAlias)
        and issubclass(annotation, BaseModel)
    ):
        return [annotation]
    return [model for part in typing.get_args(annotation) for model in _models_in(part)]


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number of things in words: `1 image`, `1,200 images`.

    Args:
        number: the number.
        noun: word for one of them.
        plural: word for several, if it is not the noun with an s.
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def listed(names: Sequence[str], limit: int = 10, separator: str = ", ") -> str:
    """The first names as a text, and how many more there are.

    Args:
        names: all names.
        limit: most names to show.
        separator: text between names.
    """
    more = [f"… and {len(names) - limit} more"] if len(names) > limit else []
    return separator.join([*names[:limit], *more])
