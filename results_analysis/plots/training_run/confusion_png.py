"""`confusion.png`: counts of true and predicted classes, coloured by the share of the true class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from results_analysis.plots.png import new_png_figure, write_png
from results_analysis.plots.style import short_labels
from trainables.core.config_errors import counted

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

TEXTS = 40
"""Most classes whose matrix has its numbers in the cells."""
NAMES = 200
"""Most classes with a name each; of more, names that are evenly spread."""
MISTAKES = 12
"""Number of most frequent mistakes that are written out beside a matrix without numbers."""


class Mistake(NamedTuple):
    """Images of one class that were predicted as another."""

    true: str
    predicted: str
    images: int
    share: float
    """Share of the true class's images."""


def frequent_mistakes(confusion: Sequence[Sequence[int]], names: Sequence[str], most: int = MISTAKES) -> list[Mistake]:
    """The cells off the diagonal with most images, most first; of equal ones the larger share of its class first.

    Args:
        confusion: [c][c] images by true (row) and predicted class.
        names: [c] names of the classes.
        most: largest number of mistakes.
    """
    found = [
        Mistake(names[i], names[j], images, images / sum(row))
        for i, row in enumerate(confusion)
        for j, images in enumerate(row)
        if images and i != j
    ]
    return sorted(found, key=lambda mistake: (-mistake.images, -mistake.share))[:most]


def write_confusion(confusion: Sequence[Sequence[int]], names: Sequence[str], file: Path) -> None:
    """Draws the confusion matrix of a run into a PNG file.

    Args:
        confusion: [c][c] images by true (row) and predicted class.
        names: [c] names of the classes.
        file: file to write.
    """
    import numpy as np

    counts = np.asarray(confusion, dtype=np.int64)
    classes = len(counts)
    labels = short_labels(names)
    cell = 0.8 if classes <= 6 else 0.55 if classes <= 15 else 0.42 if classes <= TEXTS else 0.145
    side = min(cell * classes, cell * NAMES)
    margin = 0.6 + 0.09 * max(map(len, labels), default=0)
    worst = frequent_mistakes(confusion, short_labels(names, 32)) if classes > TEXTS else []
    figure = new_png_figure(max(side + margin, 4.2) + (5.0 if worst else 0), max(side + margin, 3.4) + 0.4)
    axis = figure.subplots()
    image = _draw_matrix(axis, counts, labels)
    if classes <= TEXTS:
        _write_cells(axis, counts)
    else:
        figure.colorbar(image, cax=axis.inset_axes((1.02, 0, 0.015, 0.3)), label="share of the true class")
    images = counted(int(counts.sum()), "validation image")
    axis.set_title(f"{images}, and shares of each true class", fontsize=9, loc="left", color="#444")
    if worst:
        lines = [f"{m.true} → {m.predicted}: {m.images:,} ({_percent(m.share)})" for m in worst]
        text = "\n".join(["most frequent mistakes, true → predicted", *lines])
        axis.text(1.02, 1, text, transform=axis.transAxes, va="top", fontsize=9, linespacing=1.7)
    write_png(figure, file)


def _shares(counts: np.ndarray) -> np.ndarray:
    """Shares of the rows; NaN in the row of a class without images."""
    import numpy as np

    totals = counts.sum(axis=1, keepdims=True)
    return np.where(totals > 0, counts / np.maximum(totals, 1), np.nan)


def _draw_matrix(axis: Axes, counts: np.ndarray, labels: Sequence[str]) -> AxesImage:
    classes = len(counts)
    image = axis.imshow(_shares(counts), cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    axis.set_facecolor("#eee")  # of classes without images
    step = -(-classes // NAMES)
    ticks = range(0, classes, step)
    size = 9 if classes <= 15 else 8 if classes <= TEXTS else 6.5
    level = classes <= 3 and max(map(len, labels)) <= 9
    axis.set_xticks(ticks, [labels[i] for i in ticks], rotation=0 if level else 90, fontsize=size)
    axis.set_yticks(ticks, [labels[i] for i in ticks], fontsize=size)
    axis.tick_params(length=0 if classes <= TEXTS else 2)
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")
    return image


def _write_cells(axis: Axes, counts: np.ndarray) -> None:
    """Writes the images and their share of the row into each cell; cells without images stay empty except on the diagonal."""
    shares = _shares(counts)
    classes = len(counts)
    size = 10 if classes <= 6 else 7.5 if classes <= 15 else 6
    for (i, j), images in [((i, j), counts[i, j]) for i in range(classes) for j in range(classes)]:
        if images or i == j:
            share = shares[i, j]
            text = f"{_brief(int(images))}\n{_percent(share)}" if share == share else "0"
            axis.text(j, i, text, ha="center", va="center", fontsize=size, color="white" if share > 0.55 else "#222")


def _brief(images: int) -> str:
    return str(images) if images < 100_000 else f"{images / 1000:.0f}k" if images < 10**6 else f"{images / 1e6:.1f}M"


def _percent(share: float) -> str:
    return "<1%" if 0 < share < 0.005 else f"{share:.0%}"
