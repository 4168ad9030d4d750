"""Message about image files that a table names and that do not exist, with where they may be."""

from __future__ import annotations

import os
import unicodedata
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from trainables.core.config_errors import listed
from trainables.storage.urls import is_url

_TRIED = 20
"""Missing files that are looked for elsewhere."""
_SPELLINGS: dict[str, Callable[[str], str]] = {
    "letters with accents are coded in another way (Unicode NFC or NFD)": lambda name: unicodedata.normalize(
        "NFC", name
    ),
    "the letters' case differs": str.casefold,
    "there are no blanks around the name": str.strip,
    "the name has the characters themselves instead of %-codes": urllib.parse.unquote,
}
"""Ways in which the name of a file may be written differently -> function that makes the spellings equal."""
_MOST_FOLDERS = 2_000
"""Folders that are searched for them."""


def missing_files(files: Sequence[str], gone: Sequence[int], folder: str, *, setting: str) -> str:
    """Message that lists missing files and says where files of these names are.

    Args:
        files: [n] paths as written in the table.
        gone: positions of those that do not exist.
        folder: path or URL of the folder that they are relative to.
        setting: name of the setting of this folder.
    """
    missing = [files[i] for i in gone]
    text = f"{len(gone)} of {len(files)} image files are not in {folder}: {listed([repr(file) for file in missing])}"
    mend = "" if is_url(folder) else next(_mends(missing[:_TRIED], Path(folder), setting), "")
    return text + (mend and f"; {mend}")


def _mends(missing: Sequence[str], folder: Path, setting: str) -> Iterator[str]:
    """Ways in which all of some missing files can be found, the likeliest first."""
    written = [file.replace("\\", "/") for file in missing]
    if written != list(missing) and all((folder / file).is_file() for file in written):
        yield "paths are written with / here, not with a backslash"
    names = [Path(file).name for file in written]
    below = _files_below(folder)
    by_name: dict[str, list[str]] = {}
    for path in below:
        by_name.setdefault(Path(path).name, []).append(path)
    for found in by_name.get(names[0], []):
        if found.endswith(f"/{written[0]}"):
            root = Path(found[: -len(written[0])])
            if all((root / file).is_file() for file in written):
                yield f"they are in {root}: name this folder in {setting}"
    if all(name in by_name for name in names):
        yield f"files of these names are elsewhere: {by_name[names[0]][0]}"
    for what, alike in _SPELLINGS.items():
        known = {alike(name): name for name in by_name}
        if all(alike(name) in known for name in names):
            yield f"on disk {what}: {known[alike(names[0])]!r}"
    stems = {Path(name).stem: name for name in by_name}
    if all(name in stems for name in names):
        yield f"the paths lack the ending of the files' names: {stems[names[0]]!r}"


def _files_below(folder: Path) -> list[str]:
    """Files below a folder and below the folders beside it, in as many folders as are searched."""
    found: list[str] = []
    walked = 0
    for root in (folder, folder.parent):
        for parent, folders, files in os.walk(root):
            folders[:] = [name for name in folders if not name.startswith(".")]
            found += [str(Path(parent, name)) for name in files]
            if (walked := walked + 1) > _MOST_FOLDERS:
                return found
    return found
