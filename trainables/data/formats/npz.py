"""NPZ files in MedMNIST's layout, with images or volumes: train_images, train_labels, val_images, val_labels. Test arrays are read
separately."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trainables.core.config_errors import listed
from trainables.data.formats.windowing import array_levels
from trainables.recipe.data_settings.image_settings import Window
from trainables.storage.urls import Place, is_url, opened

_KINDS = {2: "images are [n, h, w] or [n, h, w, 3]", 3: "volumes are [n, d, h, w] or [n, d, h, w, 3]"}
_LARGEST_RATIO, _ALLOWANCE = 64, 2**30
"""Limit of a file's unpacked size: this many times its size, plus these bytes."""
_DEPTHS = {np.dtype(np.uint8), np.dtype(np.uint16)}


class Part(NamedTuple):
    """One part of a file, without its images."""

    name: str
    """`train`, `val` or `test`."""
    axes: tuple[int, ...]
    """Shape of its images, [n, h, w] or [n, h, w, c], or of its volumes, [n, d, h, w] or [n, d, h, w, c]."""
    dtype: np.dtype[Any]
    labels: np.ndarray
    """[n] numbers or names."""

    @property
    def images(self) -> str:
        """Name of the array."""
        return f"{self.name}_images" if self.name else "images"

    @property
    def has_colours(self) -> bool:
        """True if the last axis is one of colours; an axis of length 1 or 3 is not taken for the width of a volume."""
        return len(self.axes) == 5 or (len(self.axes) == 4 and self.axes[3] in {1, 3})

    def has_channels_first(self, dims: int) -> bool:
        """True if the axis of colours is in front of the `dims` axes of images or volumes."""
        return len(self.axes) == dims + 2 and self.axes[1] in {1, 3} and self.axes[-1] not in {1, 3}

    @property
    def channels(self) -> int:
        """Number of colour channels, 1 for grey."""
        return self.axes[-1] if self.has_colours else 1

    @property
    def dims(self) -> int:
        """2 for images, 3 for volumes."""
        return len(self.axes) - 1 - self.has_colours


def read_parts(place: Place, *, dims: int = 2, test: bool = False) -> list[Part]:
    """Reads the headers and labels of the training images and, if there are any, the validation images.

    Args:
        place: the NPZ file.
        dims: 2 to read images, 3 to read volumes.
        test: read the test images instead.
    Raises:
        ValueError: with all problems; as all functions here, if the file is damaged or holds something else.
        OSError: if it cannot be read.
    """
    with _archive(place) as archive:
        names = {name.removesuffix(".npy") for name in archive.namelist()}
        wanted = ["test"] if test else ["train", *(["val"] if {"val_images", "val_labels"} & names else [])]
        arrays = [f"{part}_{what}" for part in wanted for what in ("images", "labels")]
        if missing := [name for name in arrays if name not in names]:
            raise ValueError(f"has no array {listed(missing)}; it has {listed(sorted(names)) or 'none'}")
        parts = [_part(archive, name) for name in wanted]
    if problems := [problem for part in parts for problem in _problems(part, dims)] or _disagreement(parts):
        raise ValueError("; ".join(problems))
    return [part._replace(labels=part.labels.ravel()) for part in parts]


def has_test(place: Place) -> bool:
    """Returns True if a file has test images."""
    with _archive(place) as archive:
        return bool({"test_images.npy", "test_labels.npy"} & set(archive.namelist()))


def holds_volumes(place: Place) -> bool:
    """Returns True if the training images of a file are volumes.

    Raises:
        ValueError: if it holds none, or is damaged.
    """
    with _archive(place) as archive:
        if "train_images.npy" not in archive.namelist():
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            raise ValueError(f"has no array train_images; it has {listed(sorted(names)) or 'none'}")
        return _without_labels(archive, "train_images").dims == 3


