"""Images through a network, some at a time, and what came of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from trainables.data.formats.images import BadImageError
from trainables.data.store.decoded_images import Progress, decoded, in_parallel
from trainables.model_package.input_images import Item
from trainables.model_package.manifest import Input
from trainables.model_package.network import Network, Outcome


class Results(NamedTuple):
    """What a network made of n images, of which some may not have been readable."""

    kept: np.ndarray
    """[k] int64, ascending: positions of those that could be read."""
    outcome: Outcome
    """Of these."""
    bad: dict[int, str]
    """Position -> why it cannot be read; says the file."""


def run(network: Network, items: Sequence[Item], *, progress: Progress | None = None) -> Results:
    """Decodes and predicts; a few batches are in memory at a time, and what is kept of each image."""
    kept: list[int] = []
    bad: dict[int, str] = {}

    def images() -> Iterator[np.ndarray]:
        shape = shape_of(network.manifest.input)
        for i, at_sizes in enumerate(in_parallel(lambda i: decoded(items[i].decode, [shape]), len(items))):
            if progress:
                progress(i + 1, len(items))
            if isinstance(at_sizes, BadImageError):
                bad[i] = str(at_sizes)
            else:
                kept.append(i)
                yield at_sizes[0]

    parts = list(network.outcomes(images(), total=len(items)))
    empty = np.zeros((0, 0), np.float32)
    features, outputs = (
        np.concatenate(column) if parts else empty for column in (list(zip(*parts, strict=True)) or [[], []])
    )
    return Results(np.array(kept, np.int64), Outcome(features, outputs), bad)


def shape_of(given: Input) -> tuple[int, ...]:
    """What an image or a volume is resized to."""
    sides = (given.image_size, given.image_size)
    return sides if given.depth is None else (given.depth, *sides)
