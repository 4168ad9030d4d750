"""The cache folder: what is computed once and kept, up to a number of bytes, for every process on the node.

An entry is an array file with its facts beside it as JSON. It counts once the facts are there and the array has the size
that they say: facts are written last and removed first. When a new entry needs room, those go that were opened longest
ago. Nobody is asked whether they are in use: on Linux a mapped file stays readable after it was removed, until the last
process lets go of it, and who opens it anew computes it again.
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
"""Of what the disk has free beside the cache: what entries may take together where `THAW_CACHE_GIB` does not say."""
_NAME = re.compile(r"[\w.-]+-[0-9a-f]{20}\.npy")
"""Of an array; nothing else in the folder is touched."""


class CacheFullError(OSError):
    """What is to be kept is larger than all that may be kept."""


@dataclass(frozen=True)
class Entry:
    """An array that is whole, and what is known of it."""

    array: Path
    kind: str
    """What it holds: `images`."""
    source: str
    """Where that comes from, for people: kind and path."""
    what: str
    """What tells it from others of this kind and source: `96 px`."""
    images: int
    """Number of images it was made of."""
    bytes: int
    """Size of the array file."""
    sha256: str
    """Of the array file, hex."""
    own: dict[str, Any] = field(default_factory=dict)
    """Facts that this kind needs itself; plain JSON."""
    last_used: datetime = field(default_factory=lambda: datetime.now(UTC))
    """When it was last found or made."""


def cache_folder() -> Path:
    """Where entries lie: `THAW_CACHE`, else `~/.cache/thaw`."""
    return Path(os.environ.get("THAW_CACHE") or "~/.cache/thaw").expanduser()


def entry_path(name: str, key: str) -> Path:
    """The array file of an entry.

    Args:
        name: for people, as in `images-96px`: letters, digits, `_`, `.` and `-`.
        key: changes whenever the array's content would.
    """
    path = cache_folder() / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:20]}.npy"
    assert _NAME.fullmatch(path.name), path.name
    return path


@contextlib.contextmanager
def temporary() -> Iterator[None]:
    """Entries that are made inside are gone afterwards, and those outside are not seen."""
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
    """The entry, if it is there and whole; from now on it is the one that was used last."""
    if entry := _read(array):
        with contextlib.suppress(
            OSError
        ):  # a cache that is read-only, or that another user filled, serves all the same
            os.utime(_facts_file(array))
    return entry


@contextlib.contextmanager
def building(*arrays: Path, wait: bool = True) -> Iterator[None]:
    """Only one process at a time is inside for the same array; there it may find that another was faster.

    What a killed build left is gone. To be done inside: `find`, else `make_room`, write the array with `replacing`, `add`.

    Args:
        wait: for another that is inside.
    Raises:
        Timeout: if another is inside, and this one shall not wait.
    """
    cache_folder().mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as locks:
        for array in sorted(arrays):  # always in this order, or two builds could wait for each other
            locks.enter_context(FileLock(_lock_file(array), timeout=-1 if wait else 0))
        for array in arrays:
            _tidy(array)
        yield


def add(array: Path, *, kind: str, source: str, what: str, images: int, own: dict[str, Any]) -> None:
    """Makes an array that was just written an entry; the arguments are those of `Entry`."""
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
    # Again: builds that went on at the same time made room without knowing of each other.
    with _room_lock():
        held = entries()
        others = [entry for entry in held if entry.array != array]
        _shrink(others, limit(held) - array.stat().st_size)


def _read(array: Path) -> Entry | None:
    """The entry, if it is there and whole."""
    facts = _facts_file(array)
    try:
        known = json.loads(facts.read_text("utf-8"))
        entry = Entry(array, last_used=datetime.fromtimestamp(facts.stat().st_mtime, UTC), **known)
        return entry if array.stat().st_size == entry.bytes else None
    except (FileNotFoundError, ValueError, TypeError):
        return None


# --- room -----------------------------------------------------------------------------------------------------------


def entries() -> list[Entry]:
    """All entries, the one that was used longest ago first."""
    arrays = [path for path in cache_folder().glob("*.npy") if _NAME.fullmatch(path.name)]
    return sorted(filter(None, map(_read, arrays)), key=lambda entry: (entry.last_used, entry.array))


def make_room(size: int, *, beside: Collection[Path] = ()) -> None:
    """Removes what was used longest ago until a new entry fits, and what killed builds left.

    Args:
        size: bytes that will be added.
        beside: arrays that are needed together with the new one; they stay.
    Raises:
        CacheFullError: if it cannot fit, not even alone with `beside`; nothing is removed then.
        ConfigError: at `THAW_CACHE_GIB`, if that is no size.
    """
    with _room_lock():
        _sweep()
        held = entries()
        most = limit(held)
        others = [entry for entry in held if entry.array not in beside]
        needed = size + sum(entry.bytes for entry in held) - sum(entry.bytes for entry in others)
        if needed > most:
            given = os.environ.get("THAW_CACHE_GIB")
            allowed = (
                f"THAW_CACHE_GIB={given} allows"
                if given
                else f"{most / _GIB:.3g} GiB, half of what its disk has free; THAW_CACHE_GIB sets another limit"
            )
            raise CacheFullError(
                f"{needed / _GIB:.3g} GiB would have to be kept in {cache_folder()}: more than {allowed}"
            )
        _shrink(others, most - needed)


def remove(entry: Entry) -> bool:
    """Removes an entry; False where it cannot go: it is being built anew, or belongs to another user."""
    try:
        with FileLock(_lock_file(entry.array), timeout=0):
            _facts_file(entry.array).unlink(missing_ok=True)  # first, because it is what makes the array count
            _tidy(entry.array)
    except (Timeout, PermissionError):
        return False
    return True


def is_damaged(entry: Entry) -> bool:
    """Whether the array is no longer what was written; reads all of it. What was removed meanwhile is not damaged."""
    try:
        with entry.array.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() != entry.sha256
    except FileNotFoundError:
        return False


def _shrink(held: list[Entry], most: int) -> None:
    """Removes entries, those used longest ago first, until `most` bytes are held or none is left."""
    total = sum(entry.bytes for entry in held)
    for entry in held:
        if total <= most:
            return
        total -= entry.bytes if remove(entry) else 0


def limit(held: Sequence[Entry]) -> int:
    """Bytes that all entries may take, given those that there are.

    Raises:
        ConfigError: at `THAW_CACHE_GIB`, if that is no size.
    """
    if given := os.environ.get("THAW_CACHE_GIB"):
        try:
            gib = float(given)
        except ValueError:
            gib = math.nan
        if not 0 < gib < math.inf:
            raise ConfigError([Problem(("THAW_CACHE_GIB",), f"{given!r} is no number of GiB above 0")])
        return int(gib * _GIB)
    return int(_SHARE_OF_DISK * (shutil.disk_usage(cache_folder()).free + sum(entry.bytes for entry in held)))


def _room_lock() -> FileLock:
    """One process at a time counts and removes. Who holds it waits for no other lock."""
    cache_folder().mkdir(parents=True, exist_ok=True)
    return FileLock(cache_folder() / "room.lock")


# --- what is left behind --------------------------------------------------------------------------------------------


def _sweep() -> None:
    """Tidies up after builds that were killed."""
    for lock in cache_folder().glob("*.npy.lock"):
        array = lock.with_suffix("")
        # Timeout: it is being built.
        with contextlib.suppress(Timeout, PermissionError), FileLock(lock, timeout=0):
            if _NAME.fullmatch(array.name):
                _tidy(array)


def _tidy(array: Path) -> None:
    """Removes what belongs to no whole entry; the caller holds the array's lock."""
    left = list(array.parent.glob(f".{array.name}.*"))
    if _read(array) is None:
        left += [array, *(path for path in array.parent.glob(f"{array.name}.*") if path != _lock_file(array))]
    for path in left:
        path.unlink(missing_ok=True)


def _facts_file(array: Path) -> Path:
    return array.with_name(f"{array.name}.json")


def _lock_file(array: Path) -> Path:
    # Stays when the entry goes: one that is removed while another process waits for it would hold nobody off.
    return array.with_name(f"{array.name}.lock")
