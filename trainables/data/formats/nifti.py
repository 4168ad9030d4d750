"""NIfTI files as volumes: in standard orientation, in the file's units, windowed. nibabel reads them."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np

from trainables.core.config_errors import ConfigError, Problem, listed
from trainables.data.formats.images import BadImageError
from trainables.data.formats.resample import to_spacing
from trainables.data.formats.size_limits import check_voxels
from trainables.recipe.data_settings.image_settings import Spacing, Window
from trainables.storage.urls import Place, is_url, opened

SUFFIXES = (".nii", ".nii.gz")
_DARKEST, _BRIGHTEST = 0.5, 99.5
"""Percentiles of a volume's intensities shown as black and white if no window is given. Not the extremes: a few voxels of metal or
of a vessel are many times brighter than all tissue."""
_MOST_RANKED = 2**22
"""Most voxels used for percentiles, evenly spaced; all 50 million of a large scan would take seconds."""
_MILLIMETRES = {"meter": 1000.0, "mm": 1.0, "micron": 0.001}
"""Millimetres in the units that a header can name; without one they are millimetres."""
_HEADER_SIZES = {348: "Nifti1Image", 540: "Nifti2Image"}


def is_nifti_name(place: Place) -> bool:
    """Returns True if a file's name has an ending of NIfTI files."""
    return str(place).lower().endswith(SUFFIXES)


def check_names(places: Sequence[Place], *, volumes: bool) -> None:
    """Rejects files of the wrong kind by their names, before any is read.

    Args:
        places: the files.
        volumes: True if NIfTI files are expected, False if images are.
    Raises:
        ConfigError: at `data.depth`, if a file has the wrong kind.
    """
    wrong = [str(place) for place in places if is_nifti_name(place) != volumes]
    if not wrong:
        return
    found = f"{len(wrong)} of {len(places)} files are {'not ' if volumes else ''}NIfTI volumes ({listed(wrong, 3)})"
    remedy = (
        f"data.depth needs {' or '.join(SUFFIXES)} files; remove it if these are images"
        if volumes
        else "set data.depth to the number of slices that the network sees, and choose a network for volumes"
    )
    raise ConfigError([Problem(("data", "depth"), f"{found}; {remedy}")])


def read_volume(
    place: Place, *, deep: bool = False, window: Window | None = None, spacing: Spacing | None = None
) -> np.ndarray:
    """Decodes a volume into axial slices from the feet to the head, each oriented as in DICOM: the patient's right side is on the
    left, the front at the top. Values that are not finite are black.

    Args:
        place: the file.
        deep: decode to 16 bits instead of 8.
        window: values of black and white, in the file's units after scaling; None: the volume's 0.5 and 99.5 percentiles.
        spacing: distance between slices, rows and columns to resample to, in mm; None: not resampled.
    Returns:
        [d, h, w, 1] uint8, or uint16 if `deep`.
    Raises:
        BadImageError: if the file is not a NIfTI file, is damaged, has another shape than [x, y, z], or holds colours or complex
            numbers; or if it would be too large after resampling.
    """
    try:
        values, own = _values(place)
        levels = _levels(_shown(values, window), deep=deep)
        return levels if spacing is None else to_spacing(levels, own, spacing)
    except Exception as error:  # nibabel raises a dozen exceptions without a common base on bytes of other formats
        raise BadImageError(f"{place}: {_reason(place, error)}") from None


class Grid(NamedTuple):
    """Voxels of a volume: slices, rows and columns, as `read_volume` returns them without a spacing."""

    shape: tuple[int, int, int]
    spacing: Spacing


def read_grid(place: Place) -> Grid | None:
    """Reads the grid from a file's header; None if it cannot be read."""
    try:
        with opened(place) as file:
            image, _ = _opened(file)
            x, y, z = (image.shape[i] for i in _axes(image))
            return Grid((z, y, x), _spacing(image))
    except Exception:  # see `read_volume`, which reports it
        return None


def _levels(shown: np.ndarray, *, deep: bool) -> np.ndarray:
    highest = 65535 if deep else 255
    levels = np.floor(shown * highest + np.float32(0.5), out=shown)
    return levels.astype(np.uint16 if deep else np.uint8)[..., None]


