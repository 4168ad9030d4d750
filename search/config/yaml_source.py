"""Reads a YAML file with the lines of its keys, so that mistakes are reported with file and line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from trainables.core.config_errors import Path as KeyPath
from trainables.core.config_errors import Problem, bounded, dotted, shown
from trainables.core.dotted_paths import PathError, resolve, with_values
from trainables.core.plain_yaml import MOST_CHARACTERS, compose_yaml, load_yaml
from trainables.core.printable import one_message, printable
from trainables.recipe.rules.stage_plans import with_planned_stages
from trainables.storage.destination import without_passwords


class InputError(Exception):
    """Error in what the user gave. Its text is all that the user needs to see."""


@dataclass(frozen=True)
class Source:
    """Content of a file, with the overrides of the command line."""

    file: Path
    data: dict[str, Any]
    """The file's content with the overrides applied."""
    lines: dict[KeyPath, int]
    """Line of each key of the file, counted from 1; without keys that an override replaced."""
    overrides: dict[KeyPath, str]
    """Path -> override as it was typed: `train.batch_size=64`."""

    def describe(self, problems: Sequence[Problem]) -> str:
        """Message with a line for each problem: `search.yaml:14 train.stages[2].unfreeze_from: …`."""
        ordered = sorted(dict.fromkeys(problems), key=lambda p: self._line(p.path))
        return "\n".join(one_message(bounded(f"{self._place(p.path)} {dotted(p.path)}: {p.message}")) for p in ordered)

    def _place(self, path: KeyPath) -> str:
        for here in (path[:length] for length in range(len(path), 0, -1)):
            if here in self.overrides:
                return f"command line ({self.overrides[here]})"
            if here in self.lines:
                break
            if made := [typed for at, typed in self.overrides.items() if at[: len(here)] == here]:
                return f"command line ({made[-1]})"
        return f"{self.file}:{self._line(path)}"

    def _line(self, path: KeyPath) -> int:
        return next((self.lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.lines), 1)


def read_source(file: Path, overrides: Sequence[str] = ()) -> Source:
    """Reads a YAML mapping and applies overrides such as `train.batch_size=64`.

    Raises:
        InputError: if the file cannot be read or is not a YAML mapping, or an override is invalid.
    """
    data, lines = _parse(file, _text_of(file))
    typed: dict[KeyPath, str] = {}

    # A plan comes first, since it replaces the file's stages; values in stages come last, since the stages of a plan depend on the
    # network, the image size and the batch size.
    def place(typed: str) -> tuple[bool, bool]:
        return typed.startswith("train.stages["), not typed.startswith("train.plan=")

    for override in sorted(overrides, key=place):
        path, equals, value = override.partition("=")
        typed_as = printable(bounded(without_passwords(override), 200))
        if not equals:
            raise InputError(f"command line: {typed_as!r} is not an override; write it as train.batch_size=64")
        try:
            data = with_values(_ready_for(path, data), {path: load_yaml(value)})
            places = resolve(path, data)
        except (PathError, yaml.YAMLError) as error:
            raise InputError(f"command line ({typed_as}): {_reason(error)}") from None
        typed |= dict.fromkeys(places, typed_as)
        lines = {at: line for at, line in lines.items() if not any(at[: len(place)] == place for place in places)}
    return Source(file, data, lines, typed)


def _ready_for(path: str, data: dict[str, Any]) -> dict[str, Any]:
    """Content of a file in which an override can be set: a plan that is typed replaces the file's stages, and the stages of the
    file's plan are written out before a value in them is set."""
    train = data.get("train")
    if path == "train.plan" and isinstance(train, dict):
        return {**data, "train": {key: value for key, value in train.items() if key != "stages"}}
    return dict(with_planned_stages(data)) if path.startswith("train.stages[") else data


def _text_of(file: Path) -> str:
    try:
        with file.open(encoding="utf-8") as stream:
            return stream.read(MOST_CHARACTERS + 1)
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not a text file: {error.reason} at byte {error.start}") from None
    except ValueError as error:  # a NUL in the path
        raise InputError(f"{shown(str(file))} cannot be read: {error}") from None


def _parse(file: Path, text: str) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    try:
        node, loader = compose_yaml(text)
        data = loader.construct_document(node) if node else {}
        lines = dict(_lines(node, ()))
    except yaml.YAMLError as error:
        mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
        place = f"{file}:{mark.line + 1}" if mark else file
        raise InputError(f"{place} is not valid YAML: {_reason(error)}") from None
    if not isinstance(data, dict):
        raise InputError(
            f"{file}:1 must be a mapping with keys such as data, model and train, not {type(data).__name__}"
        )
    return data, lines


_HINTS = {
    "expected ',' or": "put quotes around text with brackets, braces or commas",
    "mapping values are not allowed here": "indent keys of one section alike, and put quotes around text with a colon",
    "cannot start any token": "indent with blanks, not tabs, and put quotes around text with special characters",
    "found undefined alias": "put quotes around text that begins with *",
    "could not find expected ':'": "write key: value, with a blank after the colon",
}
"""Part of PyYAML's message -> what would be right."""


def _reason(error: Exception) -> str:
    """Message of an error in YAML or a path, on one line and short, with what would be right."""
    said = error.problem if isinstance(error, yaml.MarkedYAMLError) else None
    text = printable(bounded(" ".join(str(said or error).split()), 300))
    return "; ".join([text, *(hint for part, hint in _HINTS.items() if part in text)])


def _lines(node: yaml.Node | None, path: KeyPath) -> list[tuple[KeyPath, int]]:
    found: list[tuple[KeyPath, int]] = []
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below = (*path, key.value)
            found += [(below, key.start_mark.line + 1), *_lines(value, below)]
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            below = (*path, index)
            found += [(below, value.start_mark.line + 1), *_lines(value, below)]
    return found
