"""`thaw data`: lists, verifies and clears the cache."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from search.config.yaml_source import InputError
from trainables.core.printable import printable
from trainables.storage.cache_folder import Entry, cache_folder, entries, is_damaged, limit, remove

if TYPE_CHECKING:
    from rich.table import Table

_HOURS = {"h": 1, "d": 24, "w": 7 * 24}
_MIB = 2**20


def listing(held: Sequence[Entry]) -> Table:
    """Table with one row per cache entry, most recently used first."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading, right in (("kind", 0), ("source", 0), ("what", 0), ("images", 1), ("MiB", 1), ("last used", 0)):
        table.add_column(heading, justify="right" if right else "left", overflow="fold", no_wrap=heading != "source")
    for entry in reversed(held):
        size, used = f"{entry.bytes / _MIB:,.1f}", f"{entry.last_used.astimezone():%Y-%m-%d %H:%M}"
        cells = (entry.kind, entry.source, entry.what, f"{entry.images:,}", size, used)
        table.add_row(*map(printable, cells))
    return table


def held_line(held: Sequence[Entry]) -> str:
    """Summary line: `3 entries, 0.12 of at most 39.1 GiB, in /home/me/.cache/thaw`."""
    if not held:
        return f"nothing in {cache_folder()}"
    total = sum(entry.bytes for entry in held)
    many = "entry" if len(held) == 1 else "entries"
    return f"{len(held)} {many}, {_gib(total)} of at most {_gib(limit(held))} GiB, in {cache_folder()}"


def damaged(held: Sequence[Entry]) -> list[Entry]:
    """Entries whose content is no longer what was written; reads all of them in full."""
    return [entry for entry in held if is_damaged(entry)]


def outdated(held: Sequence[Entry]) -> list[Entry]:
    """Entries whose files have changed or are gone since they were decoded; they are not used any more."""
    from trainables.data.store.config_stores import is_outdated

    return [entry for entry in held if entry.own.get("origin") and is_outdated(entry.own["key"], entry.own["origin"])]


def named(entry: Entry) -> str:
    """Name of an entry in messages: `images-96px-….npy (folder /photos, 96 px)`."""
    return printable(f"{entry.array.name} ({entry.source}, {entry.what})")


def clear(which: str, *, now: datetime | None = None) -> Iterator[tuple[Entry, bool]]:
    """Removes entries and yields each of them, with True if it was removed.

    Args:
        which: `all`, `damaged`, or an age such as `12h`, `30d` or `8w`, for entries that were not used for that long.
        now: time from which the age counts; by default the current time.
    Raises:
        InputError: if `which` is none of these.
    """
    age = re.fullmatch(r"(\d{1,5})([hdw])", which)
    held = entries()
    if age:
        since = (now or datetime.now(UTC)) - timedelta(hours=int(age[1]) * _HOURS[age[2]])
        held = [entry for entry in held if entry.last_used < since]
    elif which == "damaged":
        held = damaged(held)
    elif which != "all":
        raise InputError(f"--clear {which}: valid are all, damaged, or an age such as 12h, 30d or 8w")
    return ((entry, remove(entry)) for entry in held)


def _gib(size: int) -> str:
    return f"{size / 2**30:.3g}"
