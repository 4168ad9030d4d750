"""Finds the images to predict that a command line names: files, folders, globs, URLs, tables of paths, arrays in NPZ files.

They are decoded and resized like the training images.
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from trainables.core.config_errors import listed, nearest
from trainables.data.formats import nifti, npz
from trainables.data.formats.file_decoder import read_file
from trainables.data.formats.windowing import array_levels
from trainables.data.sources.kinds.class_folders import files_of, is_image
from trainables.data.sources.numeric_labels import number_in
from trainables.model_package.manifest import Manifest, PackageError
from trainables.recipe.data_config import label_name
from trainables.storage.urls import Place, absolute, files_below, folder_of, is_url, joined

if TYPE_CHECKING:
    import pandas as pd

TABLES = (".csv", ".tsv", ".parquet", ".pq")


@dataclass(frozen=True)
class Item:
    """Image that is not decoded yet."""

    name: str
    """Name as given: a path, a URL, `scans.npz:val_images[3]`."""
    decode: Callable[[], np.ndarray]
    """Decodes to [h, w, c] or [d, h, w, c] as the package requires, before resizing; raises BadImageError."""
    truth: str | float | None = None
    """True class, or target, from a table or a class folder."""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Columns of tables, and the folder of their images."""

    path: str = "path"
    """Column of image files."""
    label: str = "label"
    """Column of labels; need not exist."""
    images: str | None = None
    """Folder or URL that paths are relative to; None: the table's own."""


def find_images(given: Sequence[str], manifest: Manifest, columns: Columns | None = None) -> list[Item]:
    """Finds all images, in the order in which they are given; files of a folder are sorted by path.

    Args:
        given: files, folders, globs, URLs, tables and NPZ files.
        manifest: the package's manifest.
        columns: columns of tables; None: the default names.
    Raises:
        PackageError: if something does not exist, has no image, or has images that the model does not take.
    """
    columns = columns or Columns()
    items = [item for name in given for item in _found(name, manifest, columns)]
    names = [item.name for item in items]
    wrong = [name for name in names if nifti.is_nifti_name(name) != (manifest.input.depth is not None)]
    if wrong := [name for name in wrong if ".npz:" not in name]:
        takes = "volumes: .nii and .nii.gz files" if manifest.input.depth else "images, and these are volumes"
        raise PackageError(
            f"{len(wrong)} of {len(items)} files do not fit: this model takes {takes} ({listed(wrong, 3)})"
        )
    return items


def _found(name: str, manifest: Manifest, columns: Columns) -> list[Item]:
    suffix = Path(name).suffix.lower()
    try:
        if suffix in TABLES:
            return _rows(name, manifest, columns)
        if suffix == ".npz":
            return _arrays(name, manifest)
        if is_url(name):
            places: list[Place] = [name] if is_image(name) else list(files_below(name))
            return _files(places, name if not is_image(name) else None, manifest)
        if Path(name).is_dir():
            return _files(files_of(Path(name)), name, manifest)
        if not Path(name).exists() and glob.has_magic(name):
            matches = sorted(glob.glob(name, recursive=True))  # noqa: PTH207  as the shell reads it, absolute or not
            if not matches:
                raise PackageError(f"{name}: no file matches")
            return [item for match in matches for item in _found(match, manifest, columns)]
        if not Path(name).exists():
            raise PackageError(f"{name} does not exist")
    except (OSError, ValueError) as error:
        raise error if isinstance(error, PackageError) else PackageError(f"{name}: {error}") from None
    return [_file(name, manifest, None)]  # its format is detected from the content when it is read


# --- files ----------------------------------------------------------------------------------------------------------


def _files(places: Sequence[Place], folder: str | None, manifest: Manifest) -> list[Item]:
    """Files of a folder that are of the model's kind: images or volumes."""
    wanted = [p for p in places if is_image(p) and nifti.is_nifti_name(p) == (manifest.input.depth is not None)]
    if not wanted:
        kind = "volume" if manifest.input.depth else "image"
        found = listed([Path(str(place)).name for place in places], 3) or "nothing"
        raise PackageError(f"{folder} holds no {kind} that this model takes; it holds {found}")
    return [_file(place, manifest, _class_folder(str(place), folder, manifest)) for place in wanted]


