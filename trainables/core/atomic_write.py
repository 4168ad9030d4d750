"""Write a file, or lines at its end, whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

_UMASK = os.umask(0)
os.umask(_UMASK)  # it can only be read by setting it, which is not safe beside threads
FILE_MODE, FOLDER_MODE = 0o666 & ~_UMASK, 0o777 & ~_UMASK
"""Permissions of new files and folders. `tempfile` gives them to their owner alone."""
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_STANDARD = {1: "stdout", 2: "stderr"}
"""Descriptors of this process's output -> name of the stream in `sys`."""


@contextlib.contextmanager
def replacing(path: Path, mode: str = "w", *, sync: bool = True) -> Iterator[IO[Any]]:
    """Opens a temporary file that replaces `path` when the block succeeds and is deleted when it fails.

    A link stays, and the file that it names is replaced. A stream (`is_stream`) is written as it is.

    Args:
        path: file to write; missing folders are made.
        mode: `w` or `wb`.
        sync: wait until the data are on disk, so that the file is whole even after a power cut. A killed process does not need it.
    """
    # backslashreplace: names of files may be no UTF-8.
    text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "errors": "backslashreplace"}
    if is_stream(path):
        with os.fdopen(_open_stream(path), mode, **text) as file:
            yield file
        return
    if path.is_symlink():
        path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        error.filename = str(path)  # not the temporary file's
        raise
    temporary = Path(name)
    try:
        with naming(path), os.fdopen(handle, mode, **text) as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        temporary.chmod(FILE_MODE)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def append_whole(path: Path, content: str | bytes) -> None:
    """Appends text or bytes to a file. If that fails, as on a full disk, nothing of it stays.

    Raises:
        OSError: naming the file.
    """
    with naming(path), path.open("ab", buffering=0) as file:
        size, left = (
            os.fstat(file.fileno()).st_size,
            memoryview(content if isinstance(content, bytes) else content.encode()),
        )
        try:
            while left:
                left = left[file.write(left) :]
        except BaseException:
            os.ftruncate(file.fileno(), size)
            raise


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Adds the path to the errors of a full disk, which name no file."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno in _FULL:
            error.filename = str(path)
        raise


def is_stream(path: Path) -> bool:
    """True for a pipe, a device, or this process's own output under any name, such as `/dev/stdout`."""
    try:
        kind = path.stat().st_mode
    except OSError:
        return False
    return _standard_at(path) is not None or not (stat.S_ISREG(kind) or stat.S_ISDIR(kind))


def _standard_at(path: Path) -> int | None:
    """Descriptor of this process's output that a path leads to; None if it leads elsewhere."""
    for descriptor in _STANDARD:
        with contextlib.suppress(OSError):
            if os.path.samestat(path.stat(), os.fstat(descriptor)):
                return descriptor
    return None


def _open_stream(path: Path) -> int:
    own = _standard_at(path)
    if own is None:
        return os.open(path, os.O_WRONLY)
    # Not opened again: what else is printed would overwrite it where the output is a file.
    getattr(sys, _STANDARD[own]).flush()
    return os.dup(own)
