"""Images that cannot be read and are left out, as `data.on_bad: skip` says."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from trainables.data.messages import listed, path_error
from trainables.data.sources import Source


class LeftOut(NamedTuple):
    """How many images of a source cannot be read."""

    images: int
    of: int
    """Images of the source, with those that can be read."""
    listing: Path
    """File that names them with their reasons."""

    def __str__(self) -> str:
        are = "is" if self.images == 1 else "are"
        return f"{self.images} of {self.of} images cannot be read and {are} left out, listed in {self.listing}"


def without(source: Source, left_out: np.ndarray, listing: Path) -> Source:
    """The labels, groups and whatever else a source says of each image, for the good images alone.

    To be split, not to be read: its reader still counts all images.

    Args:
        left_out: [m] positions of bad images.
        listing: file that names them, for the message.
    Raises:
        ConfigError: if a class loses all its images.
    """
    columns = {f.name: getattr(source, f.name) for f in fields(source)}
    columns = {name: np.delete(values, left_out) for name, values in columns.items() if isinstance(values, np.ndarray)}
    counts = np.bincount(source.labels, minlength=len(source.classes))
    remain = np.bincount(columns["labels"], minlength=len(source.classes))
    if lost := [f"{source.classes[j]!r} (all {counts[j]})" for j in np.flatnonzero(remain == 0)]:
        raise path_error(f"no image that can be read is left of {listed(lost)}; bad images are listed in {listing}")
    return replace(source, **columns)
