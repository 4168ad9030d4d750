"""Facts about a data set's images, from a small sample that is decoded."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from trainables.data.formats.images import BadImageError
from trainables.data.sources.source import Source

_SAMPLED = 128
"""Number of images that are decoded."""
_MOST_PIXELS = 500_000_000
"""Pixels after which no further image is decoded, for the time that it takes."""


class Sample(NamedTuple):
    """Some images of a data set."""

    shapes: list[tuple[int, ...]]
    """[h, w, c] of each image, or [d, h, w, c] of each volume."""
    bad: dict[int, str]
    """Position of each image that cannot be read, and the reason."""

    @property
    def sides(self) -> tuple[int, int, int]:
        """Smallest, median and largest shorter side, in pixels; of volumes, of the slices."""
        sides = [min(shape[-3:-1]) for shape in self.shapes]
        return min(sides), int(np.median(sides)), max(sides)

    @property
    def aspect(self) -> float:
        """Median ratio of an image's longer side to its shorter one."""
        return float(np.median([max(shape[-3:-1]) / min(shape[-3:-1]) for shape in self.shapes]))

    @property
    def depths(self) -> tuple[int, int, int] | None:
        """Smallest, median and largest number of slices; None for images."""
        depths = [shape[0] for shape in self.shapes if len(shape) == 4]
        return (min(depths), int(np.median(depths)), max(depths)) if depths else None


def sample_of(source: Source) -> Sample:
    """Decodes some images, evenly spaced."""
    reader, sample, pixels = source.open(), Sample([], {}), 0
    for i in np.unique(np.linspace(0, len(source.labels) - 1, _SAMPLED).astype(int)).tolist():
        try:
            sample.shapes.append(reader.decode(i).shape)
        except BadImageError as error:
            sample.bad[i] = str(error)
            continue
        pixels += math.prod(sample.shapes[-1][:-1])
        if pixels > _MOST_PIXELS:
            break
    return sample
