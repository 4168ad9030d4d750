"""Contours: the score over pairs of searched values, as far as trials tell."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from results_analysis.plots.style import SCORES, faceted, plain, words
from results_analysis.searched import Searched
from results_analysis.snapshot import Snapshot
from trainables.layout import Metric

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from plotly.graph_objects import Figure

CELLS = 24
"""Of a contour's grid, each way."""
WIDTH = 0.12
"""Of the kernel that smooths, in shares of a searched range."""
REACH = 0.2
"""Farthest distance to the next trial at which anything is claimed, in shares of a searched range."""
POINTS = 1000
"""Trials that are marked; all count in the surface."""


def pairs(searched: Sequence[Searched], *, values: int = 3) -> list[tuple[Searched, Searched]]:
    """Pairs of the first `values` searched ranges; choices have no order that could be smoothed over."""
    ranges = [value for value in searched if value.scale != "choice"]
    return list(itertools.combinations(ranges[:values], 2))


def contour(snapshot: Snapshot, across: Searched, up: Searched) -> pd.DataFrame:
    """The score over a pair of searched values: `across`, `up` (positions on their scales), `score`, `trials`.

    A mean of all trials' scores with weights that fall with their distance (Nadaraya 1964, Watson 1964), both ranges counted
    as 1. `score` is missing where no trial is near; `trials` is the sum of the weights.
    """
    import numpy as np
    import pandas as pd

    trials = snapshot.placed.dropna(subset=[across.path, up.path])
    points = np.stack([across.shares(trials[across.path]), up.shares(trials[up.path])], axis=1)
    steps = np.linspace(0, 1, CELLS)
    grid = np.stack([axis.ravel() for axis in np.meshgrid(steps, steps)], axis=1)
    score, weight = _smoothed(grid, points, trials["score"].to_numpy(dtype=float))
    positions = [low + (high - low) * grid[:, i] for i, (low, high) in enumerate((across.ends, up.ends))]
    return pd.DataFrame({"across": positions[0], "up": positions[1], "score": score, "trials": weight})


def _smoothed(grid: np.ndarray, points: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    import numpy as np

    if not len(points):
        return np.full(len(grid), np.nan), np.zeros(len(grid))
    squares = ((grid[:, None] - points[None]) ** 2).sum(axis=2)
    weights = np.exp(-squares / (2 * WIDTH**2))
    near = squares.min(axis=1) <= REACH**2
    total = weights.sum(axis=1)
    return np.where(near, weights @ scores / np.maximum(total, 1e-12), np.nan), total


def draw_contours(
    frames: Sequence[pd.DataFrame],
    shown: Sequence[tuple[Searched, Searched]],
    trials: pd.DataFrame,
    metric: Metric,
) -> Figure:
    from plotly import graph_objects as go

    columns = min(3, len(shown))
    figure = faceted([""] * len(shown), columns=columns, row_height=330, horizontal_spacing=0.11)
    marked = trials.head(POINTS)
    scale = {"colorscale": SCORES, "reversescale": metric.mode == "min"}
    for i, (frame, (across, up)) in enumerate(zip(frames, shown, strict=True)):
        row, col = i // columns + 1, i % columns + 1
        steps = [sorted(set(frame[axis])) for axis in ("across", "up")]
        surface = go.Contour(
            x=steps[0],
            y=steps[1],
            z=frame["score"].to_numpy().reshape(CELLS, CELLS),
            coloraxis="coloraxis",
            line={"width": 0.5, "color": "rgba(255,255,255,0.4)"},
            hoverinfo="skip",
            connectgaps=False,
        )
        dots = go.Scatter(
            x=across.positions(marked[across.path]),
            y=up.positions(marked[up.path]),
            mode="markers",
            marker={"color": marked["score"], "coloraxis": "coloraxis", "size": 7, "line": {"width": 1, "color": "#fff"}},
            customdata=marked["trial"],
            text=[f"{score:.4f}" for score in marked["score"]],
            hovertemplate="trial %{customdata}: %{text}<extra></extra>",
            showlegend=False,
        )
        figure.add_trace(surface, row=row, col=col)
        figure.add_trace(dots, row=row, col=col)
        for update, value in ((figure.update_xaxes, across), (figure.update_yaxes, up)):
            places, texts = value.ticks(4)
            update(title=plain(value.name), tickvals=places, ticktext=texts, range=list(value.ends), row=row, col=col)
    bar = {"title": {"text": words(metric.value), "side": "right"}, "thickness": 12, "outlinewidth": 0}
    figure.update_layout(coloraxis={**scale, "colorbar": bar})
    return figure
