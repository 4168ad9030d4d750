"""What is said about data that cannot be used."""

from __future__ import annotations

from trainables.core.config_errors import ConfigError, Problem


def path_error(message: str) -> ConfigError:
    """What is wrong with the files of a source."""
    return ConfigError([Problem(("data", "path"), message)])
