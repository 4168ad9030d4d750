"""Finds the images to predict that a command line names: files, folders, globs, URLs, tables of paths, arrays in NPZ files.

They are decoded and resized like the training images.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainables.core.config_errors import listed, nearest
from trainables.data.formats import nifti, npz
from trainables.data.formats.file_decoder import read_file
from trainables.data.formats.image_files import is_image
from trainables.data.formats.windowing import array_levels, coloured, grey
from trainables.data.sources.class_mapping import class_of
from trainables.data.sources.image_folder import ImageFile, read_image_folder
from trainables.data.sources.tables.missing_files import missing_files
from trainables.data.sources.tables.numeric_labels import number_in
from trainables.data.sources.tables.table_cells import Cells
from trainables.data.sources.tables.table_file import TableError, TableFile, is_table_name, open_table_file
from trainables.data.sources.tables.time_levels import TimeLevels
from trainables.data.sources.tables.times import time_in
from trainables.model_package.manifest import Manifest, PackageError
from trainables.recipe.data_settings.label_names import label_name
from trainables.storage.urls import Place, absolute, folder_of, is_url, places_of


@dataclass(frozen=True)
class Item:
    """Image that is not decoded yet."""

    name: str
    """Name as given: a path, a URL, `scans.npz:val_images[3]`."""
    decode: Callable[[], np.ndarray]
    """Decodes to [h, w, c] or [d, h, w, c] as the package requires, before resizing; raises BadImageError."""
    truth: str | float | None = None
    """True class, or target, from a table or a class folder."""
    label: str | None = None
    """Label that the table or the folder gives, also where it is no class of the model."""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Columns of tables, and the folder of their images."""

    path: str | None = None
    """Column of image files; None: as in training, else `path`."""
    label: str | None = None
    """Column of labels; None: as in training, else `label`, and it need not exist."""
    images: str | None = None
    """Folder or URL that paths are relative to; None: the table's own."""


def find_images(
    given: Sequence[str],
    manifest: Manifest,
    columns: Columns | None = None,
    *,
    note: Callable[[str], None] | None = None,
) -> list[Item]:
    """Finds all images, in the order in which they are given; files of a folder are sorted by path.

    Args:
        given: files, folders, globs, URLs, tables and NPZ files.
        manifest: the package's manifest.
        columns: columns of tables; None: the default names.
        note: called with a line for each folder in which files are left aside that are no images.
    Raises:
        PackageError: if something does not exist, has no image, or has images that the model does not take.
    """
    columns = columns or Columns()
    items = [item for name in given for item in _found(name, manifest, columns, note or (lambda _: None))]
    names = [item.name for item in items]
    wrong = [name for name in names if nifti.is_nifti_name(name) != (manifest.input.depth is not None)]
    if wrong := [name for name in wrong if ".npz:" not in name]:
        takes = "volumes: .nii and .nii.gz files" if manifest.input.depth else "images, and these are volumes"
        raise PackageError(
            f"{len(wrong)} of {len(items)} files do not fit: this model takes {takes} ({listed(wrong, 3)})"
        )
    return items


def _found(name: str, manifest: Manifest, columns: Columns, note: Callable[[str], None]) -> list[Item]:
    try:
        if Path(name).is_dir() or (
            is_url(name) and not (is_table_name(name) or is_image(name) or name.endswith(".npz"))
        ):
            return _files(name, manifest, note)
        if is_table_name(name):
            return _rows(name, manifest, columns)
        if name.lower().endswith(".npz"):
            return _arrays(name, manifest)
        if is_url(name):
            return [_file(name, manifest)]
        if not Path(name).exists() and glob.has_magic(name):
            matches = sorted(glob.glob(name, recursive=True))  # noqa: PTH207  as the shell reads it, absolute or not
            if not matches:
                raise PackageError(f"{name}: no file matches")
            return [item for match in matches for item in _found(match, manifest, columns, note)]
        if not Path(name).exists():
            raise PackageError(f"{name} does not exist")
    except (OSError, ValueError) as error:
        raise error if isinstance(error, PackageError) else PackageError(f"{name}: {error}") from None
    return [_file(name, manifest)]  # its format is detected from the content when it is read


# --- files ----------------------------------------------------------------------------------------------------------


def _files(folder: str, manifest: Manifest, note: Callable[[str], None]) -> list[Item]:
    """Files below a folder that are of the model's kind: images or volumes. Their labels are those of class folders in training."""
    found = read_image_folder(folder)
    wanted = [i for i in found.images if nifti.is_nifti_name(i.place) == (manifest.input.depth is not None)]
    if not wanted:
        kind = "volume" if manifest.input.depth else "image"
        held = listed([Path(str(place)).name for place in [*(i.place for i in found.images), *found.others]], 3)
        raise PackageError(f"{folder} holds no {kind} that this model takes; it holds {held or 'nothing'}")

    for line in found.notes:
        note(f"{folder}: {line}")

    def truth(image: ImageFile) -> str | None:
        return None if image.label is None else _class(image.label, manifest)

    return [_file(image.place, manifest, truth=truth(image), label=image.label) for image in wanted]


