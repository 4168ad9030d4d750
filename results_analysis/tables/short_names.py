"""Short names of searched values, for headings and axes."""

from __future__ import annotations

from collections.abc import Iterable


def short_names(paths: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """Shortest ends of dotted paths that are distinct and still say what they belong to: `train.loss.kind` -> `loss.kind`.

    A position or name in brackets stays, because it says which stage is meant: `train.stages[1].head_lr` ->
    `stages[1].head_lr`. `[*]` says nothing and goes: `train.stages[*].head_lr` -> `head_lr`, unless that is ambiguous.

    Args:
        paths: dotted paths of searched values.
        taken: names that no short name may equal, such as those of the other columns.
    """
    parts = {path: path.split(".") for path in paths}
    reserved = set(taken)

    def tail(path: str, length: int) -> str:
        return ".".join(parts[path][-length:])

    def is_distinct(path: str, length: int) -> bool:
        others = {tail(other, length) for other in parts if other != path}
        return tail(path, length) not in others | reserved

    def length_of(path: str) -> int:
        keys = parts[path]
        owner = len(keys) - (2 if len(keys) > 2 else 1)  # data, model and train own nearly everything: they say nothing
        if keys[owner].endswith("[*]"):
            owner = min(owner + 1, len(keys) - 1)
        first = next((i for i, key in enumerate(keys) if "[" in key and not key.endswith("[*]")), owner)
        lengths = range(len(keys) - first, len(keys) + 1)
        return next((length for length in lengths if is_distinct(path, length)), len(keys))

    return {path: tail(path, length_of(path)) for path in parts}
