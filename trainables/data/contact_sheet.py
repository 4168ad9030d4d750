"""Contact sheet of a data set: each class with its name, its training and validation counts, and some images, also augmented."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from trainables.core.config_errors import counted
from trainables.core.seeding import random_state
from trainables.data.batches.augment import augment
from trainables.data.dataset import Dataset
from trainables.data.formats.windowing import scaled
from trainables.recipe.augment_config import Augment

_MOST_CLASSES = 120
"""Most classes on a sheet; of more, this many are shown, evenly spaced in their order."""
_MOST_PAIRS = 12
"""Most pairs of images on a sheet."""
_VERSIONS = 3
"""Augmented versions beside each original."""

_MARGIN, _GAP, _NAME_WIDTH, _HEADER = 16, 3, 190, 66
_PAPER, _INK, _FAINT = (255, 255, 255), (30, 30, 34), (112, 112, 122)
_TRAIN, _VALIDATION, _ORIGINAL = (49, 104, 168), (226, 142, 48), (0, 158, 115)


@dataclass(frozen=True)
class Grid:
    """Layout of a sheet."""

    columns: int
    """Columns of classes."""
    tile: int
    """Side of an image on the sheet, in pixels."""
    samples: int
    """Images shown of each class."""
    versions: int
    """Augmented versions shown beside each image."""

    @property
    def row_height(self) -> int:
        return max(self.tile, 46) + 10

    @property
    def sample_width(self) -> int:
        return (1 + self.versions) * (self.tile + _GAP) + 2 * _GAP

    @property
    def column_width(self) -> int:
        return _NAME_WIDTH + self.samples * self.sample_width + _MARGIN


def grid_for(classes: int, *, augmented: bool) -> Grid:
    """Layout for a number of classes: few classes get several large images each, many classes are set in columns."""
    columns, tile, samples = (1, 80, 2) if classes <= 16 else (2, 64, 1) if classes <= 40 else (3, 48, 1)
    return Grid(columns, tile, samples, _VERSIONS) if augmented else Grid(columns, tile, samples * (1 + _VERSIONS), 0)


def shown_classes(classes: int) -> list[int]:
    """Positions of the classes that are shown: all, or `_MOST_CLASSES` evenly from the first to the last."""
    places: list[int] = np.linspace(0, classes - 1, min(classes, _MOST_CLASSES)).round().astype(int).tolist()
    return places


def draw_contact_sheet(dataset: Dataset, config: Augment | None, *, seed: int, title: str) -> Image.Image:
    """Draws the sheet as an RGB picture.

    Args:
        dataset: images, labels and split.
        config: augmentation of training images, of which the versions of the first epochs are shown; None: no augmentation.
        seed: seed of the recipe's training.
        title: heading of the sheet.
    """
    shown = shown_classes(len(dataset.classes))
    grid = grid_for(len(shown), augmented=config is not None)
    rows = -(-len(shown) // grid.columns)
    width = _MARGIN + grid.columns * grid.column_width
    sheet = Image.new("RGB", (width, _HEADER + rows * grid.row_height + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(sheet)
    left_out = len(dataset.classes) - len(shown)
    _draw_header(draw, f"{title} · {len(shown)} of {len(dataset.classes)} classes" if left_out else title, grid)
    sides = dataset.train_counts, np.bincount(dataset.labels[dataset.validation], minlength=len(dataset.classes))
    most = int(max(side.max() for side in sides))
    for place, j in enumerate(shown):
        column, row = divmod(place, rows)
        x, y = _MARGIN + column * grid.column_width, _HEADER + row * grid.row_height
        _draw_counts(draw, x, y, dataset.classes[j], [int(side[j]) for side in sides], most)
        for sample, versions in enumerate(_versions_of(dataset, j, grid, config, seed)):
            _paste(sheet, draw, versions, x + _NAME_WIDTH + sample * grid.sample_width, y, grid.tile)
    return sheet


def draw_pairs(dataset: Dataset, pairs: Sequence[tuple[int, int]], name: Callable[[int], str]) -> Image.Image:
    """Draws pairs of images beside each other, each with its class, its side of the split and its name.

    Args:
        dataset: images, labels and split.
        pairs: positions of the images; of many pairs, the first are shown.
        name: position -> name of an image.
    """
    shown, tile, width = pairs[:_MOST_PAIRS], 80, 900
    sheet = Image.new("RGB", (width, _MARGIN * 3 + len(shown) * (tile + 10) + 20), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, 12), f"{_first_of(len(shown), len(pairs))} of the same picture", _INK, _font(18))
    for row, pair in enumerate(shown):
        y = 50 + row * (tile + 10)
        for column, i in enumerate(pair):
            x = _MARGIN + column * (width // 2)
            sheet.paste(tile_of(pictures_of(dataset.images[i][None])[0], tile), (x, y))
            side, colour = _side_of(dataset, i)
            room = width // 2 - tile - 2 * _MARGIN
            draw.text((x + tile + 10, y + 4), _cut(_truth_of(dataset, i), 15, room), _INK, _font(15))
            draw.text((x + tile + 10, y + 26), side, colour, _font(13))
            draw.text((x + tile + 10, y + 46), _cut(name(i), 12, room), _FAINT, _font(12))
    return sheet


def _first_of(shown: int, count: int) -> str:
    pairs = counted(count, "pair")
    return pairs if shown == count else f"the first {shown} of {pairs}"


def _truth_of(dataset: Dataset, i: int) -> str:
    return dataset.classes[dataset.labels[i]] if dataset.targets is None else f"{dataset.targets[i]:g}"


def _side_of(dataset: Dataset, i: int) -> tuple[str, tuple[int, int, int]]:
    sides = ("training", dataset.train, _TRAIN), ("validation", dataset.validation, _VALIDATION)
    return next(((name, colour) for name, images, colour in sides if i in images), ("test", _FAINT))


def _versions_of(dataset: Dataset, j: int, grid: Grid, config: Augment | None, seed: int) -> list[np.ndarray]:
    """Original and augmented versions, [1 + versions, h, w, c] uint8, of each image shown of class j; of volumes, the middle
    slice."""
    of_class = dataset.train[dataset.labels[dataset.train] == j]
    positions = random_state(seed, f"contact_sheet/{j}").permutation(of_class)[: grid.samples]
    originals = dataset.images[positions]
    if config is None:
        return [pictures_of(original[None]) for original in originals]
    versions = np.tile(np.arange(grid.versions), len(positions))
    each = np.repeat(np.arange(len(positions)), grid.versions)
    varied = augment(torch.from_numpy(originals[each]), config, seed=seed, positions=positions[each], versions=versions)
    made = (
        varied.round().clamp(0, 255).to(torch.uint8).numpy().reshape(len(positions), grid.versions, *originals[0].shape)
    )
    return [
        np.concatenate([pictures_of(one[None]), pictures_of(its)]) for one, its in zip(originals, made, strict=True)
    ]


def pictures_of(images: np.ndarray) -> np.ndarray:
    """Images as they are shown, [k, h, w, c] uint8; of volumes, the middle slice."""
    flat = images if images.ndim == 4 else images[:, images.shape[1] // 2]
    return scaled(flat, np.iinfo(flat.dtype).max, deep=False)


# --- drawing ----------------------------------------------------------------------------------------------------------


def _draw_header(draw: ImageDraw.ImageDraw, title: str, grid: Grid) -> None:
    room = grid.columns * grid.column_width - _MARGIN
    draw.text((_MARGIN, 12), _cut(title, 18, room), _INK, _font(18))
    x = _MARGIN
    for colour, text in ((_TRAIN, "training images"), (_VALIDATION, "validation images")):
        draw.rectangle((x, 43, x + 9, 52), colour)
        draw.text((x + 15, 40), text, _FAINT, _font(13))
        x += 15 + int(_font(13).getlength(text)) + 18
    if grid.versions:
        draw.rectangle((x, 43, x + 9, 52), outline=_ORIGINAL, width=2)
        draw.text((x + 15, 40), f"original, then {grid.versions} versions that training sees", _FAINT, _font(13))
    else:
        draw.text((x, 40), "not augmented", _FAINT, _font(13))


def _draw_counts(draw: ImageDraw.ImageDraw, x: int, y: int, name: str, counts: list[int], most: int) -> None:
    """Draws a class's name and, for training and validation, a bar with its count."""
    longest = _NAME_WIDTH - 66
    draw.text((x, y - 2), _cut(name, 15, _NAME_WIDTH - 14), _INK, _font(15))
    for line, (count, colour) in enumerate(zip(counts, (_TRAIN, _VALIDATION), strict=True)):
        top = y + 22 + 14 * line
        end = x + max(1, round(longest * count / most))
        draw.rectangle((x, top, end, top + 9), colour)
        draw.text((end + 5, top - 3), f"{count:,}", _FAINT, _font(12))


def _paste(sheet: Image.Image, draw: ImageDraw.ImageDraw, versions: np.ndarray, x: int, y: int, tile: int) -> None:
    for place, pixels in enumerate(versions):
        left = x + place * (tile + _GAP)
        sheet.paste(tile_of(pixels, tile), (left, y))
        if place == 0 and len(versions) > 1:
            draw.rectangle((left - 1, y - 1, left + tile, y + tile), outline=_ORIGINAL, width=3)


def tile_of(pixels: np.ndarray, side: int) -> Image.Image:
    """Image at the sheet's tile size; the pixels of tiny images stay visible."""
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    enlarged = 2 * image.width <= side
    return image.resize((side, side), Image.Resampling.NEAREST if enlarged else Image.Resampling.LANCZOS).convert("RGB")


def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


def _cut(text: str, size: int, room: int) -> str:
    """The text, shortened with an ellipsis if it does not fit."""
    text = "".join(c if c.isprintable() else "·" for c in text)
    if _font(size).getlength(text) <= room:
        return text
    fits = next(n for n in range(len(text), -1, -1) if _font(size).getlength(text[:n] + "…") <= room)
    return text[:fits].rstrip() + "…"
