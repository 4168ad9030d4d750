"""Files that hold arrays of images: NPZ, IDX, and those of torchvision's data sets."""

from __future__ import annotations

import contextlib
from pathlib import Path

from trainables.data.detection.draft import PROVISIONAL_DEPTH, Draft
from trainables.data.detection.wishes import Wishes
from trainables.data.formats import npz, torchvision_sets
from trainables.data.sources.source import UnknownDataError
from trainables.recipe.torchvision_catalog import CATALOG


def detect_npz(path: Path, wishes: Wishes) -> Draft | None:  # noqa: ARG001
    """Detects an NPZ file by its name.

    Raises:
        UnknownDataError: if it holds no training images.
    """
    if not path.is_file() or path.suffix.lower() != ".npz":
        return None
    try:
        volumes = npz.holds_volumes(path)
    except (ValueError, OSError) as error:
        raise UnknownDataError(f"{path}: {error}") from None
    reading = {"depth": PROVISIONAL_DEPTH} if volumes else {}
    return Draft(what="an NPZ file", place=path, data={"source": "npz", "path": str(path)}, reading=reading)


def detect_idx_files(path: Path, wishes: Wishes) -> Draft | None:  # noqa: ARG001
    """Detects a folder with MNIST's training images."""
    if not path.is_dir() or not any(path.glob("train-images-idx3-ubyte*")):
        return None
    return Draft(what="IDX files of the MNIST family", place=path, data={"source": "idx", "path": str(path)})


def detect_torchvision_set(path: Path, wishes: Wishes) -> Draft | None:  # noqa: ARG001
    """Detects a data set that torchvision has downloaded to a folder, from that folder or from its own below it."""
    for name, parts in CATALOG.items():
        if not parts.place or not path.is_dir():
            continue
        own = Path(parts.place).parts
        roots = [path, *([path.absolute().parents[len(own) - 1]] if path.absolute().parts[-len(own) :] == own else [])]
        for root in roots:
            with contextlib.suppress(ValueError):
                torchvision_sets.load(name, root)
                return Draft(what=name, place=path, data={"source": "torchvision", "name": name, "path": str(root)})
    return None
