"""Where files lie: on disk, or behind a URL that fsspec knows, such as s3://, https:// or memory://."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np

from trainables.core.config_errors import ConfigError, Problem, listed

Place = str | Path
"""A URL, or a path on disk."""
_T = TypeVar("_T")

_AT_ONCE = 32
"""Requests under way: they wait for the network, not for a core."""
_ASKED_TOGETHER = 5_000
"""Files on disk whose sizes and times are one request."""
_GONE = np.iinfo(np.int64).min
"""The time of change of what does not exist."""


def is_url(place: Place) -> bool:
    return isinstance(place, str) and "://" in place


def absolute(path: str) -> str:
    """Path made independent of the working directory. Links are not resolved: the images of a linked table are beside the link."""
    return path if is_url(path) else str(Path(path).expanduser().absolute())


def is_there(place: str) -> bool:
    """Whether a file or folder exists.

    Raises:
        OSError: if that cannot be found out.
    """
    if not is_url(place):
        return Path(place).exists()
    return bool(_asked(lambda system, path: system.exists(path), place))


def joined(folder: str, name: str) -> str:
    """A file's URL from that of its folder, where it is no URL already."""
    return name if is_url(name) else f"{folder.rstrip('/')}/{name.lstrip('/')}"


def folder_of(file: str) -> str:
    """Of a URL, or of an absolute path."""
    return file.rpartition("/")[0] or "/"


@contextmanager
def opened(place: Place, *, whole: bool = True) -> Iterator[BinaryIO]:
    """A file to read and to seek in.

    Args:
        whole: one behind a URL is fetched at once; else only what is read of it, where its server can do that.
    """
    if is_url(place):
        yield io.BytesIO(read_bytes(str(place))) if whole else _asked(_in_parts, str(place))
    else:
        with open(place, "rb") as file:  # noqa: PTH123  a million Path objects take seconds
            yield file


def _in_parts(system: Any, path: str) -> Any:
    file = system.open(path, "rb")
    try:
        file.seek(-1, io.SEEK_END)
        file.read(1)
        file.seek(0)
    except (ValueError, OSError):  # a web server that sends files from their start only
        return io.BytesIO(system.cat_file(path))
    return file


def read_bytes(url: str) -> bytes:
    """What a file holds.

    Raises:
        OSError: as all functions here, if that cannot be found out, whatever the reason.
    """
    content: bytes = _asked(lambda system, path: system.cat_file(path), url)
    return content


def files_below(folder: str) -> list[str]:
    """URLs of the visible files at any depth, in the order of their names."""

    def listing(system: Any, path: str) -> list[str]:
        if not system.isdir(path):
            raise FileNotFoundError("is not a folder" if system.exists(path) else "does not exist, or is empty")
        below = [name.removeprefix(path).lstrip("/") for name in system.find(path)]
        return sorted(name for name in below if name and not any(part.startswith(".") for part in name.split("/")))

    return [joined(folder, name) for name in _asked(listing, folder)]


def facts_of(urls: Sequence[str]) -> list[bytes | None]:
    """A hash of what is known of each file without reading it: size, time of change, checksum; None: it does not exist."""

    def fact(url: str) -> bytes | None:
        try:
            known = _asked(lambda system, path: system.info(path), url)
        except FileNotFoundError:
            return None
        # As fsspec's own `ukey` does it; its version for HTTP looks at the URL alone.
        return hashlib.sha256(f"{url}\0{sorted(known.items(), key=str)}".encode()).digest()

    return at_once(fact, urls)


def file_facts(files: Sequence[str], folder: str) -> tuple[list[str], bytes]:
    """Where images lie, and a hash of each one's place, size and time of change.

    Args:
        folder: a path or a URL that the files' paths start from; those that are URLs stand for themselves.
    Raises:
        ConfigError: at `data.columns.path`, with the files that do not exist.
    """
    places = _places_of(files, folder)
    remote = [i for i, place in enumerate(places) if "://" in place]
    on_disk = np.delete(np.arange(len(places)), remote)
    numbers = np.zeros((len(places), 2), "<i8")
    numbers[on_disk] = sizes_and_times([places[i] for i in on_disk.tolist()])
    known = facts_of([places[i] for i in remote]) if remote else []
    gone = np.flatnonzero(numbers[:, 1] == _GONE).tolist()
    gone += [i for i, fact in zip(remote, known, strict=True) if fact is None]
    missing = [files[i] for i in sorted(gone)]
    if missing:
        names = listed([repr(file) for file in missing])
        message = f"{len(missing)} of {len(files)} image files are not in {folder}: {names}"
        raise ConfigError([Problem(("data", "columns", "path"), message)])
    digest = hashlib.sha256(os.fsencode("\0".join(places)))
    digest.update(numbers.tobytes())
    digest.update(b"".join(fact for fact in known if fact))
    return places, digest.digest()


def _places_of(files: Sequence[str], folder: str) -> list[str]:
    if is_url(folder):
        return [joined(folder, file) for file in files]
    root = f"{folder}/"  # as os.path.join does it, which takes a second for a million
    return [file if file.startswith("/") or "://" in file else root + file for file in files]


def sizes_and_times(paths: Sequence[str]) -> np.ndarray:
    """Size in bytes and time of change in nanoseconds of each file on disk, [n, 2] int64; the smallest number there is as the
    time of one that does not exist."""
    parts = [paths[start : start + _ASKED_TOGETHER] for start in range(0, len(paths), _ASKED_TOGETHER)]
    return np.concatenate([np.zeros((0, 2), np.int64), *at_once(_sizes_and_times, parts)])


def _sizes_and_times(paths: Sequence[str]) -> np.ndarray:
    import pyarrow.fs

    try:
        # Looks without the GIL, so that threads look at once: on all cores, and where a network's disk lets them wait.
        found = pyarrow.fs.LocalFileSystem().get_file_info(paths)
    except (OSError, ValueError):  # a name too long, say, or with a zero byte: which one, Arrow does not tell
        return np.array([_size_and_time(path) for path in paths], np.int64)
    times = (_GONE if info.mtime_ns is None else info.mtime_ns for info in found)
    sizes = (info.size or 0 for info in found)  # a folder has none
    return np.column_stack([np.fromiter(numbers, np.int64, len(found)) for numbers in (sizes, times)])


def _size_and_time(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):
        return 0, _GONE
    return status.st_size, status.st_mtime_ns


def at_once(work: Callable[[Any], _T], items: Sequence[Any]) -> list[_T]:
    """[work(item), …], many at a time: for what waits for the network."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(work, items))


def _asked(question: Callable[[Any, str], Any], url: str) -> Any:
    """What a file system answers, asked anew: what it may remember of listings can be older than the file."""
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(url, use_listings_cache=False)
        return question(system, path)
    except OSError:
        raise
    except Exception as error:  # each protocol has errors of its own; a missing package is an ImportError
        raise OSError(f"{error or type(error).__name__}") from error
