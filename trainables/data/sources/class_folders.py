"""Class folders: the image files of each class, on disk or behind a URL."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from trainables.core.config_errors import listed
from trainables.data.formats.images import SUFFIXES
from trainables.data.formats.nifti import is_nifti_name
from trainables.storage.urls import Place, files_below

_SPLIT_NAMES = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})


def images_of_classes(root: Path) -> dict[str, list[Place]]:
    """Image files of each class, sorted by path, at any depth below the folder of the class.

    Raises:
        ValueError: if there are no class folders, or one of them has no image.
        OSError: if a folder cannot be read.
    """
    visible = sorted(entry for entry in root.iterdir() if not entry.name.startswith("."))
    folders = [entry for entry in visible if entry.is_dir()]
    return _images({folder.name: files_of(folder) for folder in folders}, [entry.name for entry in visible], str(root))


def images_behind(url: str) -> dict[str, list[Place]]:
    """Image files of each class below a URL; see `images_of_classes`."""
    files: dict[str, list[Place]] = {}
    loose, start = [], len(url.rstrip("/")) + 1
    for place in files_below(url):
        name, is_below, _ = place[start:].partition("/")
        if is_below:
            files.setdefault(name, []).append(place)
        else:
            loose.append(name)
    return _images(files, loose, url)


def _images(files: dict[str, list[Place]], visible: list[str], root: str) -> dict[str, list[Place]]:
    if not files:
        found = f"{len(visible)} files ({listed(visible, 3)})" if visible else "nothing"
        raise ValueError(f"holds no class folders: expected one folder of images for each class, found {found}")
    if {name.lower() for name in files} <= _SPLIT_NAMES:
        first = f"{root.rstrip('/')}/{next(iter(files))}"
        raise ValueError(f"holds splits ({', '.join(files)}), not classes; give the path of one of them, like {first}")
    images = {name: [file for file in found if is_image(file)] for name, found in files.items()}
    if empty := [_without_images(name, files[name]) for name, found in images.items() if not found]:
        raise ValueError(f"{len(empty)} of {len(images)} classes have no image: {listed(empty)}")
    return images


def is_image(file: Place) -> bool:
    """Returns True if a file's name has an ending of images or volumes."""
    return _suffix(file) in SUFFIXES or is_nifti_name(file)


def _suffix(file: Place) -> str:
    return os.path.splitext(file)[1].lower()  # noqa: PTH122  a million Path objects take seconds


def files_of(folder: Path) -> list[Place]:
    """Visible files at any depth, sorted by path."""
    found: list[Place] = []
    for parent, folders, files in os.walk(folder):  # does not follow links to folders, which may form cycles
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name) for name in files if not name.startswith(".")]
    return sorted(found, key=str)  # comparing strings is ten times faster


def _without_images(name: str, files: list[Place]) -> str:
    kinds = Counter(_suffix(file) or "without suffix" for file in files)
    return f"{name} (found {', '.join(f'{n} {kind}' for kind, n in kinds.items()) or 'no files'})"
