"""Dotted paths into a config: `train.stages[0].head_lr`, `train.stages[-1]…`, `train.stages[head]…`, `train.stages[*]…`."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any

from trainables.core.config_errors import Path, counted, dotted

_KEY, _SELECTOR = r"[A-Za-z_][A-Za-z0-9_-]*", r"\[[^\[\]]+\]"
_PATH = re.compile(rf"{_KEY}(\.{_KEY}|{_SELECTOR})*")
_STEP = re.compile(rf"{_KEY}|{_SELECTOR}")


class PathError(ValueError):
    """A path that does not exist in the config it is applied to."""


def with_values(data: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Copies `data` and sets new values at some paths.

    Mappings that are missing or null are created. A whole section is set before values below it, whatever their order here.
    A new `kind` clears the mapping it belongs to, because the other keys there belong to the former kind; it is set before them.

    Raises:
        PathError: if a path leads through something that is not a mapping or list, or to a list item that does not exist, or if two
            paths set the same place.
    """
    changed = copy.deepcopy(dict(data))
    set_by: dict[Path, str] = {}
    for text in sorted(values, key=lambda text: (text.count("."), not text.endswith(".kind"))):
        for path in resolve(text, changed):
            if (other := set_by.setdefault(path, text)) != text:
                raise PathError(f"{other} and {text} both set {dotted(path)}; keep one of the two")
            _set(changed, path, copy.deepcopy(values[text]))
    return changed


def resolve(text: str, data: Mapping[str, Any]) -> list[Path]:
    """Returns the places in `data` that a dotted path names; several if it contains `[*]`.

    Raises:
        PathError: if it is not a path, or selects a list item that does not exist.
    """
    if not _PATH.fullmatch(text):
        raise PathError(f"{text!r} is not a path; a path looks like train.stages[0].head_lr")
    return list(_walk(_STEP.findall(text), data, ()))


def value_at(text: str, data: Mapping[str, Any]) -> Any:
    """Returns the value at a dotted path: None where a mapping on the way is missing or null.

    Raises:
        PathError: if it is not a path, selects a list item that does not exist, or leads to different values through `[*]`.
    """
    found: list[Any] = []
    for place in resolve(text, data):
        value: Any = data
        for key in place:
            value = None if value is None else value[key] if isinstance(key, int) else value.get(key)
        found.append(value)
    if not found:
        raise PathError(f"{text} leads to an empty list")
    if any(value != found[0] for value in found):
        raise PathError(f"{text} has several values there: {', '.join(map(repr, found))}")
    return found[0]


def _walk(steps: list[str], data: Any, walked: Path) -> Iterator[Path]:
    if not steps:
        yield walked
        return
    step, rest = steps[0], steps[1:]
    if not step.startswith("["):
        if data is not None and not isinstance(data, Mapping):
            raise PathError(f"{dotted(walked)} has no keys, so it has no {step!r}")
        yield from _walk(rest, data.get(step) if data else None, (*walked, step))
        return
    if not isinstance(data, list | tuple):
        raise PathError(f"{dotted(walked)} is not a list, so it has no {step}")
    for index in _selected(step[1:-1], data, walked):
        yield from _walk(rest, data[index], (*walked, index))


def _selected(selector: str, items: list[Any] | tuple[Any, ...], walked: Path) -> list[int]:
    if selector == "*":
        return list(range(len(items)))
    try:
        index = int(selector)
    except ValueError:
        names = [item.get("name") if isinstance(item, Mapping) else None for item in items]
        if selector in names:
            return [names.index(selector)]
        raise PathError(f"{dotted(walked)} has no item named {selector!r} ({', '.join(map(str, names))})") from None
    if not -len(items) <= index < len(items):
        raise PathError(f"{dotted(walked)} has no item [{index}]; it has {counted(len(items), 'item')}") from None
    return [index % len(items)]


def _set(data: Any, path: Path, value: Any) -> None:
    *way, last = path
    for position, key in enumerate(way):
        if isinstance(data, dict) and data.get(str(key)) is None:
            data[key] = {}
        if last == "kind" and position == len(way) - 1 and data[key].get("kind") != value:
            data[key] = {}
        data = data[key]
    data[last] = value
