"""Slices: the score against each searched value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from results_analysis.plots.style import MANY, STATUS_COLOURS, STATUS_SYMBOLS, faceted, plain, words
from results_analysis.searched import Searched
from results_analysis.snapshot import Snapshot
from trainables.layout import Metric, TrialStatus

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

SHOWN = 12
"""Searched values that are drawn; the most important ones."""


def slices(snapshot: Snapshot) -> pd.DataFrame:
    """`trial`, `status`, `score` and the searched values, best trial first; only trials that have a place."""
    return snapshot.placed[["trial", "status", "score", *(value.path for value in snapshot.searched)]]


def draw_slices(frame: pd.DataFrame, searched: Sequence[Searched], metric: Metric) -> Figure:
    from plotly import graph_objects as go

    Points = go.Scattergl if len(frame) * len(searched) > MANY else go.Scatter
    columns = min(3, len(searched))
    figure = faceted([plain(value.name) for value in searched], columns=columns, row_height=230, shared_yaxes=True)
    for i, value in enumerate(searched):
        row, col = i // columns + 1, i % columns + 1
        positions = value.positions(frame[value.path])
        for status in TrialStatus:
            chosen = (frame["status"] == status.value).to_numpy()
            if not chosen.any():
                continue
            rows = frame[chosen]
            figure.add_trace(
                Points(
                    x=positions[chosen],
                    y=rows["score"],
                    mode="markers",
                    name=status.value,
                    legendgroup=status.value,
                    showlegend=i == 0,
                    marker={
                        "color": STATUS_COLOURS[status],
                        "symbol": STATUS_SYMBOLS[status],
                        "size": 6,
                        "opacity": 0.85 if len(frame) <= MANY else 0.4,
                        "line": {"width": 1.3},
                    },
                    customdata=[[number, plain(value.say(item))] for number, item in zip(rows["trial"], rows[value.path], strict=True)],
                    hovertemplate="trial %{customdata[0]}: %{y:.4f} at %{customdata[1]}<extra></extra>",
                ),
                row=row,
                col=col,
            )  # fmt: skip
        places, texts = value.ticks(4)
        low, high = value.ends
        room = (high - low) * 0.06
        figure.update_xaxes(
            tickvals=places, ticktext=list(map(plain, texts)), range=[low - room, high + room], row=row, col=col
        )
        if col == 1:
            figure.update_yaxes(title=words(metric.value), row=row, col=col)
    figure.update_layout(legend_y=1 + 40 / figure.layout.height, margin_t=60)
    return figure
