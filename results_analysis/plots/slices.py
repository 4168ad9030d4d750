"""Slices: the score against each searched value."""

from __future__ import annotations

from typing import TYPE_CHECKING

from results_analysis.plots.style import FRONT_LAST, around_equal, escaped, marker_of, new_figure, subsampled
from results_analysis.tables.run_snapshot import Snapshot
from results_analysis.tables.search_ranges import Searched

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

SHOWN = 12
"""Number of searched values that are drawn, the most important first."""
POINTS = 800
"""Number of trials in each slice: the best, and others spread evenly over the rest."""


def slices(snapshot: Snapshot) -> pd.DataFrame:
    """Table of the trials that have a place, best first: `trial`, `status`, `score` and the searched values."""
    return snapshot.placed[["trial", "status", "score", *(value.path for value in snapshot.searched)]]


def draw_slice(frame: pd.DataFrame, value: Searched) -> Figure:
    """Draws one searched value of `slices`."""
    from plotly import graph_objects as go

    shown = subsampled(frame.dropna(subset=[value.path]), POINTS, first=POINTS // 4)
    figure = new_figure(height=230, showlegend=False, margin_t=10)
    for status in FRONT_LAST:
        rows = shown[shown["status"] == status.value]
        if not len(rows):
            continue
        texts = [escaped(value.format_value(item)) for item in rows[value.path]]
        figure.add_trace(
            go.Scatter(
                x=value.positions(rows[value.path]),
                y=rows["score"],
                mode="markers",
                name=status.value,
                marker=marker_of(status, opacity=0.85 if len(shown) < POINTS else 0.5),
                cliponaxis=False,
                customdata=list(zip(rows["trial"], texts, strict=True)),
                hovertemplate="trial %{customdata[0]}: %{y:.4f} at %{customdata[1]}",
            )
        )
    places, texts = value.ticks(4)
    low, high = value.ends
    room = (high - low) * (0.25 if value.scale == "choice" else 0.06)
    figure.update_xaxes(
        tickvals=places, ticktext=list(map(escaped, texts)), range=[low - room, high + room], title=escaped(value.name)
    )
    figure.update_yaxes(**around_equal(shown["score"]))
    return figure
