"""Contours: the score over pairs of searched values, where there are trials nearby."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from results_analysis.plots.style import SCORES, escaped, new_figure, words
from results_analysis.tables.run_snapshot import Snapshot
from results_analysis.tables.search_ranges import Searched
from trainables.core.vocabulary import Metric

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from plotly.graph_objects import Figure

CELLS = 24
"""Cells of a contour's grid along each axis."""
WIDTH = 0.12
"""Width of the smoothing kernel, in shares of a searched range."""
REACH = 0.2
"""Largest distance to the closest trial at which a score is drawn, in shares of a searched range."""
POINTS = 600
"""Number of trials that are marked; all of them count in the surface."""


def pairs(searched: Sequence[Searched], *, values: int = 3) -> list[tuple[Searched, Searched]]:
    """Pairs of the first `values` searched ranges. Choices are left out: they have no order to smooth over."""
    ranges = [value for value in searched if value.scale != "choice"]
    return list(itertools.combinations(ranges[:values], 2))


def contour(snapshot: Snapshot, across: Searched, up: Searched) -> pd.DataFrame:
    """Grid of the score over a pair of searched values: `across`, `up` (positions on their scales), `score`, `trials`.

    The score is a mean over all trials, with weights that fall with distance (Nadaraya 1964, Watson 1964); both ranges are
    scaled to length 1. It is missing where no trial is near. `trials` is the sum of the weights.

    Args:
        snapshot: the run.
        across: searched value on the horizontal axis.
        up: searched value on the vertical axis.
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


def draw_contour(frame: pd.DataFrame, across: Searched, up: Searched, trials: pd.DataFrame, metric: Metric) -> Figure:
    """Draws one pair: the surface of `contour`, and the trials behind it.

    Args:
        frame: result of `contour`.
        across: searched value on the horizontal axis.
        up: searched value on the vertical axis.
        trials: the trials to mark, with their scores and searched values.
        metric: the metric that is the score.
    """
    from plotly import graph_objects as go

    marked = trials.dropna(subset=[across.path, up.path]).head(POINTS)
    low, high = frame["score"].min(), frame["score"].max()
    figure = new_figure(height=340, showlegend=False)
    figure.add_trace(
        go.Contour(
            x=sorted(set(frame["across"])),
            y=sorted(set(frame["up"])),
            z=frame["score"].to_numpy().reshape(CELLS, CELLS),
            colorscale=SCORES,
            reversescale=metric.mode == "min",
            zmin=low,
            zmax=high,
            colorbar={
                "title": {"text": words(metric.value), "side": "right"},
                "thickness": 10,
                "outlinewidth": 0,
                "nticks": 6,
            },
            line={"width": 0.5, "color": "rgba(255,255,255,0.4)"},
            hoverinfo="skip",
            connectgaps=False,
        )
    )
    figure.add_trace(
        go.Scatter(
            x=across.positions(marked[across.path]),
            y=up.positions(marked[up.path]),
            mode="markers",
            marker={
                "color": marked["score"],
                "colorscale": SCORES,
                "reversescale": metric.mode == "min",
                "cmin": low,
                "cmax": high,
                "size": 7,
                "line": {"width": 1, "color": "#fff"},
            },
            customdata=[
                [number, f"{score:.4f}"] for number, score in zip(marked["trial"], marked["score"], strict=True)
            ],
            hovertemplate="trial %{customdata[0]}: %{customdata[1]}<extra></extra>",
        )
    )
    for update, value in ((figure.update_xaxes, across), (figure.update_yaxes, up)):
        places, texts = value.ticks(4)
        update(title=escaped(value.name), tickvals=places, ticktext=texts, range=list(value.ends))
    return figure