def decoder(
    place: Place, parts: Sequence[Part], *, deep: bool, window: Window | None = None
) -> Callable[[int], np.ndarray]:
    """Function from a position among the images of all parts to the image.

    Args:
        place: the NPZ file.
        parts: parts of the file, in the order of positions.
        deep: decode to 16 bits instead of 8.
        window: values shown as black and white, instead of the full range of the array's type.
    Returns:
        A function position -> [h, w, c], or [d, h, w, c] for volumes: uint8, or uint16 if `deep`.
    """
    arrays = [_images(place, part) for part in parts]
    starts = np.cumsum([0, *(len(array) for array in arrays)])

    def decode(position: int) -> np.ndarray:
        of_part = int(np.searchsorted(starts, position, side="right")) - 1
        return array_levels(np.array(arrays[of_part][position - starts[of_part]]), deep=deep, window=window)

    return decode


def image_name(parts: Sequence[Part], position: int) -> str:
    """Name of the image at a position among those of all parts: `val_images[3]`."""
    for part in parts:
        if position < len(part.labels):
            break
        position -= len(part.labels)
    return f"{part.images}[{position}]"


def image_arrays(place: Place, *, dims: int = 2) -> dict[str, np.ndarray]:
    """All arrays of images, with or without labels, for prediction: name -> [n, h, w, c] or [n, d, h, w, c], on disk.

    Args:
        place: the NPZ file.
        dims: 2 for images, 3 for volumes.
    Raises:
        ValueError: with all problems; see `read_parts`.
        OSError: if the file cannot be read.
    """
    with _archive(place) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        wanted = [name for name in names if name == "images" or name.endswith("_images")]
        if not wanted:
            raise ValueError(f"has no array of images (images, train_images, …); it has {listed(names) or 'none'}")
        parts = [_without_labels(archive, name) for name in wanted]
    if problems := [problem for part in parts for problem in _problems(part, dims)]:
        raise ValueError("; ".join(problems))
    return {name: _images(place, part) for name, part in zip(wanted, parts, strict=True)}


def _without_labels(archive: zipfile.ZipFile, name: str) -> Part:
    axes, dtype = _checked_header(archive, name)
    return Part(name.removesuffix("images").removesuffix("_"), axes, dtype, np.zeros(axes[:1], np.int64))


def _images(place: Place, part: Part) -> np.ndarray:
    """Images of a part, [n, h, w, c] or [n, d, h, w, c], mapped from disk instead of loaded into memory."""
    # Unpacked, because compressed data cannot be mapped. The file has no name and disappears with the array.
    with tempfile.TemporaryFile() as unpacked:
        with _archive(place) as archive, archive.open(f"{part.images}.npy") as packed:
            shutil.copyfileobj(packed, unpacked, 1 << 20)
        unpacked.seek(0)
        axes, is_fortran, dtype = _header(unpacked)
        order: Any = "F" if is_fortran else "C"
        mapped = np.memmap(unpacked, dtype, "r", unpacked.tell(), axes, order)
    return mapped if part.has_colours else mapped[..., None]


@contextlib.contextmanager
def _archive(place: Place) -> Iterator[zipfile.ZipFile]:
    if not is_url(place) and not Path(place).is_file():
        raise ValueError("is a folder; source 'npz' takes a file" if Path(place).is_dir() else "does not exist")
    try:
        with opened(place, whole=False) as file, zipfile.ZipFile(file) as archive:
            size, unpacked = file.seek(0, os.SEEK_END), sum(part.file_size for part in archive.infolist())
            if unpacked > _LARGEST_RATIO * size + _ALLOWANCE:
                raise ValueError(
                    f"its {size:,} bytes would unpack to {unpacked:,}, more than the limit of {_LARGEST_RATIO} times as many and "
                    f"{_ALLOWANCE // 2**20:,} MiB; save it without compression (np.savez)"
                )
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise ValueError(f"is not an NPZ file, or is damaged: {error}") from None


def _header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Reads the axes, whether the first one is innermost, and the type of a .npy file; leaves the file at its values."""
    if np.lib.format.read_magic(file) == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    return np.lib.format.read_array_header_2_0(file)


def _checked_header(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Reads the axes and the type of an array, before anything is allocated for it."""
    with archive.open(f"{name}.npy") as file:
        axes, _, dtype = _header(file)
        left = archive.getinfo(f"{name}.npy").file_size - file.tell()
    if not dtype.hasobject and left != math.prod(axes) * dtype.itemsize:
        raise ValueError(f"{name} is damaged: its size does not match its header")
    return axes, dtype


