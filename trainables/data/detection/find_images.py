"""Finds the files that a table's texts mean: below its folder or beside it, by path, by name, or by name without suffix."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from trainables.data.formats import nifti
from trainables.data.formats.images import SUFFIXES
from trainables.data.sources.split_names import part_of

_DRIVE = re.compile(r"^[a-z]:(?=/)", re.IGNORECASE)
"""Drive of a Windows path."""


class Match(NamedTuple):
    """File that a text means."""

    tail: int
    """Components, from the end, that path and text have in common."""
    root: str
    """Path of the file without these components."""
    is_exact: bool
    """True if the suffixes are the same, too."""
    file: str


class Located(NamedTuple):
    """Files of some texts."""

    files: list[str | None]
    """[n] None: there is none."""
    ambiguous: list[list[Match]]
    """Files of each text that names several."""


class FileIndex:
    """Files, found by the end of their paths whatever the case of letters."""

    def __init__(self, files: Iterable[str | Path]):
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        self._by_parent: dict[tuple[str, str], list[str]] = defaultdict(list)
        for file in map(str, files):
            folder, _, name = file.rpartition("/")  # a million Path objects take seconds
            self._by_stem[_stem(name)].append(file)
            self._by_parent[_folded(folder.rpartition("/")[2]), _stem(name)].append(file)

    def matches(self, text: str) -> list[Match]:
        """Files that a text may mean: those with the longest end in common, and of these those with its suffix."""
        parts = _parts(text)
        if not parts:
            return []
        stem = _stem(parts[-1])
        # Thousands of files may share a name, as `p001/image.nii.gz` does; if some share the folder's too, one of these is meant.
        near = self._by_parent.get((_folded(parts[-2]), stem), []) if len(parts) > 1 else []
        found = [_match(file, parts) for file in near or self._by_stem.get(stem, [])]
        best = max(((match.tail, match.is_exact) for match in found), default=None)
        return [match for match in found if (match.tail, match.is_exact) == best]

    def located(self, texts: Sequence[Any], hints: Sequence[Collection[str]] = ()) -> Located:
        """File of each text. Of several with one name, that in folders of the row's own label and part of the split, and then that
        in the folder with the most others.

        Args:
            texts: paths; what is no text has no file.
            hints: for each text, names that folders of its file may have; none: no hints.
        """
        found = [self.matches(text) if isinstance(text, str) else [] for text in texts]
        if hints:
            found = [_hinted(matches, names) for matches, names in zip(found, hints, strict=True)]
        votes = Counter(match.root for matches in found for match in matches)
        files = [max(matches, key=lambda match: votes[match.root]).file if matches else None for matches in found]
        return Located(files, [matches for matches in found if len(matches) > 1])


def files_below(folder: Path, most: int) -> list[str]:
    """Visible files at any depth, as absolute paths, also behind links that do not lead back.

    Args:
        folder: where to look.
        most: number of files after which no further folder is looked into.
    """
    found: list[str] = []
    seen: set[str] = set()
    for parent, folders, files in os.walk(folder.absolute(), followlinks=True):
        real = os.path.realpath(parent)
        folders[:] = [] if real in seen else sorted(name for name in folders if not name.startswith("."))
        if real not in seen:
            found += [f"{parent}/{name}" for name in sorted(files) if not name.startswith(".")]
        seen.add(real)
        if len(found) > most:
            break
    return found


def readable_from(texts: Sequence[str], files: Sequence[str], folder: Path) -> Path | None:
    """Folder that the texts are paths relative to, exactly as they are written; None if there is none for all.

    Args:
        texts: paths of a table.
        files: the file that each of them means.
        folder: folder of the table, preferred.
    """
    ends = [os.path.normpath(text) for text in texts]
    roots = Counter(
        file[: -len(end)].rstrip("/") or "/" for file, end in zip(files, ends, strict=True) if file.endswith(f"/{end}")
    )
    candidates = [folder, *(Path(root) for root, _ in roots.most_common(1))]
    for root in candidates:
        if all(_is_file(root, text) for text in texts):
            return root
    return None


def _is_file(folder: Path, text: str) -> bool:
    try:
        return os.path.isfile(os.path.join(folder, text))  # noqa: PTH113, PTH118
    except (OSError, ValueError):  # the name is too long or contains a zero byte
        return False


def _match(file: str, parts: Sequence[str]) -> Match:
    own = file.split("/")
    tail = 1
    while tail < min(len(parts), len(own)) and _folded(own[-1 - tail]) == _folded(parts[-1 - tail]):
        tail += 1
    return Match(tail, "/".join(own[:-tail]), _folded(own[-1]) == _folded(parts[-1]), file)


def _hinted(matches: list[Match], names: Collection[str]) -> list[Match]:
    """Files in most folders of some names, of several that a text may mean."""
    if len(matches) < 2:
        return matches
    known = {_folder_name(name) for name in names}
    counts = [sum(_folder_name(folder) in known for folder in match.root.split("/")) for match in matches]
    return [match for match, count in zip(matches, counts, strict=True) if count == max(counts)]


def _folder_name(text: str) -> str:
    """Name of a folder, the same for all spellings of a part of a split."""
    return part_of(text) or _folded(text)


def _parts(text: str) -> list[str]:
    path = _DRIVE.sub("", text.strip().removeprefix("file://").replace("\\", "/"))
    return [part for part in path.split("/") if part not in {"", "."}]


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


def _stem(name: str) -> str:
    """Name without the suffix of an image, in lower case."""
    folded = _folded(name)
    for suffix in nifti.SUFFIXES[::-1]:
        if folded.endswith(suffix):
            return folded.removesuffix(suffix)
    stem, suffix = os.path.splitext(folded)  # noqa: PTH122
    return stem if suffix in SUFFIXES else folded
