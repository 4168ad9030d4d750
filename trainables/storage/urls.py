"""Access to files on disk or behind a URL that fsspec supports, such as s3://, https:// or memory://."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

import numpy as np

Place = str | Path
"""A URL, or a path on disk."""
_T = TypeVar("_T")

_PARALLEL_REQUESTS = 32
"""Threads for requests. More than there are cores, because they wait for the network."""
_FILES_PER_REQUEST = 5_000
"""Files on disk whose states are read in one request."""
_GONE = (np.iinfo(np.int64).min,) * 4
"""State of a file that does not exist."""


def is_url(place: Place) -> bool:
    """Returns True for a URL, False for a path on disk."""
    return isinstance(place, str) and "://" in place


def absolute(path: str) -> str:
    """Path made independent of the working directory. Links are not resolved: the images of a linked table are beside the link."""
    return path if is_url(path) else str(Path(path).expanduser().absolute())


def exists(place: str) -> bool:
    """Returns True if a file or folder exists.

    Raises:
        OSError: if this cannot be determined.
    """
    if not is_url(place):
        return Path(place).exists()
    return bool(_answer(lambda system, path: system.exists(path), place))


def joined(folder: str, name: str) -> str:
    """URL of a file from that of its folder; a name that is a URL itself is returned unchanged."""
    return name if is_url(name) else f"{folder.rstrip('/')}/{name.lstrip('/')}"


def folder_of(file: str) -> str:
    """Folder of a file, given as a URL or an absolute path."""
    return file.rpartition("/")[0] or "/"


@contextmanager
def opened(place: Place, *, whole: bool = True) -> Iterator[BinaryIO]:
    """Opens a file for reading and seeking.

    Args:
        place: path or URL.
        whole: fetch a file behind a URL completely; otherwise only the parts that are read, if its server supports that.
    """
    if is_url(place):
        yield io.BytesIO(read_bytes(str(place))) if whole else _answer(_in_parts, str(place))
    else:
        with open(place, "rb") as file:  # noqa: PTH123  a million Path objects take seconds
            yield file


def _in_parts(system: Any, path: str) -> Any:
    file = system.open(path, "rb")
    try:
        file.seek(-1, io.SEEK_END)
        file.read(1)
        file.seek(0)
    except (ValueError, OSError):  # the web server can only send files from the start
        return io.BytesIO(system.cat_file(path))
    return file


def read_bytes(url: str) -> bytes:
    """Reads a file's content.

    Raises:
        OSError: as all functions here, if the file cannot be accessed for any reason.
    """
    content: bytes = _answer(lambda system, path: system.cat_file(path), url)
    return content


def files_below(folder: str) -> list[str]:
    """URLs of the visible files at any depth, sorted by name."""

    def listing(system: Any, path: str) -> list[str]:
        if not system.isdir(path):
            raise FileNotFoundError("is not a folder" if system.exists(path) else "does not exist, or is empty")
        below = [name.removeprefix(path).lstrip("/") for name in system.find(path)]
        return sorted(name for name in below if name and not any(part.startswith(".") for part in name.split("/")))

    return [joined(folder, name) for name in _answer(listing, folder)]


def remote_facts(urls: Sequence[str]) -> list[bytes | None]:
    """Hash of each file's size, time of change, checksum and other metadata, without reading it; None if it does not exist."""

    def fact(url: str) -> bytes | None:
        try:
            known = _answer(lambda system, path: system.info(path), url)
        except FileNotFoundError:
            return None
        # Like fsspec's `ukey`, whose version for HTTP hashes the URL alone.
        return hashlib.sha256(f"{url}\0{sorted(known.items(), key=str)}".encode()).digest()

    return in_threads(fact, urls)


class FileFacts(NamedTuple):
    """Facts about files by which a change is noticed, without reading the files."""

    states: np.ndarray
    """[n, 4] int64, see `file_states`; -1 for files behind URLs."""
    gone: list[int]
    """Positions of files that do not exist, ascending."""
    digest: bytes
    """Hash of the place and state of all files."""


def file_facts(places: Sequence[Place]) -> FileFacts:
    """Facts about files on disk and behind URLs."""
    remote = [i for i, place in enumerate(places) if is_url(place)]
    on_disk = np.delete(np.arange(len(places)), remote)
    states = np.full((len(places), 4), -1, "<i8")
    states[on_disk] = file_states([places[i] for i in on_disk.tolist()])
    known = remote_facts([str(places[i]) for i in remote]) if remote else []
    gone = np.flatnonzero(states[:, 0] == _GONE[0]).tolist()
    gone += [i for i, fact in zip(remote, known, strict=True) if fact is None]
    # The whole path: two unpacked archives can have the same names, sizes and times, and a wrong hit is worse than decoding twice.
    digest = hashlib.sha256(os.fsencode("\0".join(map(str, places))))
    digest.update(states.tobytes())
    digest.update(b"".join(fact or b"gone" for fact in known))
    return FileFacts(states, sorted(gone), digest.digest())


def places_of(files: Sequence[str], folder: str) -> list[str]:
    """Places of files.

    Args:
        files: paths relative to `folder`, absolute paths or URLs.
        folder: path or URL of the folder.
    """
    if is_url(folder):
        return [joined(folder, file) for file in files]
    root = f"{folder}/"  # instead of os.path.join, which takes a second for a million paths
    return [file if file.startswith("/") or "://" in file else root + file for file in files]


def file_states(paths: Sequence[Place]) -> np.ndarray:
    """States of files on disk, [n, 4] int64: size, times in ns at which content and name changed last, and inode. All are the
    smallest int64 if a file does not exist.

    Files swapped by renaming keep their size and the time of their content, but not the time of their name. Files in folders that
    are swapped keep that too, but not their inodes.
    """
    parts = [paths[start : start + _FILES_PER_REQUEST] for start in range(0, len(paths), _FILES_PER_REQUEST)]
    # In threads, because a network drive makes each request wait.
    return np.concatenate([np.zeros((0, 4), np.int64), *in_threads(_file_states, parts)])


def _file_states(paths: Sequence[Place]) -> np.ndarray:
    return np.array([_file_state(path) for path in paths], np.int64)


def _file_state(path: Place) -> tuple[int, ...]:
    try:
        status = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):  # ValueError: the name has a zero byte
        return _GONE
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino & np.iinfo(np.int64).max


def in_threads(work: Callable[[Any], _T], items: Sequence[Any]) -> list[_T]:
    """Returns [work(item), …], computed by many threads: for work that waits for the network."""
    with ThreadPoolExecutor(_PARALLEL_REQUESTS) as pool:
        return list(pool.map(work, items))


def _answer(question: Callable[[Any, str], Any], url: str) -> Any:
    """Calls question(file system, path) for a URL, without fsspec's cached listings, which can be older than the file."""
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(url, use_listings_cache=False)
        return question(system, path)
    except OSError:
        raise
    except Exception as error:  # each protocol has its own exceptions; a missing package raises ImportError
        raise OSError(f"{error or type(error).__name__}") from error
