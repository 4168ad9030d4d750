"""Class folders: the image files of each class, on disk or behind a URL."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np

from trainables.core.config_errors import listed
from trainables.data.formats.file_decoder import files_decoder
from trainables.data.formats.images import SUFFIXES
from trainables.data.formats.nifti import is_nifti_name
from trainables.data.sources.class_mapping import mapped
from trainables.data.sources.kinds.table import tables_in
from trainables.data.sources.source import (
    Detected,
    Reader,
    Source,
    UnknownDataError,
    check_classes,
    files_key,
    folder_at,
    read_as,
    with_labels,
)
from trainables.recipe.data_config import DataConfig
from trainables.storage.urls import Place, files_below, is_url

_SPLIT_NAMES = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})


def open_class_folders(config: DataConfig) -> Source:
    """Opens the images in the folders of the classes."""
    url = str(config.path)
    images = images_behind(url) if is_url(url) else images_of_classes(folder_at(config))
    check_classes(tuple(images))
    everything = [place for of_class in images.values() for place in of_class]
    folder_of = np.repeat(np.arange(len(images)), [len(of_class) for of_class in images.values()])
    left = mapped(tuple(images), folder_of, config.labels)
    places = [everything[i] for i in left.kept.tolist()]
    key = with_labels(read_as(files_key("folder", places), config), left, config.labels)
    return Source(key, left.classes, left.labels, lambda: Reader(*files_decoder(places, config)))


def detect_class_folders(path: Path) -> Detected | None:
    """Detects a folder of class folders.

    Raises:
        UnknownDataError: if its folders are the parts of a split.
    """
    if not path.is_dir() or not (folders := _folders_in(path)):
        return None
    if {folder.name.lower() for folder in folders} <= _SPLIT_NAMES:
        raise _splits_error(path, folders)
    doubts = [f"the table {table} is not used" for table in tables_in(path)]
    if nested := [folder.name for folder in folders if _folders_in(folder)]:
        doubts.append(f"sub-folders of {listed(nested, 3)} are not classes: their images belong to the class above")
    return Detected(f"{len(folders)} class folders", {"source": "folder", "path": str(path)}, tuple(doubts))


def _splits_error(path: Path, folders: list[Path]) -> UnknownDataError:
    training = next((folder for folder in folders if folder.name.lower().startswith("train")), folders[0])
    return UnknownDataError(
        f"{path}: holds splits ({', '.join(folder.name for folder in folders)}), not classes. Either use one of them, from which "
        f"validation images are then set aside (thaw init {training}), or keep the split: write a table with the columns path, "
        "label and split (train, val or test), and pass it to thaw init"
    )


def _folders_in(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))


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
