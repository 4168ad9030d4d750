"""Picture of a run's checkpoints: their scores, and the norms and changes of the blocks' weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from results_analysis.plots.png import new_png_figure, write_png
from results_analysis.plots.style import STAGES, short_label
from results_analysis.report.checkpoints.history import Point, WeightChanges, changes_of_weights, timeline
from trainables.run_folder.checkpoint_registry import Entry

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_checkpoints(entries: Sequence[Entry], kept: set[str], file: Path) -> None:
    """Draws the timeline above, the norms below it, and the changes at the bottom.

    Args:
        entries: registry of checkpoints.
        kept: names of the files on disk.
        file: PNG file to write.
    """
    weights = changes_of_weights(entries)
    rows = 0.28 * max(4, len(weights.blocks))
    figure = new_png_figure(8, 5.6 + rows)
    scores, norms, changes = figure.subplots(3, 1, sharex=True, gridspec_kw={"height_ratios": [2.8, 2.8, rows]})
    _timeline(scores, timeline(entries, kept))
    _norms(norms, weights)
    _changes(changes, weights)
    changes.set_xlabel("epoch")
    write_png(figure, file)


def _timeline(axis: Axes, points: Sequence[Point]) -> None:
    axis.set_ylabel("score")
    for i, stage in enumerate(dict.fromkeys(point.stage for point in points)):
        colour = STAGES[i % len(STAGES)]
        axis.plot([], [], "o", color=colour, label=short_label(stage))
        for point in (point for point in points if point.stage == stage):
            shape, size = ("*", 14) if "best" in point.mark else ("D", 7) if point.mark else ("o", 6)
            face = colour if point.kept else "none"
            axis.plot([point.epoch], [point.score], shape, color=colour, markerfacecolor=face, markersize=size)
            if point.mark:
                axis.annotate(
                    point.mark.replace(", ", "\n"), (point.epoch, point.score), xytext=(0, 9),
                    textcoords="offset points", ha="center", fontsize=8,
                )  # fmt: skip
    axis.margins(y=0.3)
    axis.legend(fontsize=8, title="filled: on disk", title_fontsize=8)


def _norms(axis: Axes, weights: WeightChanges) -> None:
    from matplotlib import colormaps

    axis.set_ylabel("norm, relative\nto its first")
    count = len(weights.blocks)
    for i, (block, norms) in enumerate(zip(weights.blocks, weights.norms, strict=True)):
        first = next((norm for norm in norms if norm), None)
        relative = [math.nan if norm is None or first is None else norm / first for norm in norms]
        colour = colormaps["viridis"](0.1 + 0.75 * i / max(1, count - 1))
        dash = ":" if block == "head" else "-"
        axis.plot(weights.epochs, relative, dash, color=colour, marker="o", markersize=3, label=short_label(block))
    if weights.blocks:
        axis.legend(fontsize=8, ncols=1 + count // 8)


def _changes(axis: Axes, weights: WeightChanges) -> None:
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import FuncFormatter

    cells = [
        (epoch, row, change)
        for row, changes in enumerate(weights.changes)
        for epoch, change in zip(weights.epochs, changes, strict=True)
        if change
    ]
    axis.set_yticks(range(len(weights.blocks)), [short_label(block) for block in weights.blocks])
    axis.set_ylim(len(weights.blocks) - 0.5, -0.5)
    axis.set_title(
        "change of the weights in the epoch, relative to their norm; blank: frozen or just opened", fontsize=9
    )
    if not cells:
        return
    epochs, rows, values = zip(*cells, strict=True)
    first, last = min(weights.epochs), max(weights.epochs)
    grid = [[math.nan] * (last - first + 1) for _ in weights.blocks]
    for epoch, row, value in zip(epochs, rows, values, strict=True):
        grid[row][epoch - first] = value
    extent = (first - 0.5, last + 0.5, len(weights.blocks) - 0.5, -0.5)
    image = axis.imshow(grid, aspect="auto", extent=extent, norm=LogNorm(), cmap="viridis", interpolation="none")
    axis.figure.colorbar(image, ax=axis, format=FuncFormatter(lambda value, _: f"{100 * value:g}%"))
