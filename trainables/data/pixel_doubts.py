"""Doubts that decoded pixels raise: images without content, unused range, ends cut off, one picture on both sides of the split."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from trainables.core.config_errors import listed
from trainables.core.printable import printable
from trainables.data.dataset import Dataset
from trainables.data.formats.windowing import little_range, suitable_window
from trainables.data.store.resize import CROPPED_MUCH, cropped_shares, suitable_fit
from trainables.recipe.data_config import DataConfig
from trainables.recipe.source_catalog import source_spec
from trainables.storage.urls import absolute

_FEW_DISTINCT = 0.5
"""Share of distinct images up to which they are few."""
_CROPPED_IMAGES = 0.1
"""Share of the images from which it is worth a warning that much of them is cut off."""
_EXAMPLES = 3


def pixel_doubts(dataset: Dataset, config: DataConfig) -> list[str]:
    """Sentences about what should be looked at, with counts and examples; empty if nothing is doubtful.

    Args:
        dataset: the data set.
        config: the section `data` that it was opened with.
    """
    return [] if dataset.details is None else list(_Doubts(dataset, config).found())


def twins(dataset: Dataset) -> list[tuple[int, int]]:
    """Pairs of positions of images that show the same picture although they are on two sides of the split, or in two classes: each
    such image with the first one that it repeats."""
    if dataset.details is None:
        return []
    like, sides = dataset.details.facts["like"], _sides(dataset)
    first: dict[int, int] = {}
    pairs = []
    for i in np.flatnonzero(sides >= 0).tolist():
        one = first.setdefault(int(like[i]), i)
        if sides[i] != sides[one] or dataset.labels[i] != dataset.labels[one]:
            pairs.append((one, i))
    return pairs


def image_name(dataset: Dataset, config: DataConfig, i: int) -> str:
    """Name of an image for people: its file, below the folder of the data.

    Args:
        dataset: the data set.
        config: the section `data` that it was opened with.
        i: position of the image.
    """
    assert dataset.details is not None
    name = dataset.details.names[i]
    folders = [f"{absolute(place).rstrip('/')}/" for place in (config.images, config.path) if place is not None]
    return printable(next((name.removeprefix(folder) for folder in folders if name.startswith(folder)), name))


def _sides(dataset: Dataset) -> np.ndarray:
    """Side of each image, [n]: 0 for training, 1 for validation, 2 for test; -1 if it is on none."""
    sides = np.full(len(dataset.images), -1)
    for number, side in enumerate((dataset.train, dataset.validation, dataset.test)):
        sides[side] = number
    return sides


class _Doubts:
    """Doubts about the images of a data set that are on a side of the split."""

    def __init__(self, dataset: Dataset, config: DataConfig):
        assert dataset.details is not None
        self._dataset, self._config = dataset, config
        self._sides = _sides(dataset)
        self._used = np.flatnonzero(self._sides >= 0)
        self._facts = dataset.details.facts

    def found(self) -> Iterator[str]:
        """Yields all doubts."""
        yield from self._constant()
        yield from self._few_distinct()
        yield from self._little_range()
        if self._config.fit == "crop" and self._config.depth is None:
            yield from self._cropped()
        yield from self._on_two_sides()
        if self._dataset.targets is None:
            yield from self._in_two_classes()

    def _constant(self) -> Iterator[str]:
        facts = self._facts[self._used]
        found = self._used[facts["lowest"] == facts["highest"]]
        if len(found):
            yield f"the same value in every pixel of {_share(found, self._used)} images{self._described(found)}"

    def _few_distinct(self) -> Iterator[str]:
        distinct = len(np.unique(self._facts["copy_of"][self._used]))
        if distinct <= _FEW_DISTINCT * len(self._used):
            yield f"only {distinct:,} of {len(self._used):,} images are distinct: the others repeat them to the last pixel"

    def _little_range(self) -> Iterator[str]:
        facts, most = self._facts[self._used], np.iinfo(self._dataset.images.dtype).max
        if ends := little_range(np.stack([facts["lowest"], facts["highest"]], axis=1), most):
            low, high = ends
            mend = self._window(low * 65535 / most, (high - 0.5) * 65535 / most)
            yield f"the images use little of the range of values: {low:.0f} … {high:.0f} of 0 … {most}{mend}"

    def _window(self, low: float, high: float) -> str:
        """Window that uses the whole range, if the files have 16 bits."""
        if "window" not in source_spec(self._config.source).supports or self._config.window is not None:
            return ""
        if self._dataset.images.shape[-1] == 3:
            return "; of files with 16 bits a channel the upper 8 are read: scale their values first"
        window = suitable_window(low, high)
        return f"; if the files have 16 bits a pixel, set data.window to {{center: {window.center:.0f}, width: {window.width:.0f}}}"

    def _cropped(self) -> Iterator[str]:
        facts = self._facts[self._used]
        aspects = facts["width"] / facts["height"]
        found = self._used[cropped_shares(aspects) > CROPPED_MUCH]
        if len(found) > _CROPPED_IMAGES * len(self._used):
            fit = suitable_fit(aspects.tolist())
            yield (
                f"more than {CROPPED_MUCH:.0%} is cut off at the ends of {_share(found, self._used)} images"
                f"{self._described(found)}; set data.fit to {fit if fit != 'crop' else 'pad'}"
            )

    def _on_two_sides(self) -> Iterator[str]:
        like = self._facts["like"]
        for side, earlier, what in ((1, (0,), "validation"), (2, (0, 1), "test")):
            images = np.flatnonzero(self._sides == side)
            others = np.flatnonzero(np.isin(self._sides, earlier))
            found = images[np.isin(like[images], like[others])]
            if len(found):
                pairs = [
                    f"{self._name(i)} = {self._name(others[like[others] == like[i]][0])}" for i in found[:_EXAMPLES]
                ]
                more = f", … and {len(found) - len(pairs):,} more" if len(found) > len(pairs) else ""
                yield (
                    f"the same picture on both sides of the split: {_share(found, images)} {what} images "
                    f"({', '.join(pairs)}{more}), so that the score is too good; data.duplicates: group keeps them on one side"
                )

    def _in_two_classes(self) -> Iterator[str]:
        labels = self._dataset.labels
        pairs = [(one, other) for one, other in twins(self._dataset) if labels[one] != labels[other]]
        if pairs:
            named = [f"{self._name(one)} = {self._name(other)}" for one, other in pairs]
            yield f"the same picture in two classes: {len(pairs):,} of {len(self._used):,} images ({listed(named, _EXAMPLES)})"

    def _described(self, images: np.ndarray) -> str:
        """Counts by class, and examples: ` (left 16, right 16; a.png, b.png, …)`."""
        examples = listed([self._name(i) for i in images.tolist()[:_EXAMPLES]], _EXAMPLES)
        if self._dataset.targets is not None:
            return f" ({examples})"
        counts = np.bincount(self._dataset.labels[images], minlength=len(self._dataset.classes))
        named = [
            f"{printable(self._dataset.classes[j])} {counts[j]:,}"
            for j in np.argsort(-counts, kind="stable")
            if counts[j]
        ]
        return f" ({listed(named, _EXAMPLES)}; such as {examples})"

    def _name(self, i: int) -> str:
        return image_name(self._dataset, self._config, int(i))


def _share(found: np.ndarray, images: np.ndarray) -> str:
    return f"{len(found):,} of {len(images):,}"
