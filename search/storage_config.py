"""`search.storage`: where Optuna keeps the study. Plain data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated
from urllib.parse import quote

from pydantic import AfterValidator

IN_THE_RUN = ("journal", "sqlite")
# As SQLAlchemy reads URLs: all from the colon to the last @ that can be is the password.
_PASSWORD = re.compile(r"(?<=://)([^/@:]*:)([^@]+)(?=@)|([?&](?:password|passwd|pwd)=)([^&]+)", re.IGNORECASE)
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def _checked(storage: str) -> str:
    if storage in IN_THE_RUN or _VARIABLE.fullmatch(storage):
        return storage
    if "://" not in storage:
        raise ValueError(f"{storage!r} is neither journal nor sqlite, nor the URL of a database")
    if (shown := without_passwords(storage)) != storage:
        raise ValueError(
            f"the URL holds a password, which would be written to search.yaml; write it as {shown} and set the environment's "
            "variable PASSWORD"
        )
    return storage


def without_passwords(text: str) -> str:
    """A text whose URLs have `${PASSWORD}` where they had literal passwords, to be shown."""

    def hidden(match: re.Match[str]) -> str:
        before, password = match[1] or match[3], match[2] or match[4]
        return match[0] if _VARIABLE.fullmatch(password) else f"{before}${{PASSWORD}}"

    return _PASSWORD.sub(hidden, text)


def missing_variables(storage: str, environment: Mapping[str, str]) -> list[str]:
    """The environment's variables that a URL needs and that are not set."""
    return [name for name in _VARIABLE.findall(storage) if name not in environment]


def with_variables(storage: str, environment: Mapping[str, str]) -> str:
    """The URL to connect with."""
    if name := _VARIABLE.fullmatch(storage):
        return environment[name[1]]
    return _VARIABLE.sub(lambda match: quote(environment[match[1]], safe=""), storage)


Storage = Annotated[str, AfterValidator(_checked)]
