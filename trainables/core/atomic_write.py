"""Write a file whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any


@contextlib.contextmanager
def replacing(path: Path, mode: str = "w", *, sync: bool = True) -> Iterator[IO[Any]]:
    """Opens a temporary file that replaces `path` when the block succeeds and is deleted when it fails.

    Args:
        path: file to write; missing folders are made.
        mode: `w` or `wb`.
        sync: wait until the data are on disk, so that the file is whole even after a power cut. A killed process does not need it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    encoding = None if "b" in mode else "utf-8"
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, mode, encoding=encoding) as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
