"""Facts about a data set's images, from a small sample that is decoded."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from trainables.core.config_errors import ConfigError
from trainables.data.formats.images import BadImageError
from trainables.data.formats.windowing import little_range, suitable_window
from trainables.data.sources.open_source import open_source
from trainables.data.sources.source import Source
from trainables.data.store.resize import suitable_fit
from trainables.recipe.data_config import DataConfig
from trainables.recipe.data_settings.image_settings import Fit, Window
from trainables.recipe.source_catalog import source_spec

_SAMPLED = 128
"""Number of images that are decoded."""
_MOST_PIXELS = 500_000_000
"""Pixels after which no further image is decoded, for the time that it takes."""


class Sample(NamedTuple):
    """Some images of a data set."""

    shapes: list[tuple[int, ...]]
    """[h, w, c] of each image, or [d, h, w, c] of each volume."""
    ends: list[tuple[int, int]]
    """Smallest and largest value of each of them."""
    bad: dict[int, str]
    """Position of each image that cannot be read, and the reason."""

    @property
    def sides(self) -> tuple[int, int, int]:
        """Smallest, median and largest shorter side, in pixels; of volumes, of the slices."""
        sides = [min(shape[-3:-1]) for shape in self.shapes]
        return min(sides), int(np.median(sides)), max(sides)

    @property
    def fit(self) -> Fit:
        """Way to make the images square, see `data.fit`."""
        return suitable_fit([shape[-2] / shape[-3] for shape in self.shapes])

    @property
    def depths(self) -> tuple[int, int, int] | None:
        """Smallest, median and largest number of slices; None for images."""
        depths = [shape[0] for shape in self.shapes if len(shape) == 4]
        return (min(depths), int(np.median(depths)), max(depths)) if depths else None


def sample_of(source: Source) -> Sample:
    """Decodes some images, evenly spaced."""
    reader, sample, pixels = source.open(), Sample([], [], {}), 0
    for i in np.unique(np.linspace(0, len(source.labels) - 1, _SAMPLED).astype(int)).tolist():
        try:
            image = reader.decode(i)
        except BadImageError as error:
            sample.bad[i] = str(error)
            continue
        sample.shapes.append(image.shape)
        sample.ends.append((int(image.min()), int(image.max())))
        pixels += math.prod(sample.shapes[-1][:-1])
        if pixels > _MOST_PIXELS:
            break
    return sample


def window_of(config: DataConfig, sample: Sample) -> Window | None:
    """Window for images with more than 8 bits that use little of their range, such as 12 bits in files of 16; else None.

    Args:
        config: the section `data`.
        sample: a sample of its images.
    """
    can = "window" in source_spec(config.source).supports and config.depth is None
    if not can or not little_range(np.array(sample.ends), 255):
        return None
    try:
        deep = sample_of(open_source(config.model_copy(update={"bits": 16})))
    except ConfigError:  # they have 8 bits, or are in colour
        return None
    ends = little_range(np.array(deep.ends), 65535)
    return suitable_window(*ends) if ends else None