def _file(place: Place, manifest: Manifest, truth: str | float | None) -> Item:
    given = manifest.input
    return Item(str(place), lambda: read_file(place, given, grey=given.channels == 1), truth)


def _class_folder(place: str, folder: str | None, manifest: Manifest) -> str | None:
    """Class of the sub-folder, directly below the given folder, that an image is in; None if there is none."""
    if folder is None:
        return None
    first, below, _ = place[len(folder.rstrip("/")) + 1 :].partition("/")
    return _class_of(first, manifest) if below else None


def _class_of(label: str, manifest: Manifest) -> str | None:
    """Class that a label of the training data was mapped to; None if there is none."""
    name = label_name(label)
    known = name if manifest.labels is None else manifest.labels.get(name)
    return known if known in manifest.classes else None


# --- tables ---------------------------------------------------------------------------------------------------------


def _rows(name: str, manifest: Manifest, columns: Columns) -> list[Item]:
    table = _table(name)
    if columns.path not in table:
        close = nearest(columns.path, [str(column) for column in table.columns])
        raise PackageError(f"{name}: the table has no column {columns.path!r}; {close}; choose one with --path-column")
    paths = table[columns.path].tolist()
    if empty := [str(row + 1) for row, path in enumerate(paths) if not isinstance(path, str) or not path]:
        raise PackageError(
            f"{name}: {len(empty)} rows have no {columns.path} (row numbers count from 1 below the header): {listed(empty)}"
        )
    folder = columns.images or folder_of(absolute(name))
    labels = table[columns.label].tolist() if columns.label in table else [None] * len(paths)

    def place(path: str) -> Place:
        return joined(folder, path) if is_url(folder) or is_url(path) else Path(folder).expanduser() / path

    def truth(label: object) -> str | float | None:
        if not isinstance(label, str):
            return None
        return number_in(label.strip()) if manifest.task == "regression" else _class_of(label, manifest)

    # Named as in the table, so that it can be joined with the predictions.
    items = [(path, _file(place(path), manifest, truth(label))) for path, label in zip(paths, labels, strict=True)]
    return [Item(path, item.decode, item.truth) for path, item in items]


def _table(name: str) -> pd.DataFrame:
    """Reads the whole table, as texts."""
    import pandas as pd
    import pyarrow

    try:
        if name.lower().endswith((".parquet", ".pq")):
            table = pd.read_parquet(name)
            return table.astype("string").astype(object)
        separator = "\t" if name.lower().endswith(".tsv") else ","
        return pd.read_csv(name, sep=separator, dtype=str, encoding="utf-8-sig")
    except FileNotFoundError:
        raise PackageError(f"{name} does not exist") from None
    except (OSError, ValueError, pyarrow.ArrowException) as error:  # pandas' own errors are ValueErrors
        reason = str(error).strip().partition("\n")[0]
        raise PackageError(f"{name}: is damaged, or is not a table: {reason}") from None


# --- arrays ---------------------------------------------------------------------------------------------------------


def _arrays(name: str, manifest: Manifest) -> list[Item]:
    """Images of all arrays `images` or `…_images` of an NPZ file, including test images."""
    arrays = npz.image_arrays(name if is_url(name) else Path(name), dims=3 if manifest.input.depth else 2)

    def item(array: str, pixels: np.ndarray, i: int) -> Item:
        return Item(f"{name}:{array}[{i}]", lambda: _as_taken(np.array(pixels[i]), manifest))

    return [item(array, pixels, i) for array, pixels in arrays.items() for i in range(len(pixels))]


def _as_taken(image: np.ndarray, manifest: Manifest) -> np.ndarray:
    """Converts an image […, c] of 8 or 16 bits to the channels and type that the package requires."""
    given, deep = manifest.input, manifest.input.bits == 16
    if given.window is not None and image.shape[-1] == 3:
        raise PackageError("the arrays are in colour, but this model takes grey images")
    image = array_levels(image, deep=deep, window=given.window)
    if image.shape[-1] == 1 and given.channels == 3:
        return np.repeat(image, 3, axis=-1)
    if image.shape[-1] == 3 and given.channels == 1:
        if given.depth or deep:
            raise PackageError("the arrays are in colour, but this model takes grey images")
        return np.asarray(Image.fromarray(image).convert("L"))[:, :, None]
    return image