def _part(archive: zipfile.ZipFile, name: str) -> Part:
    axes, dtype = _checked_header(archive, f"{name}_images")
    _checked_header(archive, f"{name}_labels")
    with archive.open(f"{name}_labels.npy") as labels:
        return Part(name, axes, dtype, _labels(labels, f"{name}_labels"))


def _labels(file: Any, name: str) -> np.ndarray:
    try:
        values = np.lib.format.read_array(file, allow_pickle=False)
    except ValueError as error:
        raise ValueError(f"{name} cannot be read: {error}") from None
    if values.dtype.kind == "S":
        return np.char.decode(values, "utf-8")
    return values.astype(np.uint8) if values.dtype == bool else values


def _problems(part: Part, dims: int) -> list[str]:
    """Problems of one part if images of so many dimensions are expected."""
    images, labels = part.images, f"{part.name}_labels"
    shape, problems = _axes(part.axes), []
    if part.has_channels_first(dims):
        last = "[n, h, w, 3]" if dims == 2 else "[n, d, h, w, 3]"
        problems.append(
            f"{images} holds {shape}: its channels come first; save np.moveaxis({images}, 1, -1), which is {last}"
        )
    elif dims == 2 and len(part.axes) == 3 and part.axes[2] in {3, 4} and part.axes[1] > part.axes[2]:
        problems.append(
            f"{images} holds {shape}, which is one image, [h, w, c]; save {images}[None], which is [1, h, w, c]"
        )
    elif dims == 2 and len(part.axes) == 4 and part.axes[3] in {2, 4} and min(part.axes[1:3]) > 4:
        first = 3 if part.axes[3] == 4 else 1
        problems.append(f"{images} holds {shape}: of its {part.axes[3]} channels, save {images}[..., :{first}]")
    elif part.dims not in {2, 3} or part.channels not in {1, 3} or 0 in part.axes:
        problems.append(f"{images} holds {shape or 'one number'}; {_KINDS[dims]}")
    elif part.dims == 3 and dims == 2:
        remedy = "set data.depth to the number of slices that the network sees, and choose a network for volumes"
        problems.append(f"{images} holds volumes ({shape}); {remedy}")
    elif part.dims == 2 and dims == 3:
        problems.append(f"{images} holds images ({shape}), but data.depth is set; remove it ({_KINDS[3]})")
    elif min(part.axes[1 : 1 + dims]) < 2:
        problems.append(f"{images} holds {shape}; each side needs at least 2")
    if part.dtype.newbyteorder("=") not in _DEPTHS:
        problems.append(f"{images} holds {part.dtype}; uint8 and uint16 are supported")
    each = part.labels.size // max(1, len(part.labels)) if part.labels.ndim else 0
    if part.labels.ndim == 2 and each > 1:
        problems.append(f"{labels} holds {each} labels per image; one is supported ([n] or [n, 1])")
    elif part.labels.ndim not in {1, 2} or each != 1:
        problems.append(f"{labels} holds {_axes(part.labels.shape) or 'one number'}; labels are [n] or [n, 1]")
    elif part.labels.dtype.kind not in "biufUS" or (
        part.labels.dtype.kind == "f" and not np.isfinite(part.labels).all()
    ):
        problems.append(f"{labels} holds {part.labels.dtype} values that are neither numbers nor names")
    elif part.axes and len(part.labels) != part.axes[0]:
        problems.append(f"{images} holds {part.axes[0]} images, but {labels} {len(part.labels)} labels")
    return problems


def _disagreement(parts: list[Part]) -> list[str]:
    kinds = {(part.channels, part.dtype) for part in parts}
    found = " and ".join(f"{part.name}_images {_axes(part.axes)} of {part.dtype}" for part in parts)
    return [f"its parts differ: {found}"] if len(kinds) > 1 else []


def _axes(axes: tuple[int, ...]) -> str:
    return " × ".join(map(str, axes))
