"""`ImageFolder`: the image files below a folder or a URL, with the class and the part of a split that their folders name.

The only reader of class folders: of training, `thaw init` and `thaw predict`.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from trainables.core.config_errors import counted, listed
from trainables.data.formats.image_files import is_image, suffix_of
from trainables.data.sources.split_names import Part, part_of
from trainables.recipe.data_settings.label_names import label_name
from trainables.storage.urls import Place, files_below, is_url, joined

_SYSTEM_FOLDERS = frozenset({"__MACOSX", "@eaDir", "lost+found"})
"""Folders that archivers and file servers add; like hidden ones, they are not looked into."""
_DRAWN_WORDS = ("mask", "masks", "seg", "segmentation", "annotation", "groundtruth", "gt")
_DRAWN = re.compile(rf"(.+?)[ _.-]*({'|'.join(_DRAWN_WORDS)})([ _.-]*\d*)$", re.IGNORECASE)
"""Name, without ending, of a file that somebody drew on an image: `benign (1)_mask`."""
_SYSTEM_FILES = frozenset({"thumbs.db", "desktop.ini"})


class ImageFile(NamedTuple):
    """Image below a folder."""

    place: Place
    label: str | None
    """Name of its class folder, see `label_name`; None if it lies in none."""
    part: Part | None
    """Part of a split that its folder names; None if the folders are no split."""


class ImageFolder(NamedTuple):
    """Images below a folder."""

    images: list[ImageFile]
    """Sorted by part, class and path; those without a class last."""
    split: dict[str, Part]
    """Folder -> part, if the folders are a split: `{"train/": "train", "test/": "test"}`."""
    without_images: tuple[str, ...]
    """Class folders without an image, with what they hold: `cat (found 2 .txt)`."""
    nested: list[str]
    """Classes of which images lie in sub-folders."""
    others: list[str]
    """Visible files that are no images, relative to the folder."""
    notes: tuple[str, ...]
    """Files that are no images, counted."""
    without_class: tuple[str, ...]
    """Images that lie in no class folder, counted."""

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of their folders."""
        return list(dict.fromkeys(image.label for image in self.images if image.label is not None))


def read_image_folder(folder: str | Path) -> ImageFolder:
    """Lists the images below a folder, which lie in class folders at any depth, or in class folders of `train`, `val` and `test`.

    Image files are known by their names or else by their content. Links are followed. Hidden files and folders are not looked at.

    Args:
        folder: path or URL. If all it holds is one folder that holds several, that one is read.
    Raises:
        OSError: if a folder cannot be read.
    """

    remote = is_url(str(folder))
    start = str(folder) if remote else os.path.join(os.path.normpath(folder), "").removeprefix("./")  # noqa: PTH118

    def place(file: str) -> Place:
        return joined(start, file) if remote else f"{start}{file}"  # a million Path objects take seconds

    tree = _below_url(str(folder)) if remote else _below(Path(folder))
    root = tree.descended("")
    split = tree.split_in(root)
    roots = {tree.descended(part): part for part in split} or {root: ""}
    images: list[ImageFile] = []
    nested: dict[str, None] = {}
    others: list[tuple[str, str]] = []
    for top, part in roots.items():
        for label, file in tree.labelled_below(top):
            if is_image(place(file)):
                if label and "/" in file[len(top) + len(label) + 1 :]:
                    nested[label_name(label)] = None
                images.append(ImageFile(place(file), label_name(label) if label else None, split.get(part)))
            else:
                others.append((label, file))
    known = {image.label for image in images}
    empty = {
        name: Counter(_kind(file) for label, file in others if label == name)
        for top in roots
        for name in tree.folders_in(top)
        if label_name(name) not in known
    }
    beside = [file for file in tree.files if not file.startswith(tuple(roots))]
    images += [ImageFile(place(file), None, None) for file in beside if is_image(place(file))]
    images.sort(key=lambda image: image.label is None)
    loose = sum(image.label is None for image in images)
    return ImageFolder(
        images,
        split,
        tuple(f"{name} (found {_counted(kinds) or 'no files'})" for name, kinds in empty.items()),
        list(nested),
        [file for _, file in others],
        tuple(_notes(root, others, [str(image.place) for image in images])),
        (f"left aside, in no class folder: {counted(loose, 'image')}{_where(root, beside)}",) if loose else (),
    )


