"""`search.storage`: where Optuna stores the study. Plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated
from urllib.parse import quote

from pydantic import AfterValidator

from trainables.storage.destination import VARIABLE, without_passwords

IN_THE_RUN = ("journal", "sqlite")


def _checked(storage: str) -> str:
    if storage in IN_THE_RUN or VARIABLE.fullmatch(storage):
        return storage
    if "://" not in storage:
        raise ValueError(f"{storage!r} is neither journal nor sqlite, nor the URL of a database")
    if (shown := without_passwords(storage)) != storage:
        raise ValueError(
            f"the URL holds a password, which would be written to search.yaml; write it as {shown} and set the environment "
            "variable PASSWORD"
        )
    return storage


def missing_variables(storage: str, environment: Mapping[str, str]) -> list[str]:
    """Environment variables that a URL needs and that are not set."""
    return [name for name in VARIABLE.findall(storage) if name not in environment]


def with_variables(storage: str, environment: Mapping[str, str]) -> str:
    """URL to connect with, with variables replaced by their values."""
    if name := VARIABLE.fullmatch(storage):
        return environment[name[1]]
    return VARIABLE.sub(lambda match: quote(environment[match[1]], safe=""), storage)


Storage = Annotated[str, AfterValidator(_checked)]
