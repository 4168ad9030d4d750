"""`Source`: what every kind of source opens, and the rules that all kinds share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trainables.data.formats.windowing import coloured, grey
from trainables.data.sources.class_mapping import Mapped
from trainables.recipe.data_config import DataConfig
from trainables.recipe.data_settings.label_names import Labels
from trainables.storage.urls import FileFacts


class Reader(NamedTuple):
    """The images of a source, ready to be decoded."""

    channels: int
    """1 if all images are grey, else 3."""
    decode: Callable[[int], np.ndarray]
    """Position -> [h, w, channels] of `dtype`, or [d, h, w, channels]. Safe to call from many threads; raises BadImageError."""
    dtype: np.dtype[Any] = np.dtype(np.uint8)
    """uint8, or uint16 for grey images that are decoded with 16 bits."""
    name: Callable[[int], str] = "image {}".format
    """Position -> name of the image, for people: its file, or its place in an array."""


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
    times: np.ndarray | None = field(default=None, compare=False)
    """[n] float64, time of each image, for which `targets` are adjusted; None: not known."""
    notes: tuple[str, ...] = field(default=(), compare=False)
    """Files, rows and images that are left out, counted, and doubts about the labels: a line each, for people."""

    def without(self, positions: np.ndarray) -> Source:
        """Source with the labels, groups and other columns of the other images only. It can be split but not read: positions of
        the reader still refer to all images."""
        columns = {each.name: getattr(self, each.name) for each in fields(self)}
        left: dict[str, Any] = {
            name: np.delete(v, positions) for name, v in columns.items() if isinstance(v, np.ndarray)
        }
        return replace(self, **left)


class UnknownDataError(ValueError):
    """No source can read the data; the message says what was found and what is expected."""


# --- rules of all kinds -----------------------------------------------------------------------------------------------


def folder_at(config: DataConfig) -> Path:
    """Folder that a config names on disk.

    Raises:
        ValueError: if there is none.
    """
    path = Path(str(config.path)).expanduser().resolve()
    if not path.is_dir():
        raise ValueError("is not a folder" if path.exists() else "does not exist")
    return path


def check_classes(classes: tuple[str, ...]) -> None:
    """Raises ValueError if there are fewer than two classes."""
    if len(classes) < 2:
        raise ValueError(f"holds only one class ({', '.join(classes)}); at least 2 are needed")


def select(reader: Reader, found: Mapped) -> Reader:
    """Reader of the images that remain after mapping."""
    kept = found.kept
    return reader._replace(decode=lambda i: reader.decode(int(kept[i])), name=lambda i: reader.name(int(kept[i])))


def with_labels(key: str, found: Mapped, mapping: Labels | None) -> str:
    """Key of a source whose key already covers its labels: unchanged without a mapping, else extended by the mapped labels.

    Args:
        key: key of the source.
        found: its labels after the mapping.
        mapping: `data.labels`; None: no mapping.
    """
    return key if mapping is None else labels_key(key, found)


def labels_key(key: str, found: Mapped) -> str:
    """Key extended by classes and labels."""
    digest = hashlib.sha256(json.dumps([key, found.classes]).encode())
    digest.update(found.labels.astype("<i8").tobytes())
    digest.update(found.kept.astype("<i8").tobytes())
    return digest.hexdigest()


def read_as(key: str, config: DataConfig) -> str:
    """Key extended by the settings for decoding, unless they are the defaults."""
    how = {"bits": config.bits, "frame": config.frame, "window": config.window and config.window.model_dump()}
    key = key if how == {"bits": 8, "frame": None, "window": None} else f"{key}\0{json.dumps(how)}"
    return key if config.spacing is None else f"{key}\0{json.dumps(config.spacing)} mm"


def with_channels(source: Source, config: DataConfig) -> Source:
    """Source whose images have the channels that a config asks for: grey by the luminance of the colours, or grey three times."""
    channels = config.channels
    if channels is None:
        return source

    def converted() -> Reader:
        reader = source.open()
        if reader.channels == channels:
            return reader
        convert = grey if channels == 1 else coloured
        return reader._replace(channels=channels, decode=lambda i: convert(reader.decode(i)))

    return replace(source, key=f"{source.key}\0{channels} channels", open=converted)


def given_validation(sizes: Sequence[int], config: DataConfig) -> np.ndarray | None:
    """Mask [n] of the validation images of a source with two parts; None if it has one, or the config makes its own split."""
    if len(sizes) < 2 or config.validation is not None or config.folds:
        return None
    return np.repeat([False, True], sizes)


def with_sides(
    source: Source,
    found: Mapped,
    *,
    groups: np.ndarray | None = None,
    judges: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    targets: np.ndarray | None = None,
    times: np.ndarray | None = None,
) -> Source:
    """Adds columns to a source.

    Args:
        source: the images that remain after mapping.
        found: result of the mapping.
        groups, judges, weights, targets, times: [m] see `Source`, for all images before the mapping.
    """
    columns = [None if column is None else column[found.kept] for column in (groups, judges, weights, targets, times)]
    digest = hashlib.sha256(b"".join(b"-" if column is None else column.tobytes() + b"+" for column in columns))
    names = ("groups", "judges", "weights", "targets", "times")
    kept: dict[str, Any] = dict(zip(names, columns, strict=True))
    return replace(source, sides_key=digest.hexdigest(), **kept)


def files_key(kind: str, facts: FileFacts) -> str:
    """Hash of a source's kind, and of the place and state of all its files."""
    return hashlib.sha256(kind.encode() + facts.digest).hexdigest()