class _Tree(NamedTuple):
    """Visible files and folders, relative to a folder; names of folders end in a slash. Both are sorted."""

    files: list[str]
    folders: list[str]

    def folders_in(self, top: str) -> list[str]:
        """Names of the folders directly in one."""
        below = (folder[len(top) : -1] for folder in self.folders if folder.startswith(top) and folder != top)
        return [name for name in below if "/" not in name]

    def labelled_below(self, top: str) -> Iterator[tuple[str, str]]:
        """Files below a folder with the name of the class folder in it (empty: none), sorted by both."""
        cut = ((file[len(top) :].partition("/"), file) for file in self.files if file.startswith(top))
        yield from sorted((first if slash else "", file) for (first, slash, _), file in cut)

    def descended(self, top: str) -> str:
        """The only folder in a folder, if it holds several itself and nothing else is there; else the folder."""
        inside = self.folders_in(top)
        if len(inside) != 1 or any("/" not in file[len(top) :] for file in self.files if file.startswith(top)):
            return top
        inner = f"{top}{inside[0]}/"
        return inner if len(self.folders_in(inner)) > 1 else self.descended(inner) if self.folders_in(inner) else top

    def split_in(self, top: str) -> dict[str, Part]:
        """Folders that are the parts of a split: one of training images in class folders, and another; else empty."""
        parts = {f"{top}{name}/": part for name in self.folders_in(top) if (part := part_of(name))}
        train = [folder for folder, part in parts.items() if part == "train"]
        has_classes = train and all(self.folders_in(folder) for folder in train)
        return parts if has_classes and len(set(parts.values())) > 1 else {}


def _below(root: Path) -> _Tree:
    tree = _Tree([], [])
    _walk(str(root), "", (), tree)
    return _Tree(sorted(tree.files), sorted(tree.folders))


def _walk(folder: str, start: str, above: tuple[tuple[int, int], ...], tree: _Tree) -> None:
    """Adds what is in a folder to a tree, through links, but not through those that lead back to a folder above."""
    status = os.stat(folder)  # noqa: PTH116
    if (identity := (status.st_dev, status.st_ino)) in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if not _is_visible(entry.name):
                continue
            if entry.is_dir():
                tree.folders.append(f"{start}{entry.name}/")
                _walk(entry.path, f"{start}{entry.name}/", (*above, identity), tree)
            else:
                tree.files.append(f"{start}{entry.name}")


def _below_url(url: str) -> _Tree:
    start = len(url.rstrip("/")) + 1
    files = [file for place in files_below(url) if all(map(_is_visible, (file := place[start:]).split("/")))]
    folders = {file[: i + 1] for file in files for i, letter in enumerate(file) if letter == "/"}
    return _Tree(sorted(files), sorted(folders))


def _is_visible(name: str) -> bool:
    return not name.startswith(".") and name not in _SYSTEM_FOLDERS and name.lower() not in _SYSTEM_FILES


# --- counts of what is left aside -------------------------------------------------------------------------------------


def _notes(root: str, others: Sequence[tuple[str, str]], images: Sequence[str]) -> Iterator[str]:
    if root:
        yield f"the classes are the folders in {root}"
    if others:
        by_class: dict[str, list[str]] = {}
        for label, file in others:
            by_class.setdefault(label, []).append(file)
        where = [
            f"{label or 'in no sub-folder'} ({_counted(Counter(map(_kind, files)))})"
            for label, files in by_class.items()
        ]
        yield f"left aside, not images: {counted(len(others), 'file')}: {listed(where, 6)}"
    stems = {os.path.splitext(image)[0] for image in images}  # noqa: PTH122
    # Most names are told by their end, in a tenth of the time that the pattern takes.
    likely = [stem for stem in stems if stem.rstrip("0123456789 _.-")[-16:].lower().endswith(_DRAWN_WORDS)]
    if drawn := [stem for stem in likely if (match := _DRAWN.fullmatch(stem)) and match[1] in stems]:
        named = repr(os.path.basename(min(drawn)))  # noqa: PTH119
        yield f"masks of other images, by their names: {counted(len(drawn), 'image')}, such as {named}; move them elsewhere"


def _where(root: str, beside: Sequence[str]) -> str:
    """Folders beside those of a split, with their numbers of files."""
    folders = Counter(file[len(root) :].partition("/")[0] for file in beside if "/" in file[len(root) :])
    named = [f"{name} ({counted(count, 'file')})" for name, count in folders.items()]
    return f": {listed(named, 6)}" if named else ""


def _kind(file: str) -> str:
    return suffix_of(file) or "without suffix"


def _counted(kinds: Counter[str]) -> str:
    return listed([f"{n} {kind}" for kind, n in kinds.most_common()], 5)
