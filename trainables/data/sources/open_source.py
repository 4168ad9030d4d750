"""Sources of images: class folders, tables of paths, MedMNIST's NPZ files, MNIST's IDX files, torchvision's data sets, digits."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trainables.core.config_errors import ConfigError, Problem
from trainables.data.formats import idx, npz, torchvision_sets
from trainables.data.formats.file_decoder import bits_error, files_decoder
from trainables.data.messages import path_error
from trainables.data.sources import class_folders
from trainables.data.sources.class_mapping import Mapped, mapped
from trainables.data.sources.table import has_test, read_rows
from trainables.recipe.data_config import Columns, DataConfig, Labels, label_name
from trainables.storage.urls import Place, facts_of, file_facts, folder_of, is_url


class Reader(NamedTuple):
    """The images of a source, ready to be decoded."""

    channels: int
    """1 if all images are grey, else 3."""
    decode: Callable[[int], np.ndarray]
    """Position -> [h, w, channels] of `dtype`, or [d, h, w, channels]. Safe to call from many threads; raises BadImageError."""
    dtype: np.dtype[Any] = np.dtype(np.uint8)
    """uint8, or uint16 for grey images that are decoded with 16 bits."""


@dataclass(frozen=True)
class Source:
    """Labelled images, not decoded yet. Two sources are equal if their keys are equal."""

    key: str
    """Hash that changes when images, labels or classes change; computed without reading the images."""
    classes: tuple[str, ...] = field(compare=False)
    labels: np.ndarray = field(compare=False)
    """[n] int64, positions in `classes`."""
    open: Callable[[], Reader] = field(compare=False, repr=False)
    sides_key: str = ""
    """Hash that changes when `groups`, `judges`, `weights` or `targets` change, which does not require decoding again."""
    groups: np.ndarray | None = field(default=None, compare=False)
    """[n] int64, group numbers; each group must stay on one side of the split. None: no groups."""
    judges: np.ndarray | None = field(default=None, compare=False)
    """[n] bool, True for validation images, if the source gives the split; None: the split is to be chosen."""
    weights: np.ndarray | None = field(default=None, compare=False)
    """[n] float64, weight of each image in the training loss; None: all equal."""
    targets: np.ndarray | None = field(default=None, compare=False)
    """[n] float64, number of each image in regression, where there are no `classes` and all labels are 0; None: classification."""

    def without(self, positions: np.ndarray) -> Source:
        """Source with the labels, groups and other columns of the other images only. It can be split but not read: positions of
        the reader still refer to all images."""
        columns = {each.name: getattr(self, each.name) for each in fields(self)}
        left: dict[str, Any] = {
            name: np.delete(v, positions) for name, v in columns.items() if isinstance(v, np.ndarray)
        }
        return replace(self, **left)


def open_source(config: DataConfig) -> Source:
    """Opens the source that a config names, without its test images: reads its labels, but does not decode images yet.

    Raises:
        ConfigError: if the source does not exist, cannot be used, or has fewer than two classes.
    """
    if config.source == "digits":
        return _digits(config.labels)
    kinds = {"folder": _class_folders, "idx": _idx_files, "npz": _npz, "table": _table, "torchvision": _torchvision}
    with _as_path_error(config):
        return kinds[config.source](config)


def open_test_source(config: DataConfig) -> Source | None:
    """Opens the test images that a source marks itself; None if there are none.

    Raises:
        ConfigError: if they cannot be used.
    """
    with _as_path_error(config):
        columns = config.columns
        if config.source == "table" and columns and columns.split and has_test(absolute(str(config.path)), columns):
            return _table(config, test=True)
        if config.source == "npz" and npz.has_test(_npz_place(config)):
            return _npz(config, test=True)
    return None


@contextlib.contextmanager
def _as_path_error(config: DataConfig) -> Iterator[None]:
    try:
        yield
    except ConfigError:
        raise
    except (ValueError, OSError) as error:
        raise path_error(f"{config.path}: {error}") from None


def _folder(config: DataConfig) -> Path:
    path = Path(str(config.path)).expanduser().resolve()
    if not path.is_dir():
        raise ValueError("is not a folder" if path.exists() else "does not exist")
    return path


# --- digits ---------------------------------------------------------------------------------------------------------


def _digits(mapping: Labels | None) -> Source:
    pixels, digits = _digit_images()
    found = mapped(tuple("0123456789"), digits, mapping)
    key = f"digits of scikit-learn {version('scikit-learn')}"
    return Source(
        _with_labels(key, found, mapping),
        found.classes,
        found.labels,
        lambda: _select(Reader(1, pixels.__getitem__), found),
    )


@functools.cache
def _digit_images() -> tuple[np.ndarray, np.ndarray]:
    # The file of `sklearn.datasets.load_digits`, whose import takes two seconds.
    table = np.loadtxt(
        str(distribution("scikit-learn").locate_file("sklearn/datasets/data/digits.csv.gz")), delimiter=","
    )
    return np.rint(table[:, :-1].reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8), table[:, -1].astype(np.int64)


# --- tables ---------------------------------------------------------------------------------------------------------


def _table(config: DataConfig, *, test: bool = False) -> Source:
    file = absolute(str(config.path))
    folder = absolute(config.images) if config.images else folder_of(file)
    numeric = config.task == "regression"
    rows = read_rows(file, config.columns or Columns(), numeric=numeric, test=test)
    if numeric:
        targets = np.array([float(name) for name in rows.names])[rows.labels]
        found = Mapped((), np.zeros(len(targets), np.int64), np.arange(len(targets)))
    else:
        targets, found = None, mapped(rows.names, rows.labels, config.labels)
    if not is_url(folder) and not Path(folder).is_dir():
        what = "is not a folder" if Path(folder).exists() else "does not exist"
        raise ConfigError([Problem(("data", "images"), f"{config.images}: {what}")])
    files, facts = file_facts([rows.files[i] for i in found.kept.tolist()], folder)
    key = _labels_key(_read_as(f"table\0{facts.hex()}", config), found)
    source = Source(key, found.classes, found.labels, lambda: Reader(*files_decoder(files, config)))
    return _with_sides(source, found, groups=rows.groups, judges=rows.judges, weights=rows.weights, targets=targets)


def absolute(path: str) -> str:
    """Path made independent of the working directory. Links are not resolved: the images of a linked table are beside the link."""
    return path if is_url(path) else str(Path(path).expanduser().absolute())


# --- IDX files ------------------------------------------------------------------------------------------------------


def _idx_files(config: DataConfig) -> Source:
    folder, mapping = _folder(config), config.labels
    images = idx.find(folder, "train-images-idx3-ubyte")
    labels = idx.find(folder, "train-labels-idx1-ubyte")
    count, values = idx.image_count(images), idx.read_labels(labels)
    if count != len(values):
        raise ValueError(f"{images.name} holds {count} images, but {labels.name} {len(values)} labels")
    # Labels need not start at 0: those of EMNIST letters are 1 to 26.
    present, positions = np.unique(values, return_inverse=True)
    names = tuple(str(value) for value in present)
    _check_classes(names)
    found = mapped(names, positions, mapping)

    def reader() -> Reader:
        try:
            return _select(Reader(1, idx.read_images(images)[:, :, :, None].__getitem__), found)
        except ValueError as error:
            raise path_error(f"{folder}: {error}") from None

    key = _with_labels(_key("idx", [images, labels]), found, mapping)
    return Source(key, found.classes, found.labels, reader)


# --- class folders --------------------------------------------------------------------------------------------------


def _class_folders(config: DataConfig) -> Source:
    url = str(config.path)
    images = class_folders.images_behind(url) if is_url(url) else class_folders.images_of_classes(_folder(config))
    _check_classes(tuple(images))
    everything = [place for of_class in images.values() for place in of_class]
    folder_of = np.repeat(np.arange(len(images)), [len(of_class) for of_class in images.values()])
    left = mapped(tuple(images), folder_of, config.labels)
    places = [everything[i] for i in left.kept.tolist()]
    key = _with_labels(_read_as(_key("folder", places), config), left, config.labels)
    return Source(key, left.classes, left.labels, lambda: Reader(*files_decoder(places, config)))


# --- NPZ files ------------------------------------------------------------------------------------------------------


def _npz_place(config: DataConfig) -> Place:
    return str(config.path) if is_url(str(config.path)) else Path(str(config.path)).expanduser().resolve()


def _npz(config: DataConfig, *, test: bool = False) -> Source:
    place = _npz_place(config)
    parts = npz.read_parts(place, dims=3 if config.depth else 2, test=test)
    present, positions = np.unique(np.concatenate([part.labels for part in parts]), return_inverse=True)
    names = tuple(label_name(value) for value in present.tolist())
    _check_classes(names)
    found = mapped(names, positions, config.labels)
    if config.bits == 16 and (parts[0].dtype.itemsize, parts[0].channels) != (2, 1):
        raise bits_error(
            f"its images are of {parts[0].channels} × {8 * parts[0].dtype.itemsize} bits, not grey with 16"
        )

    def reader() -> Reader:
        try:
            decode = npz.decoder(place, parts, deep=config.bits == 16)
        except (ValueError, OSError) as error:
            raise path_error(f"{config.path}: {error}") from None
        return _select(Reader(parts[0].channels, decode, np.dtype(f"u{config.bits // 8}")), found)

    key = _labels_key(_read_as(_key("npz test" if test else "npz", [place]), config), found)
    judges = _given_validation([len(part.labels) for part in parts], config)
    return _with_sides(Source(key, found.classes, found.labels, reader), found, judges=judges)


# --- torchvision's data sets ----------------------------------------------------------------------------------------


def _torchvision(config: DataConfig) -> Source:
    held = torchvision_sets.load(str(config.name), _folder(config))
    present, positions = np.unique(np.concatenate([part.labels for part in held.parts]), return_inverse=True)
    names = tuple(held.names[label] if held.names else str(label) for label in present.tolist())
    _check_classes(names)
    found = mapped(names, positions, config.labels)
    files: list[Place] = [file for part in held.parts for file in part.files]
    files = [files[i] for i in found.kept.tolist()] if files else []

    def reader() -> Reader:
        if files:
            return Reader(*files_decoder(files, config))
        decode = torchvision_sets.decoder(held)
        return _select(Reader(decode(0).shape[2], decode), found)

    kind = f"torchvision {version('torchvision')} {config.name}"
    key = _labels_key(_key(kind, files or held.files), found)
    judges = _given_validation([len(part.labels) for part in held.parts], config)
    return _with_sides(Source(key, found.classes, found.labels, reader), found, judges=judges)


# --- rules of all sources -------------------------------------------------------------------------------------------


def _check_classes(classes: tuple[str, ...]) -> None:
    if len(classes) < 2:
        raise ValueError(f"holds only one class ({', '.join(classes)}); at least 2 are needed")


def _select(reader: Reader, found: Mapped) -> Reader:
    """Reader of the images that remain after mapping."""
    kept = found.kept
    return reader._replace(decode=lambda i: reader.decode(int(kept[i])))


def _with_labels(key: str, found: Mapped, mapping: Labels | None) -> str:
    """Key of a source whose key already covers its labels: unchanged without a mapping, else extended by the mapped labels."""
    return key if mapping is None else _labels_key(key, found)


def _labels_key(key: str, found: Mapped) -> str:
    """Key extended by classes and labels."""
    digest = hashlib.sha256(json.dumps([key, found.classes]).encode())
    digest.update(found.labels.astype("<i8").tobytes())
    digest.update(found.kept.astype("<i8").tobytes())
    return digest.hexdigest()


def _read_as(key: str, config: DataConfig) -> str:
    """Key extended by the settings for decoding, unless they are the defaults."""
    how = {"bits": config.bits, "frame": config.frame, "window": config.window and config.window.model_dump()}
    return key if how == {"bits": 8, "frame": None, "window": None} else f"{key}\0{json.dumps(how)}"


def _given_validation(sizes: Sequence[int], config: DataConfig) -> np.ndarray | None:
    """Mask [n] of the validation images of a source with two parts; None if it has one, or the config makes its own split."""
    if len(sizes) < 2 or config.validation is not None or config.folds:
        return None
    return np.repeat([False, True], sizes)


def _with_sides(
    source: Source,
    found: Mapped,
    *,
    groups: np.ndarray | None = None,
    judges: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    targets: np.ndarray | None = None,
) -> Source:
    """Adds columns to a source.

    Args:
        source: the images that remain after mapping.
        found: result of the mapping.
        groups, judges, weights, targets: [m] see `Source`, for all images before the mapping.
    """
    columns = [None if column is None else column[found.kept] for column in (groups, judges, weights, targets)]
    digest = hashlib.sha256(b"".join(b"-" if column is None else column.tobytes() + b"+" for column in columns))
    groups, judges, weights, targets = columns
    return replace(source, sides_key=digest.hexdigest(), groups=groups, judges=judges, weights=weights, targets=targets)


def _key(kind: str, places: Sequence[Place]) -> str:
    """Hash of the place, size and time of change of all files."""
    # The whole path: two unpacked archives can have the same names, sizes and times, and a wrong hit is worse than decoding twice.
    digest = hashlib.sha256(kind.encode())
    remote = [str(place) for place in places if is_url(place)]
    for fact in facts_of(remote) if remote else ():
        digest.update(fact or b"gone")
    for file in places if not remote else ():
        digest.update(os.fsencode(f"\0{file}"))
        with contextlib.suppress(
            OSError
        ):  # for example a dangling link: decoding reports it together with all unreadable files
            status = os.stat(file)  # noqa: PTH116
            digest.update(f"\0{status.st_size}\0{status.st_mtime_ns}".encode())
    return digest.hexdigest()
