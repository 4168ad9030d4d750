"""Parts of error messages about data."""

from __future__ import annotations

from trainables.core.config_errors import ConfigError, Problem


def path_error(message: str) -> ConfigError:
    """Error about the files of a source, at `data.path`."""
    return ConfigError([Problem(("data", "path"), message)])
