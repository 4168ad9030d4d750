"""Cache folder: results that are computed once and shared by all processes on the node, up to a size limit.

An entry is an array file and a JSON file with its facts. It is valid once the facts exist and the array has the size they
state: facts are written last and removed first. When a new entry needs room, the least recently used entries are deleted
first. Processes already reading them are unaffected: on Linux a mapped file stays readable after its removal until the last
process closes it. A process that opens it later computes it again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from trainables.core.atomic_write import replacing
from trainables.core.config_errors import ConfigError, Problem

_GIB = 2**30
_SHARE_OF_DISK = 0.5
"""Share of the disk space that is free or taken by entries: as much as they may use, unless `THAW_CACHE_GIB` sets a limit."""
STREAMED = "streamed"
"""Kind of entries that do not count against the limit: they are tiny, and to replace one, all images would be decoded again."""
_NAME = re.compile(r"[\w.-]+-[0-9a-f]{20}\.npy")
"""Pattern of array file names; no other file in the folder is touched."""


class CacheFullError(OSError):
    """A new entry is larger than the cache limit."""


@dataclass(frozen=True)
class Entry:
    """A complete array file and its facts."""

    array: Path
    kind: str
    """Kind of content: `images`, `features` or `streamed`."""
    source: str
    """Source of the content, for people: kind and path."""
    what: str
    """Difference from other entries of the same kind and source, for people: `96 px`."""
    images: int
    """Number of images the content was computed from."""
    bytes: int
    """Size of the array file, in bytes."""
    sha256: str
    """SHA-256 of the array file, in hex."""
    own: dict[str, Any] = field(default_factory=dict)
    """Further facts for the code that reads this kind; plain JSON."""
    last_used: datetime = field(default_factory=lambda: datetime.now(UTC))
    """Time when the entry was last found or written."""


def cache_folder() -> Path:
    """Folder of all entries: `THAW_CACHE`, else `~/.cache/thaw`."""
    return Path(os.environ.get("THAW_CACHE") or "~/.cache/thaw").expanduser()


def entry_path(name: str, key: str) -> Path:
    """Path of an entry's array file.

    Args:
        name: readable part of the file name, like `images-96px`: letters, digits, `_`, `.` and `-`.
        key: text that differs whenever the array's content would.
    """
    path = cache_folder() / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:20]}.npy"
    assert _NAME.fullmatch(path.name), path.name
    return path


@contextlib.contextmanager
def temporary() -> Iterator[None]:
    """Uses an empty cache folder inside the context and removes it afterwards."""
    before = os.environ.get("THAW_CACHE")
    with tempfile.TemporaryDirectory(prefix="thaw-cache-") as folder:
        os.environ["THAW_CACHE"] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ["THAW_CACHE"]
            else:
                os.environ["THAW_CACHE"] = before


# --- finding and making ---------------------------------------------------------------------------------------------


def find(array: Path) -> Entry | None:
    """Returns the entry if it is complete, and marks it as the most recently used one; otherwise None."""
    if entry := _read(array):
        with contextlib.suppress(OSError):  # a read-only cache, or one of another user, can still be read
            os.utime(_facts_file(array))
    return entry


@contextlib.contextmanager
def building(*arrays: Path, wait: bool = True) -> Iterator[None]:
    """Locks arrays so that only one process builds each of them at a time, and removes the remains of killed builds.

    Call inside: `find`, because another process may have been faster; else `make_room`, write the array with `replacing`, and
    `add`.

    Args:
        arrays: array files to build together.
        wait: wait for a process that holds one of the locks.
    Raises:
        Timeout: if another process holds a lock and `wait` is False.
    """
    cache_folder().mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as locks:
        for array in sorted(arrays):  # in a fixed order, or two builds could wait for each other
            locks.enter_context(FileLock(_lock_file(array), timeout=-1 if wait else 0))
        for array in arrays:
            _tidy(array)
        yield


def add(array: Path, *, kind: str, source: str, what: str, images: int, own: dict[str, Any]) -> None:
    """Makes a newly written array an entry.

    Args:
        array, kind, source, what, images, own: see `Entry`.
    """
    with array.open("rb") as file:
        facts = {
            "kind": kind,
            "source": source,
            "what": what,
            "images": images,
            "bytes": array.stat().st_size,
            "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
            "own": own,
        }
    with replacing(_facts_file(array)) as file:
        json.dump(facts, file)
    # Again, because builds that ran at the same time made room without knowing of each other.
    with _room_lock():
        existing = _counted()
        others = [entry for entry in existing if entry.array != array]
        _shrink(others, limit(existing) - array.stat().st_size)


def _read(array: Path) -> Entry | None:
    """Returns the entry if it is complete, otherwise None."""
    facts = _facts_file(array)
    try:
        known = json.loads(facts.read_text("utf-8"))
        entry = Entry(array, last_used=datetime.fromtimestamp(facts.stat().st_mtime, UTC), **known)
        return entry if array.stat().st_size == entry.bytes else None
    except (FileNotFoundError, ValueError, TypeError):
        return None


# --- room -----------------------------------------------------------------------------------------------------------


def entries() -> list[Entry]:
    """All entries, least recently used first."""
    arrays = [path for path in cache_folder().glob("*.npy") if _NAME.fullmatch(path.name)]
    return sorted(filter(None, map(_read, arrays)), key=lambda entry: (entry.last_used, entry.array))


def _counted() -> list[Entry]:
    """Entries that count against the limit, and can be removed for others."""
    return [entry for entry in entries() if entry.kind != STREAMED]


def make_room(size: int, *, beside: Collection[Path] = ()) -> None:
    """Removes the least recently used entries until a new one fits, and the remains of killed builds.

    Args:
        size: bytes that will be added.
        beside: arrays that are needed together with the new one and are not removed.
    Raises:
        CacheFullError: if the new entry would not fit even alone with `beside`; nothing is removed then.
        ConfigError: at `THAW_CACHE_GIB`, if that is not a size.
    """
    with _room_lock():
        _sweep()
        existing = _counted()
        most = limit(existing)
        others = [entry for entry in existing if entry.array not in beside]
        needed = size + sum(entry.bytes for entry in existing) - sum(entry.bytes for entry in others)
        if needed > most:
            given = os.environ.get("THAW_CACHE_GIB")
            allowed = (
                f"THAW_CACHE_GIB={given} allows"
                if given
                else f"{most / _GIB:.3g} GiB, half of the free disk space; set THAW_CACHE_GIB to change this limit"
            )
            raise CacheFullError(f"{needed / _GIB:.3g} GiB are needed in {cache_folder()}: more than {allowed}")
        _shrink(others, most - needed)


def remove(entry: Entry) -> bool:
    """Removes an entry; returns False if it cannot: it is being built again, or belongs to another user."""
    try:
        with FileLock(_lock_file(entry.array), timeout=0):
            _facts_file(entry.array).unlink(missing_ok=True)  # first: without facts, the array is not an entry
            _tidy(entry.array)
    except (Timeout, PermissionError):
        return False
    return True


def is_damaged(entry: Entry) -> bool:
    """Returns True if the array differs from what was written; reads all of it. A removed array is not damaged."""
    try:
        with entry.array.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() != entry.sha256
    except FileNotFoundError:
        return False


def _shrink(existing: list[Entry], most: int) -> None:
    """Removes entries, in the given order, until the others take at most `most` bytes or none is left."""
    total = sum(entry.bytes for entry in existing)
    for entry in existing:
        if total <= most:
            return
        total -= entry.bytes if remove(entry) else 0


def limit(held: Sequence[Entry]) -> int:
    """Size limit of the cache in bytes: `THAW_CACHE_GIB`, else half of the disk space that is free or taken by entries.

    Args:
        held: all entries there are.
    Raises:
        ConfigError: at `THAW_CACHE_GIB`, if that is not a size.
    """
    if given := os.environ.get("THAW_CACHE_GIB"):
        try:
            gib = float(given)
        except ValueError:
            gib = math.nan
        if not 0 < gib < math.inf:
            raise ConfigError([Problem(("THAW_CACHE_GIB",), f"{given!r} is not a number of GiB above 0")])
        return int(gib * _GIB)
    return int(_SHARE_OF_DISK * (shutil.disk_usage(cache_folder()).free + sum(entry.bytes for entry in held)))


def _room_lock() -> FileLock:
    """Lock under which entries are counted and removed. Its holder waits for no other lock, so it cannot deadlock."""
    cache_folder().mkdir(parents=True, exist_ok=True)
    return FileLock(cache_folder() / "room.lock")


# --- remains of killed builds ---------------------------------------------------------------------------------------


def _sweep() -> None:
    """Removes the remains of all killed builds."""
    for lock in cache_folder().glob("*.npy.lock"):
        array = lock.with_suffix("")
        # Timeout: another process is building it.
        with contextlib.suppress(Timeout, PermissionError), FileLock(lock, timeout=0):
            if _NAME.fullmatch(array.name):
                _tidy(array)


def _tidy(array: Path) -> None:
    """Removes temporary files, and all files of an incomplete entry; the caller holds the array's lock."""
    left = list(array.parent.glob(f".{array.name}.*"))
    if _read(array) is None:
        left += [array, *(path for path in array.parent.glob(f"{array.name}.*") if path != _lock_file(array))]
    for path in left:
        path.unlink(missing_ok=True)


def _facts_file(array: Path) -> Path:
    return array.with_name(f"{array.name}.json")


def _lock_file(array: Path) -> Path:
    # Not removed with the entry: a lock file that is deleted while another process waits for it no longer excludes anyone.
    return array.with_name(f"{array.name}.lock")
