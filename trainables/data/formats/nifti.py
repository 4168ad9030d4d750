"""NIfTI files as volumes: the right way round, in their units, windowed. nibabel reads them."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from trainables.core.config_errors import ConfigError, Problem, listed
from trainables.data.formats.images import BadImageError
from trainables.data.formats.size_limits import check_voxels
from trainables.recipe.data_config import Window
from trainables.storage.urls import Place, is_url, opened

SUFFIXES = (".nii", ".nii.gz")
_DARKEST, _BRIGHTEST = 0.5, 99.5
"""Percentiles of a volume's intensities that are black and white where no window says so: a few voxels of metal or of a vessel
are many times brighter than all tissue."""
_MOST_RANKED = 2**22
"""Voxels, evenly spread, that percentiles are taken of: all 50 million of a large scan would take seconds."""
_HEADER_SIZES = {348: "Nifti1Image", 540: "Nifti2Image"}


def is_nifti_name(place: Place) -> bool:
    """Whether a file is called as NIfTI files are."""
    return str(place).lower().endswith(SUFFIXES)


def check_names(places: Sequence[Place], *, volumes: bool) -> None:
    """Refuses files of the other kind by their names, before any is read.

    Args:
        volumes: whether NIfTI files are wanted; else images.
    Raises:
        ConfigError: at `data.depth`.
    """
    wrong = [str(place) for place in places if is_nifti_name(place) != volumes]
    if not wrong:
        return
    found = f"{len(wrong)} of {len(places)} files are {'no ' if volumes else ''}NIfTI volumes ({listed(wrong, 3)})"
    mend = (
        f"with a depth, all files are {' or '.join(SUFFIXES)}; remove data.depth if these are images"
        if volumes
        else "say in data.depth how many slices the network sees of each, and choose a network for volumes"
    )
    raise ConfigError([Problem(("data", "depth"), f"{found}; {mend}")])


def read_volume(place: Place, *, deep: bool = False, window: Window | None = None) -> np.ndarray:
    """[d, h, w, 1] uint8, or uint16 where `deep`: axial slices from the feet to the head, each as DICOM shows it: the patient's
    right side is on the left, the front at the top.

    Values that are no finite numbers are black.

    Args:
        window: what is black and white, in the file's units after scaling; None: its own 0.5 and 99.5 percentiles.
    Raises:
        BadImageError: if the file is no NIfTI file, damaged, of another shape than [x, y, z], coloured or complex.
    """
    try:
        values = _values(place)
        shown = _shown(values, window)
    except Exception as error:  # nibabel has a dozen kinds of errors for foreign bytes, without a base of their own
        raise BadImageError(f"{place}: {_reason(place, error)}") from None
    highest = 65535 if deep else 255
    levels = np.floor(shown * highest + np.float32(0.5), out=shown)
    return levels.astype(np.uint16 if deep else np.uint8)[..., None]


def _nibabel() -> Any:
    try:
        import nibabel
    except ImportError:
        raise ValueError("is a NIfTI file; `pip install 'thaw-search[nifti]'` lets them be read") from None
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL + 1)  # a line for each small offence
    return nibabel


def _values(place: Place) -> np.ndarray:
    """[d, h, w] float32."""
    nibabel = _nibabel()
    with opened(place) as file:
        stream = cast(BinaryIO, gzip.GzipFile(fileobj=file)) if file.read(2) == b"\x1f\x8b" else file
        file.seek(0)
        image = _kind(nibabel, stream).from_stream(stream)
        shape = _checked_shape(image)
        values = image.get_fdata(dtype=np.float32, caching="unchanged").reshape(shape)
        while stream.read(1 << 20):  # to the end, where gzip has its checksum
            pass
    right_anterior_superior = nibabel.apply_orientation(values, nibabel.io_orientation(image.affine))
    return np.ascontiguousarray(right_anterior_superior[::-1, ::-1].T)


def _kind(nibabel: Any, stream: BinaryIO) -> Any:
    start = stream.read(4)
    stream.seek(0)
    for size, name in _HEADER_SIZES.items():
        if start in {size.to_bytes(4, "little"), size.to_bytes(4, "big")}:
            return getattr(nibabel, name)
    raise ValueError("is no NIfTI file, or damaged from its start")


def _checked_shape(image: Any) -> tuple[int, ...]:
    shape, kind = tuple(image.shape), image.get_data_dtype()
    if len(shape) > 3 and set(shape[3:]) == {1}:
        shape = shape[:3]
    if len(shape) != 3:
        series = "; a series is no volume: save the one that is meant" if len(shape) > 3 else ""
        raise ValueError(f"has {' × '.join(map(str, shape))} voxels, {len(shape)} axes instead of three{series}")
    check_voxels(shape)
    if kind.fields or kind.kind == "c":
        raise ValueError(f"holds {'colours' if kind.fields else 'complex numbers'}; real numbers are supported")
    return shape


def _shown(values: np.ndarray, window: Window | None) -> np.ndarray:
    """The same values from 0 for black to 1 for white."""
    known = np.isfinite(values)
    if not known.any():
        raise ValueError("holds no finite number")
    low, high = _ends(values[known], window)
    # By halves: the whole range may be beyond float32.
    shown: np.ndarray = (values / 2 - low / 2) / max(high / 2 - low / 2, 1e-30)
    shown[~known] = 0
    return shown.clip(0, 1)


def _ends(values: np.ndarray, window: Window | None) -> tuple[float, float]:
    """What is black and white."""
    if window is not None:
        return window.center - window.width / 2, window.center + window.width / 2
    some = values[:: 1 + len(values) // _MOST_RANKED]
    low, high = (float(end) for end in np.percentile(some, [_DARKEST, _BRIGHTEST]))
    # Nearly all alike, as in a mask.
    return (low, high) if low < high else (float(values.min()), float(values.max()))


def _reason(place: Place, error: Exception) -> str:
    if not is_url(place) and Path(place).is_file() and Path(place).stat().st_size == 0:
        return "is empty"
    said = " ".join(str(error).split()) or type(error).__name__
    tells = isinstance(error, ValueError | FileNotFoundError)
    return said if tells else f"is a damaged or unusual NIfTI file: {said}"
