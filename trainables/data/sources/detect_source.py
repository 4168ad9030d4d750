"""Detects the data at a path: the source that reads it, and facts about its images from a small sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trainables.core.config_errors import listed
from trainables.data.formats.images import SUFFIXES, BadImageError
from trainables.data.sources.guess_columns import GuessError, guess_columns
from trainables.data.sources.open_source import Source, open_source
from trainables.recipe.data_config import DataConfig

if TYPE_CHECKING:
    import pandas as pd

_TABLES = (".csv", ".tsv", ".parquet", ".pq")
_SPLITS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})
_EXPECTED = (
    "expected a folder with one sub-folder of images for each class, a CSV, TSV or Parquet table of image files and labels, or a "
    "folder with MNIST's IDX files"
)
_SAMPLED = 48
"""Number of images whose sizes are checked."""


class UnknownDataError(ValueError):
    """No source can read the data; the message says what was found and what is expected."""


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
    # Add detectors of special files or folders (.npz, DICOM, …) here, before the general ones.
    kinds: tuple[tuple[Callable[[Path], bool], Callable[[Path], Recognised]], ...] = (
        (_is_table, _table),
        (_holds_idx, _idx),
        (_holds_splits, _splits),
        (_holds_folders, _class_folders),
    )
    for fits, read in kinds:
        if fits(path):
            return read(path)
    raise UnknownDataError(f"{path}: {_contents(path)}; {_EXPECTED}")


def _recognised(what: str, data: dict[str, Any], doubts: tuple[str, ...] = ()) -> Recognised:
    source = open_source(DataConfig.model_validate(data))
    return Recognised(what, data, source, _sides(source), doubts)


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


# --- kinds of data ----------------------------------------------------------------------------------------------------


def _is_table(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in _TABLES


def _table(path: Path) -> Recognised:
    frame = _texts(path)
    try:
        guess = guess_columns(frame, path.parent)
    except GuessError as error:
        raise UnknownDataError(f"{path}: {error}") from None
    data: dict[str, Any] = {"source": "table", "path": str(path), "columns": guess.columns.named()}
    if guess.images is not None:
        data["images"] = str(guess.images)
    return _recognised(f"a table of {len(frame):,} rows", data, guess.doubts)


def _texts(path: Path) -> pd.DataFrame:
    """Reads the whole table, as texts."""
    import pandas as pd
    import pyarrow

    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            frame = pd.read_parquet(path)
            return frame.astype("string")
        return pd.read_csv(path, sep="\t" if path.suffix.lower() == ".tsv" else ",", dtype=str, encoding="utf-8-sig")
    except (OSError, ValueError, pyarrow.ArrowException) as error:  # pandas' own errors are ValueErrors
        reason = str(error).strip().partition("\n")[0]
        raise UnknownDataError(f"{path}: is damaged, or is not a table: {reason}") from None


def _holds_idx(path: Path) -> bool:
    return path.is_dir() and any(path.glob("train-images-idx3-ubyte*"))


def _idx(path: Path) -> Recognised:
    return _recognised("IDX files of the MNIST family", {"source": "idx", "path": str(path)})


def _folders_in(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _holds_splits(path: Path) -> bool:
    names = {folder.name.lower() for folder in _folders_in(path)} if path.is_dir() else set()
    return bool(names) and names <= _SPLITS


def _splits(path: Path) -> Recognised:
    folders = _folders_in(path)
    training = next((folder for folder in folders if folder.name.lower().startswith("train")), folders[0])
    raise UnknownDataError(
        f"{path}: holds splits ({', '.join(folder.name for folder in folders)}), not classes. Either use one of them, from which "
        f"validation images are then set aside (thaw init {training}), or keep the split: write a table with the columns path, "
        "label and split (train, val or test), and pass it to thaw init"
    )


def _holds_folders(path: Path) -> bool:
    return path.is_dir() and bool(_folders_in(path))


def _class_folders(path: Path) -> Recognised:
    folders = _folders_in(path)
    doubts = [f"the table {table} is not used" for table in _tables_in(path)]
    if nested := [folder.name for folder in folders if _folders_in(folder)]:
        doubts.append(f"sub-folders of {listed(nested, 3)} are not classes: their images belong to the class above")
    return _recognised(f"{len(folders)} class folders", {"source": "folder", "path": str(path)}, tuple(doubts))


def _tables_in(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if _is_table(entry))


def _contents(path: Path) -> str:
    """Description of data that no source can read."""
    if path.is_file():
        return "is an image, not a data set" if path.suffix.lower() in SUFFIXES else "does not have the name of a table"
    files = sorted(entry.name for entry in path.iterdir() if not entry.name.startswith("."))
    if not files:
        return "is empty"
    if tables := _tables_in(path):
        return f"holds no class folders, but a table: pass {tables[0]} to thaw init"
    return f"holds {len(files)} files ({listed(files, 3)}) and no folders"
