"""Cost against score, with the Pareto front."""

from __future__ import annotations

from typing import TYPE_CHECKING

from results_analysis.plots.style import DRAWN, FRONT_LAST, VERMILION, axis_title, marker_of, new_figure, subsampled
from results_analysis.tables.pareto import pareto_front
from results_analysis.tables.run_snapshot import Snapshot
from trainables.core.vocabulary import Metric

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure


def cost_and_score(snapshot: Snapshot) -> pd.DataFrame:
    """Table of the trials that have a place, cheapest first: `trial`, `status`, `cost_s`, `score`, `epochs`, `front`.

    `front` is True where no other trial is at least as good in both cost and score and better in one.
    """
    columns = ["trial", "status", "cost_s", "score", "epochs"]
    table = snapshot.placed[columns].sort_values(["cost_s", "trial"], ignore_index=True)
    front = pareto_front(table, {"cost_s": "min", "score": snapshot.metric.mode})
    return table.assign(front=table.index.isin(front.index))


def draw_cost_and_score(frame: pd.DataFrame, metric: Metric) -> Figure:
    """Draws the trials and the Pareto front through the best of them."""
    from plotly import graph_objects as go

    shown = subsampled(frame, DRAWN)
    figure = new_figure()
    for status in FRONT_LAST:
        rows = shown[shown["status"] == status.value]
        if len(rows):
            figure.add_trace(
                go.Scatter(
                    x=rows["cost_s"],
                    y=rows["score"],
                    mode="markers",
                    name=status.value,
                    marker=marker_of(status, opacity=0.9 if len(shown) < DRAWN else 0.5),
                    cliponaxis=False,
                    customdata=rows[["trial", "epochs"]],
                    hovertemplate="trial %{customdata[0]}: %{y:.4f} for %{x:.3s} s, %{customdata[1]} epochs<extra></extra>",
                )
            )
    front = frame[frame["front"]]
    figure.add_trace(
        go.Scatter(
            x=front["cost_s"],
            y=front["score"],
            mode="lines",
            line={"shape": "hv", "color": VERMILION, "width": 2, "dash": "dot"},
            name="Pareto front: no trial is cheaper and as good",
            hoverinfo="skip",
        )
    )
    figure.update_xaxes(title="seconds of training and validation", rangemode="tozero")
    figure.update_yaxes(title=axis_title(metric))
    return figure
