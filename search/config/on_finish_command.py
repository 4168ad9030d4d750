"""`search.on_finish` of a search file: a command as words."""

from __future__ import annotations

import shlex
from typing import Annotated, Any

from pydantic import BeforeValidator, Field


def _words(command: Any) -> Any:
    if isinstance(command, str):
        try:
            return shlex.split(command)
        except ValueError as error:
            raise ValueError(f"{command!r} cannot be split into words: {str(error).lower()}") from None
    return command


Command = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...],
    Field(min_length=1),
    BeforeValidator(_words, json_schema_input_type=str | list[str]),
]
"""A program and its arguments. A text is split into words as a shell would do it, but no shell is started."""
