"""`search.address`: where Ray runs. Plain data."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import PlainValidator, WithJsonSchema

_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})")
LOCAL, AUTO = "local", "auto"


def checked_address(value: Any) -> Any:
    """Validates `search.address`: `local`, `auto` or the head node's `host:port`."""
    if value in (LOCAL, AUTO):
        return value
    if isinstance(value, str) and "://" in value:
        raise ValueError(
            f"{value!r}: with a Ray client or job address, a search could neither show its progress nor write its run folder; "
            "give host:6379 from a machine in the cluster's network, or run it there: ray job submit --address http://HOST:8265 "
            "-- thaw search FILE search.address=auto"
        )
    match = _HOST_AND_PORT.fullmatch(value) if isinstance(value, str) else None
    if not match or not 0 < int(match[2]) < 2**16:
        raise ValueError(f"{value!r}: input should be local, auto, or the head node's host:port, as in 10.0.0.5:6379")
    return value


Address = Annotated[str, PlainValidator(checked_address), WithJsonSchema({"type": "string"})]
