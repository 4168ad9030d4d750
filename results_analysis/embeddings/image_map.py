"""Map of images: their positions in a plane, and the ways in which they are coloured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from results_analysis.plots.style import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION

COLOURS = (BLUE, ORANGE, GREEN, PURPLE, VERMILION, SKY)
SHAPES = ("circle", "triangle-up", "square", "diamond", "triangle-down", "cross", "x", "star")
"""Shapes of marks, by plotly's names. Colours come first; with the shapes, 48 categories look different."""


class Category(NamedTuple):
    """Images that are drawn alike."""

    name: str
    images: np.ndarray
    """[k] positions of its images."""
    colour: str
    shape: str


@dataclass(frozen=True)
class Colouring:
    """Way to colour the images: by categories, or by a number each."""

    title: str
    categories: tuple[Category, ...] = ()
    numbers: np.ndarray | None = None
    """[n] numbers; None: categories."""


@dataclass(frozen=True, kw_only=True)
class ImageMap:
    """Positions of n images in a plane."""

    title: str
    axes: tuple[str, str]
    """Names of the axes."""
    x: np.ndarray
    y: np.ndarray
    names: Sequence[str]
    """[n] names of the images."""
    colourings: Sequence[Colouring]
    thumbnails: dict[int, str] = field(default_factory=dict)
    """Position of an image -> small picture of it, as a URL that holds its data."""


def by_category(title: str, values: Sequence[str | None], *, none: str) -> Colouring:
    """Colouring by names, in their order; images without one are small and grey.

    Args:
        title: what the names are.
        values: [n] names.
        none: name of the images that have none.
    """
    images: dict[str, list[int]] = {}
    without: list[int] = []
    for i, value in enumerate(values):
        (without if value is None else images.setdefault(value, [])).append(i)
    categories = [
        Category(name, np.array(images[name]), COLOURS[i % len(COLOURS)], SHAPES[i // len(COLOURS) % len(SHAPES)])
        for i, name in enumerate(sorted(images, key=_in_order))
    ]
    if without:
        categories.insert(0, Category(none, np.array(without), GREY, "circle"))
    return Colouring(title, tuple(categories))


def _in_order(name: str) -> tuple[bool, float, str]:
    """Order of names: numbers by their value, then the others."""
    try:
        return (False, float(name), name)
    except ValueError:
        return (True, 0.0, name)
