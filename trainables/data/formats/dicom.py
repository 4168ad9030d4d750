"""DICOM files as a radiologist sees them: rescaled, windowed, not inverted, colours as RGB.

Follows the standard's sections PS3.3 C.7.6.3 (pixels), C.11.1 (rescaling) and C.11.2 (windows). pydicom and its plug-ins
decode the files.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, BinaryIO, TypeVar

import numpy as np
from PIL import Image

from trainables.data.formats.size_limits import check_size, chosen_frame
from trainables.data.formats.windowing import as_levels
from trainables.recipe.data_settings.image_settings import Frame, Window
from trainables.storage.urls import Place, opened

_T = TypeVar("_T")

_GREY = frozenset({"MONOCHROME1", "MONOCHROME2"})
_COLOUR = frozenset({"RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"})
_FACTS = ["PhotometricInterpretation", "BitsStored", "BitsAllocated"]
_MAY_BE_EMPTY = (
    *("BitsStored", "RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth", "VOILUTFunction"),
    *("ModalityLUTSequence", "VOILUTSequence", "PixelPaddingValue", "PixelPaddingRangeLimit"),
)
"""Elements that count as absent if they have no value; pydicom would calculate with None."""
_FIRST_GROUPS = {bytes([group, 0]) for group in (0x08, 0x10, 0x18, 0x20, 0x28)}
_FAR = 1e12
"""A number larger than any grey value."""

# pydicom warns about each minor violation of the standard.
warnings.filterwarnings("ignore", category=UserWarning, module="pydicom")


def is_dicom(file: BinaryIO) -> bool:
    """Returns True if a file is marked as DICOM, or begins like one; rewinds it to its start."""
    start = file.read(132)
    file.seek(0)
    return start[128:] == b"DICM" or _begins_with_group_8(start)


def _begins_with_group_8(start: bytes) -> bool:
    """Returns True if a file begins with an element of group 8 and goes on with one of the usual groups, as older programs write
    DICOM without the mark."""
    has_type = start[4:6].isalpha() and start[4:6].isupper()  # else its length takes four bytes
    following = 8 + int.from_bytes(start[6:8] if has_type else start[4:8], "little")
    return start[:2] == b"\x08\0" and start[following : following + 2] in _FIRST_GROUPS


def grey_and_deep(file: BinaryIO) -> tuple[bool, bool]:
    """Reads from the header whether the image is grey, and whether it is grey with more than 8 bits.

    Raises:
        ValueError: as all functions here, if the file is damaged, incomplete or not supported.
    """
    return _guarded(lambda: _grey_and_deep(_opened(file, stop_before_pixels=True, specific_tags=_FACTS)))


def patient_of(place: Place) -> str | None:
    """Reads the patient's ID from the header; None if there is none."""

    def patient() -> str | None:
        with opened(place) as file:
            if not is_dicom(file):
                return None
            return str(_opened(file, stop_before_pixels=True, specific_tags=["PatientID"]).PatientID).strip()

    try:
        return _guarded(patient) or None
    except (ValueError, OSError):
        return None


def read(
    file: BinaryIO, *, grey: bool, deep: bool = False, frame: Frame | None = None, window: Window | None = None
) -> np.ndarray:
    """Decodes an image.

    Args:
        file: the DICOM file, at its start.
        grey, deep, frame, window: see `images.read_image`.
    Returns:
        [h, w, 1] or [h, w, 3] uint8, or [h, w, 1] uint16 if `deep`.
    """

    def pixels() -> np.ndarray:
        content = _opened(file)
        shown = _shown(content, frame, window)
        if deep:
            return as_levels(shown, deep=True)[:, :, None]
        picture = Image.fromarray(as_levels(shown, deep=False)).convert("L" if grey else "RGB")
        return np.asarray(picture)[:, :, None] if grey else np.asarray(picture)

    return _guarded(pixels)


def _pydicom() -> Any:
    try:
        import pydicom.pixels
    except ImportError:
        raise ValueError("is a DICOM file; to read it, `pip install 'thaw-search[dicom]'`") from None
    return pydicom


def _opened(file: BinaryIO, **how: Any) -> Any:
    # force: the file is known to be DICOM, whether it is marked or not.
    content = _pydicom().dcmread(file, force=True, **how)
    if "TransferSyntaxUID" not in content.file_meta:
        is_implicit, _ = content.original_encoding
        content.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2" if is_implicit else "1.2.840.10008.1.2.1"
    return _filled(content)


def _filled(content: Any) -> Any:
    for name in _MAY_BE_EMPTY:
        if name in content and _is_empty(content[name]):
            del content[name]
    return content


def _is_empty(element: Any) -> bool:
    return element.is_empty or (element.VR == "SQ" and not element.value[0].get("LUTData"))


def _guarded(work: Callable[[], _T]) -> _T:
    try:
        return work()
    except (ValueError, OSError):
        raise
    except Exception as error:  # pydicom raises a dozen exceptions without a common base on incomplete files
        lines = [line.strip() for line in str(error).splitlines()]
        raise ValueError(f"is a damaged or unusual DICOM file: {' '.join(lines) or type(error).__name__}") from None


def _grey_and_deep(content: Any) -> tuple[bool, bool]:
    grey: bool = content.PhotometricInterpretation in _GREY
    return grey, grey and int(content.get("BitsStored", content.BitsAllocated)) > 8


# --- from stored values to displayed ones ---------------------------------------------------------------------------