def _file(
    place: Place,
    manifest: Manifest,
    *,
    name: str | None = None,
    truth: str | float | None = None,
    label: str | None = None,
) -> Item:
    given = manifest.input
    return Item(
        str(place) if name is None else name, lambda: read_file(place, given, grey=given.channels == 1), truth, label
    )


def _class(label: str, manifest: Manifest) -> str | None:
    """Class of the model that a label means, or names itself; None if it means none."""
    name = label_name(label)
    found = class_of(name, manifest.labels) if name in (manifest.labels or {}) else name
    return found if found in manifest.classes else None


# --- tables ---------------------------------------------------------------------------------------------------------


def _rows(name: str, manifest: Manifest, columns: Columns) -> list[Item]:
    """Rows of a table, named as in the table, so that it can be joined with the predictions."""
    folder = absolute(columns.images) if columns.images else folder_of(absolute(name))
    try:
        table = open_table_file(name)
        trained = manifest.columns
        path = _column(table, columns.path, [trained.path if trained else "path", "path"], "--path-column")
        if path is None:
            raise PackageError(
                f"{name}: the table has no column 'path'; {nearest('path', table.names)}; choose one with --path-column"
            )
        label = _column(table, columns.label, [trained.label if trained else "label", "label"], "--label-column")
        time = _time_column(table, manifest)
        cells = table.cells([path, *(column for column in (label, time) if column)], exact={path})
    except TableError as error:
        raise PackageError(str(error)) from None
    codes = cells[path].codes
    if len(empty := np.flatnonzero(codes < 0)):
        rows = listed([str(row + 1) for row in empty.tolist()])
        raise PackageError(
            f"{name}: {len(empty)} rows have no {path} (row numbers count from 1 below the header): {rows}"
        )
    places = places_of(cells[path].values, folder)
    gone = [i for i, place in enumerate(places) if not is_url(place) and not os.path.exists(place)]  # noqa: PTH110
    if len(gone) == len(places):  # a few are left out one by one; all are a wrong folder
        raise PackageError(f"{name}: {missing_files(cells[path].values, gone, folder, setting='--images')}")
    given = cells[label] if label else None
    labels = (
        [None] * len(codes) if given is None else [given.values[c] if c >= 0 else None for c in given.codes.tolist()]
    )

    def truth(text: str | None, row: int) -> str | float | None:
        if text is None or manifest.task == "classification":
            return None if text is None else _class(text, manifest)
        return _number(number_in(text), cells[time] if time else None, row, manifest)

    def item(code: int, text: str | None, row: int) -> Item:
        true = truth(text, row)
        is_without_time = (
            true is None and manifest.time is not None and text is not None and number_in(text) is not None
        )
        label = None if is_without_time else text  # nothing to compare with
        return _file(places[code], manifest, name=cells[path].values[code], truth=true, label=label)

    return [item(code, text, row) for row, (code, text) in enumerate(zip(codes.tolist(), labels, strict=True))]


def _time_column(table: TableFile, manifest: Manifest) -> str | None:
    """Column of times by which targets are adjusted as in training, if the table has it."""
    column = manifest.columns.time if manifest.columns and manifest.time else None
    return column if column in table.names else None


def _number(target: float | None, times: Cells | None, row: int, manifest: Manifest) -> float | None:
    """Target as the model predicts it, adjusted for its time as in training; None if it is not known."""
    if target is None or manifest.time is None:
        return target
    time = time_in(times.values[times.codes[row]]) if times is not None and times.codes[row] >= 0 else None
    levels = TimeLevels(**manifest.time.model_dump())
    return None if time is None else float(levels.adjusted(np.array([target]), np.array([time]))[0])


def _column(table: TableFile, asked: str | None, usual: Sequence[str], option: str) -> str | None:
    """Column of a table: the one that is asked for, else the first of the usual ones that it has; None if it has none of these."""
    if asked is not None and asked not in table.names:
        raise PackageError(
            f"{table.place}: the table has no column {asked!r} ({option}); {nearest(asked, table.names)}"
        )
    return asked or next((name for name in usual if name in table.names), None)


# --- arrays ---------------------------------------------------------------------------------------------------------


def _arrays(name: str, manifest: Manifest) -> list[Item]:
    """Images of all arrays `images` or `…_images` of an NPZ file, including test images."""
    if manifest.input.spacing is not None:
        raise PackageError(f"{name}: arrays have no voxel spacing, which this model needs; give NIfTI files")
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
        return coloured(image)
    if image.shape[-1] == 3 and given.channels == 1:
        if given.depth or deep:
            raise PackageError("the arrays are in colour, but this model takes grey images")
        return grey(image)
    return image
