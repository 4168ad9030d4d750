"""Importance of the searched values, with its spread and what chance would give."""

from __future__ import annotations

from typing import TYPE_CHECKING

from results_analysis.importance import TITLES
from results_analysis.plots.style import BLUE, GREY, faceted, plain

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

SHOWN = 15
"""Searched values that are drawn, of each evaluator."""


def draw_importances(frame: pd.DataFrame) -> Figure:
    """Of `importance.importances`."""
    from plotly import graph_objects as go

    groups = [(name, frame[frame["evaluator"] == name].head(SHOWN)) for name in TITLES]
    groups = [(name, rows) for name, rows in groups if len(rows)]
    tallest = max(len(rows) for _, rows in groups)
    figure = faceted(
        [TITLES[name] for name, _ in groups], columns=len(groups), row_height=80 + 26 * tallest, horizontal_spacing=0.16
    )
    for col, (_, rows) in enumerate(groups, start=1):
        shown = rows.iloc[::-1]
        stands_out = (shown["importance"] > shown["chance"]).tolist()
        names = list(map(plain, shown["name"]))
        figure.add_trace(
            go.Bar(
                x=shown["importance"],
                y=names,
                orientation="h",
                marker={"color": [BLUE if out else GREY for out in stands_out], "opacity": 0.85},
                error_x={
                    "type": "data",
                    "array": (shown["high"] - shown["importance"]).clip(lower=0),
                    "arrayminus": (shown["importance"] - shown["low"]).clip(lower=0),
                    "color": GREY,
                    "thickness": 1.5,
                    "width": 3,
                },
                customdata=shown[["low", "high", "chance"]],
                hovertemplate="%{y}: %{x:.0%} (%{customdata[0]:.0%} … %{customdata[1]:.0%}); "
                "chance: up to %{customdata[2]:.0%}<extra></extra>",
                showlegend=False,
            ),
            row=1,
            col=col,
        )
        figure.add_trace(
            go.Scatter(
                x=shown["chance"],
                y=names,
                mode="markers",
                marker={"symbol": "line-ns-open", "size": 13, "color": "#d55e00", "line": {"width": 2}},
                name="what chance gives",
                showlegend=col == 1,
                hoverinfo="skip",
            ),
            row=1,
            col=col,
        )
    figure.update_xaxes(tickformat=".0%", rangemode="tozero")
    figure.update_layout(margin_t=60, legend_y=-0.16, legend_yanchor="top", bargap=0.35)
    return figure
