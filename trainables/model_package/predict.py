"""Predicts images with a network, a few at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from trainables.data.formats.images import BadImageError
from trainables.data.store.build_stores import Progress
from trainables.data.store.decoding import decode_resized, in_parallel
from trainables.model_package.input_images import Item
from trainables.model_package.manifest import Input
from trainables.model_package.network import Network, Outcome


class Results(NamedTuple):
    """Results of a network for n images, some of which may not be readable."""

    kept: np.ndarray
    """[k] int64, ascending: positions of the images that could be read."""
    outcome: Outcome
    """Features and outputs of these k images."""
    bad: dict[int, str]
    """Position -> reason why the image cannot be read, with its file."""


def run(network: Network, items: Sequence[Item], *, progress: Progress | None = None) -> Results:
    """Decodes and predicts images. Only a few batches and the results are in memory at a time.

    Args:
        network: the package's network.
        items: images to predict.
        progress: called as `progress(done, total)` while images are decoded.
    """
    readable: list[int] = []
    bad: dict[int, str] = {}

    def images() -> Iterator[np.ndarray]:
        given = network.manifest.input
        shape = shape_of(given)
        resized = in_parallel(lambda i: decode_resized(items[i].decode, [shape], given.fit, given.box), len(items))
        for i, at_sizes in enumerate(resized):
            if progress:
                progress(i + 1, len(items))
            if isinstance(at_sizes, BadImageError):
                bad[i] = str(at_sizes)
            else:
                readable.append(i)
                yield at_sizes.images[0]

    parts = list(network.outcomes(images(), total=len(items)))
    empty = np.zeros((0, 0), np.float32)
    features, outputs = (
        np.concatenate(column) if parts else empty for column in (list(zip(*parts, strict=True)) or [[], []])
    )
    return Results(np.array(readable, np.int64), Outcome(features, outputs), bad)


def shape_of(given: Input) -> tuple[int, ...]:
    """Height and width of an image, or depth, height and width of a volume, after resizing."""
    sides = (given.image_size, given.image_size)
    return sides if given.depth is None else (given.depth, *sides)
