"""Map of images as a PNG file: a panel for each way to colour them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from results_analysis.embeddings.image_map import Category, Colouring, ImageMap
from results_analysis.plots.png import new_png_figure, write_png
from results_analysis.plots.style import GREY, short_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

IN_LEGEND = 24
"""Most categories in a legend; the names of more are written at their images, as far as there is room."""
_MARKERS = {
    "circle": "o",
    "triangle-up": "^",
    "square": "s",
    "diamond": "D",
    "triangle-down": "v",
    "cross": "P",
    "x": "X",
    "star": "*",
}
_PANEL = 6.2
"""Side of a panel, in inches."""


def write_map(drawn: ImageMap, file: Path) -> None:
    """Draws a map into a PNG file.

    Args:
        drawn: the map.
        file: file to write.
    """
    write_png(draw_map(drawn), file)


def draw_map(drawn: ImageMap) -> Figure:
    """Draws a map, with a panel for each colouring."""
    figure = new_png_figure(_PANEL * max(1, len(drawn.colourings)), _PANEL + 0.9)
    panels = figure.subplots(1, max(1, len(drawn.colourings)), squeeze=False)[0]
    figure.suptitle(drawn.title, fontsize=11)
    for panel, colouring in zip(panels, drawn.colourings or [Colouring("")], strict=True):
        _draw(panel, drawn, colouring)
    return figure


def _draw(panel: Axes, drawn: ImageMap, colouring: Colouring) -> None:
    x, y = drawn.x, drawn.y
    size = float(np.clip(12_000 / max(1, len(x)), 3, 40))
    panel.set_xlabel(drawn.axes[0], color=GREY)
    panel.set_ylabel(drawn.axes[1], color=GREY)
    panel.set_xticks([])
    panel.set_yticks([])
    for side in panel.spines.values():
        side.set_color("#d4d7dc")
    if colouring.title:
        panel.set_title(colouring.title, fontsize=10)
    if colouring.numbers is not None:
        marks = panel.scatter(x, y, c=colouring.numbers, cmap="cividis", s=size, linewidths=0)
        panel.figure.colorbar(marks, ax=panel, shrink=0.8)
        return
    if not colouring.categories:
        panel.scatter(x, y, s=size, linewidths=0)
        return
    for category in colouring.categories:
        faint = category.colour == GREY
        panel.scatter(
            x[category.images],
            y[category.images],
            s=size * (0.4 if faint else 1),
            c=category.colour,
            marker=_MARKERS[category.shape],
            alpha=0.5 if faint else 0.85,
            linewidths=0,
        )
    if len(colouring.categories) <= IN_LEGEND:
        _add_legend(panel, colouring)
    else:
        panel.set_title(f"{colouring.title}: {_add_names(panel, drawn, colouring)}", fontsize=10)


def _add_legend(panel: Axes, colouring: Colouring) -> None:
    from matplotlib.lines import Line2D

    names = short_labels([category.name for category in colouring.categories])
    marks = [_mark(Line2D, category) for category in colouring.categories]
    columns = 4 if max(map(len, names)) <= 14 else 2
    panel.legend(
        marks, names, loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=columns, fontsize=8, frameon=False
    )


def _mark(line: Any, category: Category) -> Any:
    marker = _MARKERS[category.shape]
    return line([], [], linestyle="", marker=marker, color=category.colour, markersize=6, markeredgewidth=0)


def _add_names(panel: Axes, drawn: ImageMap, colouring: Colouring) -> str:
    """Writes the names of the largest categories at the middle of their images, those that have room, and says how many."""
    from matplotlib.patheffects import withStroke

    categories = [category for category in colouring.categories if category.colour != GREY]
    names = short_labels([category.name for category in categories])
    wide, high = (float(np.ptp(values)) or 1.0 for values in (drawn.x, drawn.y))
    taken: list[tuple[float, float, float]] = []
    largest_first = sorted(range(len(categories)), key=lambda i: -len(categories[i].images))
    for i in largest_first:
        inside = categories[i].images
        at = float(np.median(drawn.x[inside])), float(np.median(drawn.y[inside]))
        half = 0.0075 * len(names[i]) + 0.005
        if any(
            abs(at[0] - left) / wide < half + other and abs(at[1] - top) / high < 0.025 for left, top, other in taken
        ):
            continue
        taken.append((*at, half))
        text = panel.text(
            *at, names[i], fontsize=7, ha="center", va="center", color=categories[i].colour, weight="bold"
        )
        text.set_path_effects([withStroke(linewidth=2, foreground="white")])
    return f"{len(taken)} of {len(categories)} named"
