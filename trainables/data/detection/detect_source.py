"""Detects the data at a path: the source that reads it, and facts about its images from a small sample."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

import numpy as np

from trainables.core.config_errors import ConfigError, listed
from trainables.data.dataset import sides_of
from trainables.data.detection.draft import Draft
from trainables.data.detection.kinds.tables import ARCHIVES
from trainables.data.detection.mend import clean, mend, read_otherwise, without_single_images
from trainables.data.detection.sample import Sample, sample_of, window_of
from trainables.data.detection.wishes import Wishes
from trainables.data.formats.image_files import is_image
from trainables.data.sources.open_source import doubt_about_test, open_source
from trainables.data.sources.source import Source, UnknownDataError
from trainables.recipe.data_config import DataConfig
from trainables.recipe.source_catalog import SOURCES

if TYPE_CHECKING:
    import pandas as pd

_FEW_NUMBERS = 10
"""Images with a number of which a fifth is fewer than two."""


@dataclass(frozen=True, kw_only=True)
class DetectedSource:
    """Data that a source can read, and can split."""

    what: str
    """Kind of data in words: `3 class folders`."""
    data: dict[str, Any]
    """Section `data` of a recipe, without the image size. Its path means nothing if `table` is to be written."""
    table: pd.DataFrame | None
    """Table that the source reads, where the data are in no form that it reads; None: it reads the data as they are."""
    columns: dict[str, str]
    """Name of the column that each role was taken from, if there is a table."""
    source: Source
    """The images that can be read, as far as is known; it can be split but not read."""
    train: np.ndarray
    """Positions of the training images."""
    sample: Sample
    doubts: tuple[str, ...] = ()
    """Doubtful points for a person to check, one a line."""


def detect_source(path: Path, wishes: Wishes | None = None) -> DetectedSource:
    """Detects the data at a path. The recipe's section has the path as it is given, not resolved.

    Args:
        path: the data.
        wishes: what the user says about them.
    Raises:
        UnknownDataError: if no source can read them, or they cannot be split.
    """
    wishes = wishes or Wishes()
    if not path.exists():
        raise UnknownDataError(f"{path}: does not exist")
    detectors = [resolve_name(spec.detect) for spec in SOURCES if spec.detect]
    draft: Draft | None = next(filter(None, (detect(path, wishes) for detect in detectors)), None)
    if draft is None:
        expected = [spec.looks_like for spec in reversed(SOURCES) if spec.looks_like]
        raise UnknownDataError(f"{path}: {_contents(path)}; expected {', '.join(expected[:-1])}, or {expected[-1]}")
    if draft.rows is None and (given := list(wishes.typed)):
        raise UnknownDataError(f"--{given[0]}: applies to tables and folders, but {path} is {draft.what}")
    clean(draft, wishes)
    with tempfile.TemporaryDirectory() as folder:
        return _tried(draft, wishes, Path(folder, "table.csv"))


def _tried(draft: Draft, wishes: Wishes, file: Path) -> DetectedSource:
    """Opens, splits and samples a draft, and mends it until nothing stands in the way.

    Args:
        draft: what was found.
        wishes: what the user says is not mended.
        file: place of a table that the source does not read as it is, for the time of trying.
    """
    while True:
        table = None if draft.data else draft.table()
        if table is not None:
            table.to_csv(file, index=False)
        try:
            data = draft.section(str(file))
            source = open_source(DataConfig.model_validate(data))
            sample = sample_of(source)
            usable = source.without(np.array(list(sample.bad), np.int64))
            if read_otherwise(draft, sample) or without_single_images(draft, usable):
                continue
            if usable.judges is None and "validation" not in data:
                data["validation"] = validation_share(usable)
            train, _ = sides_of(DataConfig.model_validate(data), usable)
        except ConfigError as error:
            mend(draft, wishes, error)
            continue
        if (window := window_of(DataConfig.model_validate(data), sample)) is not None:
            data["window"] = {"center": int(window.center), "width": int(window.width)}
        if doubt := doubt_about_test(DataConfig.model_validate(data), source.classes):
            draft.doubt(doubt)
        return DetectedSource(
            what=draft.what,
            data=data,
            table=table,
            source=usable,
            columns=draft.columns,
            train=train,
            sample=sample,
            doubts=tuple(dict.fromkeys((*draft.doubts, *source.notes))),
        )


def validation_share(source: Source) -> float:
    """Share for validation: a fifth; a quarter if the smallest class has two images, so that one is on either side; half of a few
    images with numbers, of which two are needed to tell good from bad."""
    if source.targets is not None:
        return 0.5 if len(source.targets) < _FEW_NUMBERS else 0.2
    return 0.25 if len(source.classes) and np.bincount(source.labels).min() == 2 else 0.2


def _contents(path: Path) -> str:
    """Description of data that no source can read."""
    if path.is_file():
        if is_image(path):
            return "is an image, not a data set"
        if path.name.lower().endswith(ARCHIVES):
            return "is an archive; unpack it, and pass its folder to thaw init"
        return "is neither a table nor a list of images with their labels"
    files = sorted(entry.name for entry in path.iterdir() if not entry.name.startswith("."))
    return f"holds {len(files)} files ({listed(files, 3)}) and no folders" if files else "is empty"
