"""`Destination`: folder or URL to which copies are written, as given in a config. Plain data."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Annotated

from pydantic import AfterValidator

VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
# As SQLAlchemy parses URLs, the password reaches from the colon to the last possible @.
_PASSWORD = re.compile(r"(?<=://)([^/@:]*:)([^@]+)(?=@)|([?&](?:password|passwd|pwd)=)([^&]+)", re.IGNORECASE)


def without_passwords(text: str) -> str:
    """Replaces literal passwords in the URLs of a text by `${PASSWORD}`, so that it can be shown."""

    def hidden(match: re.Match[str]) -> str:
        before, password = match[1] or match[3], match[2] or match[4]
        return match[0] if VARIABLE.fullmatch(password) else f"{before}${{PASSWORD}}"

    return _PASSWORD.sub(hidden, text)


def refuse_password(url: str) -> None:
    """Checks that a URL of a config has no password, since configs are written to run folders and checkpoints.

    Raises:
        ValueError: if it has one.
    """
    if _PASSWORD.search(url):
        raise ValueError(
            "the URL contains a password, which would be written to the run's folder; remove it, and set it in the "
            "protocol's own configuration or in the environment"
        )


def _checked(place: str) -> str:
    if PurePath(place).is_absolute():
        return place
    if "://" not in place:
        raise ValueError("must be an absolute path or a URL: trials do not run in this folder")
    refuse_password(place)
    from fsspec import get_filesystem_class

    try:
        get_filesystem_class(place.partition("://")[0])
    except (ImportError, ValueError) as error:
        raise ValueError(str(error)) from None
    return place


Destination = Annotated[str, AfterValidator(_checked)]
"""Absolute path, or URL of a protocol that fsspec supports and whose package is installed."""
