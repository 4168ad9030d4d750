"""Importance of the searched values, with its spread and the level that chance reaches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from results_analysis.plots.style import BLUE, GREY, VERMILION, escaped, new_figure

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

SHOWN = 15
"""Number of searched values that are drawn, the most important first."""


def draw_importance(rows: pd.DataFrame) -> Figure:
    """Draws the rows of one evaluator from `importance.importances`."""
    from plotly import graph_objects as go

    shown = rows.head(SHOWN).iloc[::-1]
    names = list(map(escaped, shown["name"]))
    stands_out = shown["importance"] > shown["chance"]
    figure = new_figure(height=110 + 26 * max(len(shown), 2), bargap=0.35)
    figure.add_trace(
        go.Bar(
            x=shown["importance"],
            y=names,
            orientation="h",
            marker={"color": [BLUE if out else GREY for out in stands_out], "opacity": 0.85, "line": {"width": 0}},
            error_x={
                "type": "data",
                "array": (shown["high"] - shown["importance"]).clip(lower=0),
                "arrayminus": (shown["importance"] - shown["low"]).clip(lower=0),
                "color": GREY,
                "thickness": 1.5,
                "width": 3,
            },
            customdata=shown[["low", "high", "chance"]],
            hovertemplate="%{y}: %{x:.0%} (%{customdata[0]:.0%} … %{customdata[1]:.0%}); chance reaches up to "
            "%{customdata[2]:.0%}<extra></extra>",
            name="importance, with its middle 80%",
            showlegend=False,
        )
    )
    figure.add_trace(
        go.Scatter(
            x=shown["chance"],
            y=names,
            mode="markers",
            marker={"symbol": "line-ns-open", "size": 13, "color": VERMILION, "line": {"width": 2}},
            name="reached by chance",
            hoverinfo="skip",
        )
    )
    figure.update_xaxes(tickformat=".0%", rangemode="tozero")
    return figure