def _shown(content: Any, frame: Frame | None, window: Window | None) -> np.ndarray:
    """Displayed values [h, w] or [h, w, 3], from 0 for black to 1 for white."""
    if not any(name in content for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise ValueError(f"is a DICOM file without an image ({_kind(content)})")
    check_size(int(content.Columns), int(content.Rows))
    at = chosen_frame(int(content.get("NumberOfFrames") or 1), frame)
    colours = content.PhotometricInterpretation
    if window is not None and colours not in _GREY:
        raise ValueError("is in colour, and data.window shows grey values")
    if colours not in _GREY | _COLOUR:
        raise ValueError(f"is a DICOM file in {colours}, which is not supported")
    stored: np.ndarray = _pydicom().pixels.pixel_array(content, index=at)  # YBR as RGB
    if colours in _GREY:
        return _shown_grey(stored, _with_facts_of_frame(content, at), window)
    if colours == "PALETTE COLOR":
        stored = _pydicom().pixels.apply_color_lut(stored, content)
        return stored / np.iinfo(stored.dtype).max
    return stored / (2.0 ** int(content.BitsStored) - 1)


def _kind(content: Any) -> str:
    kind = content.get("SOPClassUID")
    return kind.name if kind else "of unknown kind"


def _with_facts_of_frame(content: Any, frame: int) -> Any:
    """Adds a frame's window and scale, which enhanced images store for each frame or for all frames, to the data set."""
    shared, own = (content.get(f"{of}FunctionalGroupsSequence", [])[:] for of in ("Shared", "PerFrame"))
    for group in [*shared[:1], *own[frame : frame + 1]]:
        for name in ("FrameVOILUTSequence", "PixelValueTransformationSequence"):
            for facts in group.get(name, [])[:1]:
                content.update(facts)
    return _filled(content)


def _shown_grey(stored: np.ndarray, content: Any, window: Window | None) -> np.ndarray:
    values = _rescaled(stored, content)
    padding = _padding(stored, content)
    if window is not None:
        content.WindowCenter, content.WindowWidth, content.VOILUTFunction = window.center, window.width, "LINEAR_EXACT"
    if window is None and "VOILUTSequence" in content:
        shown = _looked_up(values, content.VOILUTSequence[0], content)
    elif "WindowCenter" in content and "WindowWidth" in content:
        shown = _windowed(values, content)
    else:
        low, high = _ends(values[~padding], content)
        shown = (values - low) / max(high - low, 1e-12)
    if content.PhotometricInterpretation == "MONOCHROME1":
        shown = 1 - shown
    return np.where(padding, 0, shown)


def _rescaled(stored: np.ndarray, content: Any) -> np.ndarray:
    """Values in the unit of the modality, such as Hounsfield units for CT."""
    if sequence := content.get("ModalityLUTSequence"):
        bits = int(sequence[0].LUTDescriptor[2])
        rescaled: np.ndarray = _looked_up(stored, sequence[0], content) * (2**bits - 1)
        return rescaled
    values: np.ndarray = _pydicom().pixels.apply_rescale(stored, content).astype(np.float64)
    return values


def _padding(stored: np.ndarray, content: Any) -> np.ndarray:
    """Mask [h, w] of the pixels that only pad the image to a rectangle."""
    value = content.get("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, bool)
    ends = int(value), int(content.get("PixelPaddingRangeLimit", value))
    # As the pixels: many files store the value of signed pixels as an unsigned number, or the other way round.
    unsigned = np.array([end % 2**16 for end in ends], np.uint16)
    low, high = sorted((unsigned.view(np.int16) if content.PixelRepresentation else unsigned).tolist())
    padding: np.ndarray = (stored >= low) & (stored <= high)
    return padding


def _looked_up(values: np.ndarray, table: Any, content: Any) -> np.ndarray:
    """Maps values through a look-up table to 0 … 1."""
    # Not pydicom's apply_voi, whose indices overflow where 8-bit tables have more than 256 entries.
    count, first, bits = table.LUTDescriptor
    entries = table.LUTData
    if isinstance(entries, bytes):
        little_endian = content.original_encoding[1]
        wide = len(entries) >= 2 * (count or 65536)
        entries = np.frombuffer(entries, ("<u2" if little_endian else ">u2") if wide else "u1")
    positions = np.clip(np.rint(values) - first, 0, (count or 65536) - 1).astype(np.int64)
    shown: np.ndarray = np.asarray(entries)[positions] / (2.0**bits - 1)
    return shown


def _windowed(values: np.ndarray, content: Any) -> np.ndarray:
    """Maps values through the first window to 0 … 1."""
    apply = _pydicom().pixels.apply_windowing
    with np.errstate(over="ignore"):  # a sigmoid overflows at ±_FAR
        low, high = apply(np.array([-_FAR, _FAR]), content)  # pydicom's output range depends on the stored bits
    shown: np.ndarray = (apply(values, content) - low) / (high - low)
    return shown


def _ends(values: np.ndarray, content: Any) -> tuple[float, float]:
    """Values of black and white if the file gives no window: the range of 8-bit values, else the darkest and brightest pixel."""
    bits = int(content.get("BitsStored", 16))
    if bits > 8 or "ModalityLUTSequence" in content:
        return (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    lowest = -(2 ** (bits - 1)) if content.PixelRepresentation else 0
    low, high = sorted(_rescaled(np.array([lowest, lowest + 2**bits - 1]), content).tolist())
    return low, high
