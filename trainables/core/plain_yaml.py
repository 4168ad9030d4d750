"""YAML as files of configs and runs use it: plain values, read by the rules of YAML 1.2 and in bounded memory."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

MOST_CHARACTERS, _MOST_VALUES, _MOST_NESTED = 8 * 2**20, 300_000, 60
"""Limits of a file: its size, its values with aliases written out, and the depth of its brackets."""


def load_yaml(text: str) -> Any:
    """Reads plain data.

    Raises:
        yaml.YAMLError: if the text is not YAML, has tags or keys that are not plain, or exceeds the limits.
    """
    node, loader = compose_yaml(text)
    return None if node is None else loader.construct_document(node)


def compose_yaml(text: str) -> tuple[yaml.Node | None, PlainLoader]:
    """Parses a text into nodes, which know their lines, and the loader that makes values of them; see `load_yaml`."""
    if len(text) > MOST_CHARACTERS:
        raise yaml.YAMLError(f"it has more than {MOST_CHARACTERS:,} characters")
    loader = PlainLoader(text)
    try:
        node = loader.get_single_node()
    except RecursionError:
        raise yaml.YAMLError("its brackets are nested too deeply") from None
    if node is not None:
        _check_size(node, {}, depth=0)
    return node, loader


def dump_yaml(data: Any, *, fast: bool = False, **layout: Any) -> str:
    """Writes plain data so that `load_yaml`, and readers of YAML 1.1, read the same values.

    Args:
        data: the data.
        fast: True to use libyaml, whose line breaks differ a little.
        layout: further options of PyYAML.
    """
    options = {"sort_keys": False, "allow_unicode": True, **layout}
    text: str = yaml.dump(data, Dumper=_FastDumper if fast else _Dumper, **options)
    return text


class PlainLoader(yaml.SafeLoader):
    """Loader of plain values. `yes`, `010`, `1:30` and `2020-01-01` are text, as in YAML 1.2 (there, `010` is 10)."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if (tag := getattr(event, "tag", None)) not in {None, "!"}:
            written = str(tag).replace("tag:yaml.org,2002:", "!!")[:40]
            raise _problem(f"the tag {written!r} is not read; remove it", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _problem("a list or mapping cannot be a key", key.start_mark)
            if key.value in seen:
                raise _problem(f"the key {key.value[:60]!r} appears twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Dumper that puts quotes around text which some version of YAML takes for another value."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - people read the files
        return True


class _FastDumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """The same, where PyYAML was built with libyaml."""


def _problem(message: str, mark: yaml.Mark | None) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=message, problem_mark=mark)


def _check_size(node: yaml.Node, sizes: dict[int, int], *, depth: int) -> int:
    """Counts the values below a node with aliases written out, as whoever walks through the data will meet them.

    Args:
        node: the node.
        sizes: counts of nodes by identity; 0 for those that the node is in.
        depth: brackets around the node.
    """
    if id(node) in sizes:
        if not sizes[id(node)]:
            raise _problem("something in it contains itself", node.start_mark)
        return sizes[id(node)]
    if depth > _MOST_NESTED:
        raise _problem("its brackets are nested too deeply", node.start_mark)
    sizes[id(node)], size = 0, 1
    for item in node.value if isinstance(node, yaml.CollectionNode) else ():
        for part in item if isinstance(item, tuple) else (item,):
            size += _check_size(part, sizes, depth=depth + 1)
            if size > _MOST_VALUES:
                raise _problem(f"it has more than {_MOST_VALUES:,} values, aliases written out", node.start_mark)
    sizes[id(node)] = size
    return size


def _integer(loader: PlainLoader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    if len(text) > 400:
        raise _problem(f"{text[:20]}…: a number of {len(text)} digits", node.start_mark)
    return int(text, 0)


def _float(loader: PlainLoader, node: yaml.ScalarNode) -> float:
    return float(loader.construct_scalar(node).lower().replace(".inf", "inf").replace(".nan", "nan"))


_FLOAT = r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
_SCALARS = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", rf"{_FLOAT}|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+0123456789."),
    ("merge", r"<<", "<"),
)  # fmt: skip
"""Tag, pattern and first characters of the plain scalars that are not text (YAML 1.2.2, 10.3)."""

PlainLoader.yaml_implicit_resolvers = {}
for _name, _pattern, _first in _SCALARS:
    for _kind in (PlainLoader, _Dumper, _FastDumper):
        _kind.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(rf"^(?:{_pattern})$"), list(_first))
PlainLoader.add_constructor("tag:yaml.org,2002:int", _integer)
PlainLoader.add_constructor("tag:yaml.org,2002:float", _float)
