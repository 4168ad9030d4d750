"""Reads a YAML file with the lines of its keys, so that mistakes are reported with file and line."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from trainables.core.config_errors import Path as KeyPath
from trainables.core.config_errors import Problem, dotted
from trainables.core.dotted_paths import PathError, resolve, with_values
from trainables.core.printable import one_message, printable
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
        return "\n".join(one_message(f"{self._place(p.path)} {dotted(p.path)}: {p.message}") for p in ordered)

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
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not a text file: {error.reason} at byte {error.start}") from None
    data, lines = _parse(file, text)
    typed: dict[KeyPath, str] = {}
    for override in overrides:
        path, equals, value = override.partition("=")
        if not equals:
            raise InputError(f"command line: {override!r} is not an override; write it as train.batch_size=64")
        try:
            parsed = yaml.load(value, _Loader)  # noqa: S506  a SafeLoader
            data = with_values(data, {path: parsed})
            places = resolve(path, data)
        except (PathError, yaml.YAMLError) as error:
            reason = error.problem if isinstance(error, yaml.MarkedYAMLError) else error
            raise InputError(printable(f"command line ({without_passwords(override)}): {reason}")) from None
        typed |= dict.fromkeys(places, without_passwords(override))
        lines = {at: line for at, line in lines.items() if not any(at[: len(place)] == place for place in places)}
    return Source(file, data, lines, typed)


def _parse(file: Path, text: str) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        data = loader.construct_document(node) if node else {}
        lines = dict(_lines(node, ()))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InputError(printable(f"{file}:{line} is not valid YAML: {error.problem}")) from None
    except yaml.YAMLError as error:
        raise InputError(f"{file} is not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise InputError(f"{file} is not valid YAML: something in it contains itself") from None
    if not isinstance(data, dict):
        raise InputError(
            f"{file}:1 must be a mapping with keys such as data, model and train, not {type(data).__name__}"
        )
    return data, lines


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


class _Loader(yaml.SafeLoader):
    """Safe YAML loader that reads 1e-3 as a number, as in YAML 1.2, and rejects duplicate keys and keys that are lists
    or mappings."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a list or mapping cannot be a key", problem_mark=key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} appears twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except ValueError as error:  # 2020-13-45 looks like a date
            raise yaml.MarkedYAMLError(problem=f"{node.value!r}: {error}", problem_mark=node.start_mark) from None


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)
