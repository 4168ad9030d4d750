"""Where images come from: scikit-learn's digits, class folders, tables of paths, the MNIST family's IDX files."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np

from trainables.data import idx
from trainables.data.images import SUFFIXES, is_grey, read_image
from trainables.data.labels import Mapped, mapped
from trainables.data.messages import listed, path_error
from trainables.data.table import file_facts, read_rows
from trainables.data_config import Columns, DataConfig, Labels
from trainables.problems import ConfigError, Problem


class Reader(NamedTuple):
    """The images of a source, ready to be decoded."""

    channels: int
    """1 where every image is grey, else 3."""
    decode: Callable[[int], np.ndarray]
    """Position -> [h, w, channels] uint8. Safe to call from many threads; raises BadImageError."""


@dataclass(frozen=True)
class Source:
    """Labelled images as they lie on disk. Two sources are equal if their keys are."""

    key: str
    """Changes when images, labels or classes do; found without reading the images."""
    classes: tuple[str, ...] = field(compare=False)
    labels: np.ndarray = field(compare=False)
    """[n] int64, positions in `classes`."""
    open: Callable[[], Reader] = field(compare=False, repr=False)
    sides_key: str = ""
    """Changes when `groups`, `judges` or `targets` do, for which nothing need be decoded again."""
    groups: np.ndarray | None = field(default=None, compare=False)
    """[n] int64, one number for each group that must stay on one side of the split; None: each image for itself."""
    judges: np.ndarray | None = field(default=None, compare=False)
    """[n] bool, the validation images where the source says which; None: to be chosen."""
    targets: np.ndarray | None = field(default=None, compare=False)
    """[n] float64, the number of each image where regression is the task: there are no `classes` then, and labels are 0."""


def open_source(config: DataConfig) -> Source:
    """The source that a config names: its labels, and how to decode its images.

    Raises:
        ConfigError: if there is no such source, or one with fewer than two classes.
    """
    if config.source == "digits":
        return _digits(config.labels)
    path = Path(config.path or "").expanduser()
    if config.source == "table":
        return _table(path.absolute(), config)  # not resolved: images lie beside the link where the table is one
    path = path.resolve()
    try:
        if not path.is_dir():
            raise ValueError("is not a folder" if path.exists() else "does not exist")
        return (_class_folders if config.source == "folder" else _idx_files)(path, config.labels)
    except ConfigError:
        raise
    except (ValueError, OSError) as error:
        raise path_error(f"{config.path}: {error}") from None


# --- digits ---------------------------------------------------------------------------------------------------------


def _digits(mapping: Labels | None) -> Source:
    pixels, digits = _digit_images()
    found = mapped(tuple("0123456789"), digits, mapping)
    key = f"digits of scikit-learn {version('scikit-learn')}"
    return Source(
        _with_labels(key, found, mapping),
        found.classes,
        found.labels,
        lambda: _picked(Reader(1, pixels.__getitem__), found),
    )


@functools.cache
def _digit_images() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits  # takes a second

    images, digits = load_digits(return_X_y=True)
    return np.rint(images.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8), digits.astype(np.int64)


# --- tables ---------------------------------------------------------------------------------------------------------


def _table(file: Path, config: DataConfig) -> Source:
    folder = file.parent if config.images is None else Path(config.images).expanduser().absolute()
    numeric = config.task == "regression"
    rows = read_rows(file, config.columns or Columns(), numeric=numeric)
    if numeric:
        targets = np.array([float(name) for name in rows.names])[rows.labels]
        found = Mapped((), np.zeros(len(targets), np.int64), np.arange(len(targets)))
    else:
        targets, found = None, mapped(rows.names, rows.labels, config.labels)
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise ConfigError([Problem(("data", "images"), f"{config.images}: {what}")])
    files, facts = file_facts([rows.files[i] for i in found.kept.tolist()], folder)
    groups, judges = (None if column is None else column[found.kept] for column in (rows.groups, rows.judges))
    return Source(
        _labels_key(f"table\0{facts.hex()}", found),
        found.classes,
        found.labels,
        lambda: _files_reader(files),
        hashlib.sha256(
            b"".join(b"-" if c is None else c.tobytes() + b"+" for c in (groups, judges, targets))
        ).hexdigest(),
        groups,
        judges,
        targets,
    )


# --- IDX files ------------------------------------------------------------------------------------------------------


def _idx_files(folder: Path, mapping: Labels | None) -> Source:
    images = idx.find(folder, "train-images-idx3-ubyte")
    labels = idx.find(folder, "train-labels-idx1-ubyte")
    count, values = idx.image_count(images), idx.read_labels(labels)
    if count != len(values):
        raise ValueError(f"{images.name} holds {count} images, but {labels.name} {len(values)} labels")
    # Labels need not start at 0: those of EMNIST's letters are 1 to 26.
    present, positions = np.unique(values, return_inverse=True)
    names = tuple(str(value) for value in present)
    _check_classes(names)
    found = mapped(names, positions, mapping)

    def reader() -> Reader:
        try:
            return _picked(Reader(1, idx.read_images(images)[:, :, :, None].__getitem__), found)
        except ValueError as error:
            raise path_error(f"{folder}: {error}") from None

    key = _with_labels(_key("idx", [images, labels]), found, mapping)
    return Source(key, found.classes, found.labels, reader)


# --- class folders --------------------------------------------------------------------------------------------------

_SPLIT_NAMES = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})


def _class_folders(root: Path, mapping: Labels | None) -> Source:
    visible = sorted(entry for entry in root.iterdir() if not entry.name.startswith("."))
    folders = [entry for entry in visible if entry.is_dir()]
    if not folders:
        found = f"{len(visible)} files ({listed([entry.name for entry in visible], 3)})" if visible else "nothing"
        raise ValueError(f"holds no class folders: expected one folder of images for each class, found {found}")
    if {folder.name.lower() for folder in folders} <= _SPLIT_NAMES:
        names = ", ".join(folder.name for folder in folders)
        raise ValueError(f"holds splits ({names}), not classes; give the path of one of them, like {folders[0]}")
    files = {folder.name: _files_below(folder) for folder in folders}
    images = {name: [path for path in found if path.suffix.lower() in SUFFIXES] for name, found in files.items()}
    if empty := [_without_images(name, files[name]) for name, found in images.items() if not found]:
        raise ValueError(f"{len(empty)} of {len(images)} classes have no image: {listed(empty)}")
    _check_classes(tuple(images))
    everything = [path for of_class in images.values() for path in of_class]
    folder_of = np.repeat(np.arange(len(images)), [len(of_class) for of_class in images.values()])
    left = mapped(tuple(images), folder_of, mapping)
    paths = [everything[i] for i in left.kept.tolist()]
    key = _with_labels(_key("folder", paths), left, mapping)
    return Source(key, left.classes, left.labels, lambda: _files_reader(paths))


def _files_reader(paths: Sequence[str | Path]) -> Reader:
    grey = all(is_grey(Path(path)) for path in paths)
    return Reader(1 if grey else 3, lambda i: read_image(Path(paths[i]), grey=grey))


def _files_below(folder: Path) -> list[Path]:
    """Visible files at any depth, in the order of their paths."""
    found = []
    for parent, folders, files in os.walk(folder):  # does not follow links to folders: they may go in rings
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name) for name in files if not name.startswith(".")]
    return sorted(found, key=str)  # comparing strings is ten times faster


def _without_images(name: str, files: list[Path]) -> str:
    kinds = Counter(file.suffix.lower() or "without suffix" for file in files)
    return f"{name} (found {', '.join(f'{n} {kind}' for kind, n in kinds.items()) or 'no files'})"


# --- rules of all sources -------------------------------------------------------------------------------------------


def _check_classes(classes: tuple[str, ...]) -> None:
    if len(classes) < 2:
        raise ValueError(f"holds only one class ({', '.join(classes)}); there is nothing to tell apart")


def _picked(reader: Reader, found: Mapped) -> Reader:
    """A reader of the images that are left."""
    kept = found.kept
    return Reader(reader.channels, lambda i: reader.decode(int(kept[i])))


def _with_labels(key: str, found: Mapped, mapping: Labels | None) -> str:
    """The key of a source whose files say their labels, where these are mapped; unmapped ones keep the key they had."""
    return key if mapping is None else _labels_key(key, found)


def _labels_key(key: str, found: Mapped) -> str:
    digest = hashlib.sha256(json.dumps([key, found.classes]).encode())
    digest.update(found.labels.astype("<i8").tobytes())
    digest.update(found.kept.astype("<i8").tobytes())
    return digest.hexdigest()


def _key(kind: str, files: Sequence[Path]) -> str:
    """Hash of each file's place, size and time of change."""
    # The whole path: archives unpack with equal names, sizes and times, and a wrong hit is worse than decoding twice.
    digest = hashlib.sha256(kind.encode())
    for file in files:
        digest.update(os.fsencode(f"\0{file}"))
        with contextlib.suppress(OSError):  # a dangling link, say: decoding will tell, together with all bad files
            status = file.stat()
            digest.update(f"\0{status.st_size}\0{status.st_mtime_ns}".encode())
    return digest.hexdigest()
