"""What is said about data that cannot be used."""

from __future__ import annotations

from collections.abc import Sequence

from trainables.problems import ConfigError, Problem


def path_error(message: str) -> ConfigError:
    """What is wrong with the files of a source."""
    return ConfigError([Problem(("data", "path"), message)])


def listed(names: Sequence[str], limit: int = 10, separator: str = ", ") -> str:
    """The first names, and how many more there are."""
    more = [f"… and {len(names) - limit} more"] if len(names) > limit else []
    return separator.join([*names[:limit], *more])
