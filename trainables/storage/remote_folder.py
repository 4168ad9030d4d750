"""`RemoteFolder`: files below a URL or path that fsspec supports, written whole or not at all."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from trainables.storage.destination import without_passwords
from trainables.storage.urls import in_threads


class RemoteFolder:
    """A remote folder, whose files are named by their paths below it, such as `trials/0007/trial.json`.

    Errors of the protocol are raised as `OSError` with the same message.
    """

    def __init__(self, url: str):
        """Connects to the folder, which need not exist yet.

        Raises:
            OSError: if no installed package supports the URL.
        """
        self.url = without_passwords(url.rstrip("/"))
        with _as_os_error():
            # No cache of listings, because other processes write there, too.
            self._system, self._root = fsspec.core.url_to_fs(url.rstrip("/"), use_listings_cache=False)
        self._made: set[str] = set()

    @property
    def on_disk(self) -> Path | None:
        """Path of the folder if it is on this machine; None otherwise."""
        return Path(self._root) if isinstance(self._system, LocalFileSystem) else None

    def sizes(self) -> dict[str, int]:
        """Sizes of all files at any depth, in bytes, by name; empty if there is no such folder."""
        with _as_os_error():
            self._system.invalidate_cache()
            found = self._system.find(self._root, detail=True)
        start = f"{self._root.rstrip('/')}/"
        return {path.removeprefix(start): entry["size"] for path, entry in found.items() if path.startswith(start)}

    def read(self, name: str) -> bytes | None:
        """Returns the content of a file; None if it does not exist."""
        with _as_os_error():
            try:
                content: bytes = self._system.cat_file(self._path(name))
            except FileNotFoundError:
                return None
        return content

    def fetch(self, files: Mapping[str, Path]) -> None:
        """Downloads files to paths on disk, many at a time. Skips files that no longer exist."""

        def bring(file: tuple[str, Path]) -> None:
            name, place = file
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._system.get_file(self._path(name), str(place))
            except FileNotFoundError:
                place.unlink(missing_ok=True)

        with _as_os_error():
            in_threads(bring, list(files.items()))

    def write(self, files: Mapping[str, bytes]) -> None:
        """Writes files, many at a time and in no order. The parent of this folder must exist, if the file system has folders."""
        with _as_os_error():
            for name in files:
                self._make_folder(name.rpartition("/")[0])
            in_threads(lambda file: write_whole(self._system, self._path(file[0]), file[1]), list(files.items()))

    def remove(self, names: Iterable[str]) -> None:
        """Removes files; ignores those that do not exist."""

        def delete(name: str) -> None:
            with suppress(FileNotFoundError):
                self._system.rm_file(self._path(name))

        with _as_os_error():
            in_threads(delete, list(names))

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    def _make_folder(self, name: str) -> None:
        # Object stores have no folders, and mkdir would create a bucket for a misspelt name.
        if self._system.async_impl or name in self._made:
            return
        if name:
            self._make_folder(name.rpartition("/")[0])
        with suppress(FileExistsError):
            self._system.mkdir(self._path(name).rstrip("/"), create_parents=False)
        self._made.add(name)


def write_whole(system: fsspec.AbstractFileSystem, path: str, content: bytes) -> None:
    """Writes a file that appears whole or not at all.

    Args:
        system: file system to write to.
        path: path of the file on it.
        content: content of the file.
    """
    if system.async_impl:  # object stores never show a partial object
        system.pipe_file(path, content)
        return
    folder, _, name = path.rpartition("/")
    temporary = f"{folder}/.{name}.{uuid.uuid4().hex[:8]}"
    try:
        system.pipe_file(temporary, content)
        system.mv(temporary, path)
    except BaseException:
        if system.exists(temporary):
            system.rm_file(temporary)
        raise


@contextmanager
def _as_os_error() -> Iterator[None]:
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # each protocol has its own errors; a missing package is an ImportError
        raise OSError(str(error) or type(error).__name__) from error
