"""Images that cannot be read and are left out, as `data.on_bad: skip` says."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from trainables.core.config_errors import listed
from trainables.data.messages import path_error
from trainables.data.sources.source import Source


class LeftOut(NamedTuple):
    """Number of images of a source that cannot be read."""

    images: int
    of: int
    """Total number of images of the source."""
    listing: Path
    """File that lists them with their reasons."""

    def __str__(self) -> str:
        are = "is" if self.images == 1 else "are"
        return f"{self.images} of {self.of} images cannot be read and {are} left out, listed in {self.listing}"


def without(source: Source, left_out: np.ndarray, listing: Path) -> Source:
    """Source without its unreadable images, see `Source.without`.

    Args:
        source: the source with all its images.
        left_out: [m] positions of unreadable images.
        listing: file that lists them, for the message.
    Raises:
        ConfigError: if a class loses all its images.
    """
    readable = source.without(left_out)
    counts, remain = (np.bincount(each.labels, minlength=len(each.classes)) for each in (source, readable))
    if lost := [f"{source.classes[j]!r} (all {counts[j]})" for j in np.flatnonzero(remain == 0)]:
        raise path_error(f"no image can be read of {listed(lost)}; unreadable images are listed in {listing}")
    return readable
