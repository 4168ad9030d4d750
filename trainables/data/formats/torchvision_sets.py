"""torchvision's data sets, where they are on disk; nothing is downloaded."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trainables.recipe.torchvision_catalog import CATALOG, Parts

_WHERE_LABELS_ARE = ("targets", "labels", "y", "_labels")
"""Attributes, one of which most data sets have: asking for each item would decode its image."""


class Part(NamedTuple):
    """The training or the validation images of a data set."""

    labels: np.ndarray
    """[n] int64."""
    files: list[str]
    """[n] paths; none where the images lie together in few files."""
    items: Any
    """The data set: items[i] is (image, label)."""


class TorchvisionSet(NamedTuple):
    """A data set as it lies on disk."""

    parts: tuple[Part, ...]
    """Training images and, where it has them, validation images."""
    names: tuple[str, ...]
    """Of its classes; none where it does not say."""
    files: list[Path]
    """What to look at, to see whether it has changed; none where each image is a file."""


def load(name: str, root: Path) -> TorchvisionSet:
    """The data set of that name.

    Raises:
        ValueError: if it is not there or damaged; says where it was looked for, and how to get it.
    """
    parts = CATALOG[name]
    place = root / parts.place
    if not place.exists():
        raise ValueError(f"{name} is not in {place}; {_how_to_get(name, root)}")
    files = [] if parts.files else _files_of(place)
    if not files:
        return TorchvisionSet(*_opened(name, root), files)
    facts = tuple((file.stat().st_size, file.stat().st_mtime_ns) for file in files)
    return TorchvisionSet(*_held(name, root, facts), files)


def decoder(held: TorchvisionSet) -> Callable[[int], np.ndarray]:
    """Position among the images of all parts -> [h, w, c] uint8, for a data set whose images lie in few files."""
    items = [(part.items, i) for part in held.parts for i in range(len(part.labels))]

    def decode(position: int) -> np.ndarray:
        of_part, i = items[position]
        pixels = np.asarray(of_part[i][0])
        return pixels[:, :, None] if pixels.ndim == 2 else pixels

    return decode


def _files_of(place: Path) -> list[Path]:
    return sorted(file for file in place.rglob("*") if file.is_file()) if place.is_dir() else [place]


def _opened(name: str, root: Path) -> tuple[tuple[Part, ...], tuple[str, ...]]:
    from trainables.models.backbones.torchvision_import import image_sets  # imports torch

    kind, parts = getattr(image_sets(), name), CATALOG[name]
    try:
        found = [
            _part(kind, root, parts, arguments)
            for arguments in (parts.train, parts.validation)
            if arguments is not None
        ]
    except Exception as error:  # whatever a reader of some format meets in a damaged file
        reason = str(error).removesuffix(" You can use download=True to download it").strip() or type(error).__name__
        raise ValueError(
            f"{name} in {root / parts.place} cannot be read: {reason}; {_how_to_get(name, root)}"
        ) from None
    return tuple(found), _names(found[0].items)


@functools.lru_cache(maxsize=2)
def _held(name: str, root: Path, facts: object) -> tuple[tuple[Part, ...], tuple[str, ...]]:  # noqa: ARG001
    """The same, held by the process until the files' facts change: reading what lies in few files takes a second."""
    return _opened(name, root)


def _part(kind: Any, root: Path, parts: Parts, arguments: Mapping[str, Any]) -> Part:
    if not parts.files:
        items = kind(str(root), **arguments)
        return Part(_labels(items), [], items)
    items = kind(str(root), **arguments, loader=os.fspath)  # items are paths then, and ours to decode
    # In the order of their paths: some list a folder in the order of its file system.
    pairs = sorted((os.path.relpath(path, root), label) for path, label in (items[i] for i in range(len(items))))
    return Part(np.array([label for _, label in pairs], np.int64), [str(root / path) for path, _ in pairs], items)


def _labels(items: Any) -> np.ndarray:
    for attribute in _WHERE_LABELS_ARE:
        if (labels := getattr(items, attribute, None)) is not None:
            return np.asarray(labels, np.int64)
    return np.array([items[i][1] for i in range(len(items))], np.int64)


def _names(items: Any) -> tuple[str, ...]:
    classes = getattr(items, "classes", None) or ()
    names = tuple(name if isinstance(name, str) else ", ".join(name) for name in classes)
    return names if len(set(names)) == len(names) else ()


def _how_to_get(name: str, root: Path) -> str:
    page = f"https://docs.pytorch.org/vision/stable/generated/torchvision.datasets.{name}.html"
    return f"`torchvision.datasets.{name}({str(root)!r}, download=True)` gets it where that is possible; see {page}"
