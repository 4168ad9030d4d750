"""Image files among others: known by their names, or else by their content."""

from __future__ import annotations

import os

from PIL import Image

from trainables.data.formats import dicom
from trainables.data.formats.images import FORMATS, SUFFIXES, UNREADABLE
from trainables.data.formats.nifti import is_nifti_name
from trainables.storage.urls import Place, is_url, opened


def suffix_of(place: Place) -> str:
    """Ending of a file's name in lower case, with its dot; empty if there is none."""
    return os.path.splitext(place)[1].lower()  # noqa: PTH122  a million Path objects take seconds


def is_image(place: Place) -> bool:
    """Returns True for an image or a volume: by the ending of its name, or else, on disk, by its first bytes."""
    if suffix_of(place) in SUFFIXES or is_nifti_name(place):
        return True
    return not is_url(place) and _holds_an_image(place)


def _holds_an_image(file: Place) -> bool:
    try:
        with opened(file) as stream:
            if dicom.is_dicom(stream):
                return True
            with Image.open(stream, formats=FORMATS):
                return True
    except UNREADABLE:
        return False
