"""Detects the data at a path: the source that reads it, and facts about its images from a small sample."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np

from trainables.core.config_errors import listed
from trainables.data.formats.images import SUFFIXES, BadImageError
from trainables.data.sources.kinds.table import tables_in
from trainables.data.sources.open_source import open_source
from trainables.data.sources.source import Detected, Source, UnknownDataError
from trainables.recipe.data_config import DataConfig
from trainables.recipe.source_catalog import SOURCES

_SAMPLED = 48
"""Number of images whose sizes are checked."""


@dataclass(frozen=True)
class Recognised:
    """Data that a source can read."""

    what: str
    """Kind of data in words: `3 class folders`."""
    data: dict[str, Any]
    """Section `data` of a recipe, without the image size and the share of validation images."""
    source: Source
    sides: tuple[int, int, int]
    """Smallest, median and largest shorter side of some images, in pixels."""
    doubts: tuple[str, ...] = ()
    """Doubtful points for a person to check, one a line."""


def recognise(path: Path) -> Recognised:
    """Detects the data at a path. The recipe's section has the path as it is given, not resolved.

    Raises:
        UnknownDataError: if no source can read it.
        ConfigError: if the source finds a mistake in it.
    """
    if not path.exists():
        raise UnknownDataError(f"{path}: does not exist")
    detectors = [resolve_name(spec.detect) for spec in SOURCES if spec.detect]
    found: Detected | None = next(filter(None, (detect(path) for detect in detectors)), None)
    if found is None:
        expected = [spec.looks_like for spec in reversed(SOURCES) if spec.looks_like]
        raise UnknownDataError(f"{path}: {_contents(path)}; expected {', '.join(expected[:-1])}, or {expected[-1]}")
    source = open_source(DataConfig.model_validate(found.data))
    return Recognised(found.what, found.data, source, _sides(source), found.doubts)


def _sides(source: Source) -> tuple[int, int, int]:
    """Smallest, median and largest shorter side of some images."""
    reader, sides, bad = source.open(), [], ""
    for i in np.unique(np.linspace(0, len(source.labels) - 1, _SAMPLED).astype(int)).tolist():
        try:
            sides.append(min(reader.decode(i).shape[:2]))
        except BadImageError as error:
            bad = str(error)
    if not sides:
        raise UnknownDataError(f"no image can be read: {bad}")
    return min(sides), int(np.median(sides)), max(sides)


def _contents(path: Path) -> str:
    """Description of data that no source can read."""
    if path.is_file():
        return "is an image, not a data set" if path.suffix.lower() in SUFFIXES else "does not have the name of a table"
    files = sorted(entry.name for entry in path.iterdir() if not entry.name.startswith("."))
    if not files:
        return "is empty"
    if tables := tables_in(path):
        return f"holds no class folders, but a table: pass {tables[0]} to thaw init"
    return f"holds {len(files)} files ({listed(files, 3)}) and no folders"
