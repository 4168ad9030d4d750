"""Images that cannot be read and are left out, as `data.on_bad: skip` says."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from trainables.core.config_errors import listed
from trainables.data.messages import path_error
from trainables.data.sources.source import Source


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
    """A source's good images alone, see `Source.without`.

    Args:
        left_out: [m] positions of bad images.
        listing: file that names them, for the message.
    Raises:
        ConfigError: if a class loses all its images.
    """
    good = source.without(left_out)
    counts, remain = (np.bincount(each.labels, minlength=len(each.classes)) for each in (source, good))
    if lost := [f"{source.classes[j]!r} (all {counts[j]})" for j in np.flatnonzero(remain == 0)]:
        raise path_error(f"no image that can be read is left of {listed(lost)}; bad images are listed in {listing}")
    return good
