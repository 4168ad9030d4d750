"""torchvision's data sets, read from disk; nothing is downloaded."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trainables.recipe.torchvision_catalog import CATALOG, Parts
from trainables.storage.urls import file_states

_WHERE_LABELS_ARE = ("targets", "labels", "y", "_labels")
"""Attributes with all labels, one of which most data sets have; reading the label of an item would decode its image."""


class Part(NamedTuple):
    """Training or validation images of a data set."""

    labels: np.ndarray
    """[n] int64."""
    files: list[str]
    """[n] paths; empty if the images are stored together in a few files."""
    items: Any
    """torchvision's data set: items[i] is (image, label)."""


class TorchvisionSet(NamedTuple):
    """Data set on disk."""

    parts: tuple[Part, ...]
    """Training images and, if there are any, validation images."""
    names: tuple[str, ...]
    """Class names; empty if the data set has none."""
    files: list[Path]
    """Files whose states show whether the data set has changed; empty if each image is a file."""


def load(name: str, root: Path) -> TorchvisionSet:
    """Opens a data set.

    Args:
        name: torchvision's name of the data set.
        root: folder that torchvision downloaded it to.
    Raises:
        ValueError: if it is missing or damaged; says where it was expected and how to get it.
    """
    parts = CATALOG[name]
    place = root / parts.place
    if not place.exists():
        raise ValueError(f"{name} is not in {place}; {_how_to_get(name, root)}")
    files = [] if parts.files else _files_of(place)
    if not files:
        return TorchvisionSet(*_opened(name, root), files)
    return TorchvisionSet(*_cached(name, root, file_states(files).tobytes()), files)


def decoder(held: TorchvisionSet) -> Callable[[int], np.ndarray]:
    """Function from a position among the images of all parts to [h, w, c] uint8, for a data set stored in a few files."""
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
    except Exception as error:  # readers of different formats raise different exceptions on damaged files
        reason = str(error).removesuffix(" You can use download=True to download it").strip() or type(error).__name__
        raise ValueError(
            f"{name} in {root / parts.place} cannot be read: {reason}; {_how_to_get(name, root)}"
        ) from None
    return tuple(found), _names(found[0].items)


@functools.lru_cache(maxsize=2)
def _cached(name: str, root: Path, states: bytes) -> tuple[tuple[Part, ...], tuple[str, ...]]:  # noqa: ARG001
    """Same as `_opened`, but cached in the process until the files' states change, because reading takes a second."""
    return _opened(name, root)


def _part(kind: Any, root: Path, parts: Parts, arguments: Mapping[str, Any]) -> Part:
    if not parts.files:
        items = kind(str(root), **arguments)
        return Part(_labels(items), [], items)
    items = kind(str(root), **arguments, loader=os.fspath)  # items are then paths, which are decoded here
    # Sorted by path, because some data sets list a folder in the order of its file system.
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
    return f"`torchvision.datasets.{name}({str(root)!r}, download=True)` downloads it where possible; see {page}"