def _nibabel() -> Any:
    try:
        import nibabel
    except ImportError:
        raise ValueError("is a NIfTI file; to read it, `pip install 'thaw-search[nifti]'`") from None
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL + 1)  # it logs every minor violation of the standard
    return nibabel


def _opened(file: BinaryIO) -> tuple[Any, BinaryIO]:
    """Image whose header is read, and the stream of its values."""
    stream = cast(BinaryIO, gzip.GzipFile(fileobj=file)) if file.read(2) == b"\x1f\x8b" else file
    file.seek(0)
    return _kind(_nibabel(), stream).from_stream(stream), stream


def _spacing(image: Any) -> Spacing:
    """Distance between slices, rows and columns in mm."""
    own = _nibabel().affines.voxel_sizes(image.affine)
    millimetres = _MILLIMETRES.get(image.header.get_xyzt_units()[0], 1.0)
    x, y, z = (float(own[i]) * millimetres for i in _axes(image))
    return z, y, x


def _axes(image: Any) -> list[int]:
    """Axes of the stored array that run from left to right, from back to front, and from the feet to the head."""
    axes: list[int] = np.argsort(_nibabel().io_orientation(image.affine)[:, 0]).tolist()
    return axes


def _values(place: Place) -> tuple[np.ndarray, Spacing]:
    """Reads the values, [d, h, w] float32, and their spacing."""
    nibabel = _nibabel()
    with opened(place) as file:
        image, stream = _opened(file)
        shape = _checked_shape(image)
        values = image.get_fdata(dtype=np.float32, caching="unchanged").reshape(shape)
        while stream.read(1 << 20):  # to the end, where gzip checks its checksum
            pass
    if not np.isfinite(image.affine).all() or not np.linalg.det(image.affine):
        raise ValueError("does not say how the patient lies: its affine matrix is not invertible")
    right_anterior_superior = nibabel.apply_orientation(values, nibabel.io_orientation(image.affine))
    return np.ascontiguousarray(right_anterior_superior[::-1, ::-1].T), _spacing(image)


def _kind(nibabel: Any, stream: BinaryIO) -> Any:
    start = stream.read(4)
    stream.seek(0)
    for size, name in _HEADER_SIZES.items():
        if start in {size.to_bytes(4, "little"), size.to_bytes(4, "big")}:
            return getattr(nibabel, name)
    raise ValueError("is not a NIfTI file, or its header is damaged")


def _checked_shape(image: Any) -> tuple[int, ...]:
    shape, kind = tuple(image.shape), image.get_data_dtype()
    if len(shape) > 3 and set(shape[3:]) == {1}:
        shape = shape[:3]
    if len(shape) != 3:
        series = "; of a series, save one volume as a file of its own" if len(shape) > 3 else ""
        raise ValueError(f"has {' × '.join(map(str, shape))} voxels, {len(shape)} axes instead of three{series}")
    check_voxels(shape)
    if kind.fields or kind.kind == "c":
        raise ValueError(f"holds {'colours' if kind.fields else 'complex numbers'}; real numbers are supported")
    return shape


def _shown(values: np.ndarray, window: Window | None) -> np.ndarray:
    """Values scaled to 0 for black … 1 for white."""
    known = np.isfinite(values)
    if not known.any():
        raise ValueError("holds no finite number")
    low, high = _ends(values[known], window)
    # Halved, because the whole range may exceed float32.
    shown: np.ndarray = (values / 2 - low / 2) / max(high / 2 - low / 2, 1e-30)
    shown[~known] = 0
    return shown.clip(0, 1)


def _ends(values: np.ndarray, window: Window | None) -> tuple[float, float]:
    """Values of black and white."""
    if window is not None:
        return window.center - window.width / 2, window.center + window.width / 2
    some = values[:: 1 + len(values) // _MOST_RANKED]
    low, high = (float(end) for end in np.percentile(some, [_DARKEST, _BRIGHTEST]))
    # The percentiles are equal where nearly all values are, as in a mask.
    return (low, high) if low < high else (float(values.min()), float(values.max()))


def _reason(place: Place, error: Exception) -> str:
    if not is_url(place) and Path(place).is_file() and Path(place).stat().st_size == 0:
        return "is empty"
    text = " ".join(str(error).split()) or type(error).__name__
    is_clear = isinstance(error, ValueError | FileNotFoundError)
    return text if is_clear else f"is a damaged or unusual NIfTI file: {text}"
