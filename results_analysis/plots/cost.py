"""Score against a cost or another objective, with the Pareto front."""

from __future__ import annotations

from typing import TYPE_CHECKING

from results_analysis.plots.style import (
    DRAWN,
    FRONT_LAST,
    VERMILION,
    around_equal,
    axis_title,
    escaped,
    marker_of,
    new_figure,
    subsampled,
    words,
)
from results_analysis.tables.pareto import pareto_front
from results_analysis.tables.run_snapshot import Snapshot
from trainables.core.vocabulary import Metric, Objective, mode_of_objective

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure


COST = "cost_s"
"""Column of a snapshot's trials: the time of training and validation."""


def cost_and_score(snapshot: Snapshot, cost: str = COST) -> pd.DataFrame:
    """Table of the trials that have a place and this value, cheapest first: `trial`, `status`, it, `score`, `epochs`, `front`.

    `front` is True where no other trial is at least as good in both and better in one.

    Args:
        snapshot: the run.
        cost: a column of its trials, such as an objective.
    """
    columns = ["trial", "status", cost, "score", "epochs"]
    table = snapshot.placed[columns].dropna(subset=[cost]).sort_values([cost, "trial"], ignore_index=True)
    front = pareto_front(table, {cost: _mode(cost, snapshot.metric), "score": snapshot.metric.mode})
    return table.assign(front=table.index.isin(front.index))


def _mode(cost: str, metric: Metric) -> str:
    return "min" if cost == COST else mode_of_objective(cost, metric)


def draw_cost_and_score(frame: pd.DataFrame, metric: Metric, cost: str = COST) -> Figure:
    """Draws the trials and the Pareto front through the best of them.

    Args:
        frame: result of `cost_and_score`.
        metric: the metric that is the score.
        cost: the column of the horizontal axis.
    """
    from plotly import graph_objects as go

    unit = " s" if cost in (COST, Objective.TRAIN_S) else f" {cost}"
    higher = _mode(cost, metric) == "max"

    shown = subsampled(frame, DRAWN)
    figure = new_figure()
    for status in FRONT_LAST:
        rows = shown[shown["status"] == status.value]
        if len(rows):
            figure.add_trace(
                go.Scatter(
                    x=rows[cost],
                    y=rows["score"],
                    mode="markers",
                    name=status.value,
                    marker=marker_of(status, opacity=0.9 if len(shown) < DRAWN else 0.5),
                    cliponaxis=False,
                    customdata=rows[["trial", "epochs"]],
                    hovertemplate=f"trial %{{customdata[0]}}: %{{y:.4f}} for %{{x:.3s}}{escaped(unit)}, %{{customdata[1]}} epochs"
                    "<extra></extra>",
                )
            )
    front = frame[frame["front"]]
    figure.add_trace(
        go.Scatter(
            x=front[cost],
            y=front["score"],
            mode="lines",
            line={"shape": "vh" if higher else "hv", "color": VERMILION, "width": 2, "dash": "dot"},
            name="Pareto front: no trial beats these in both",
            hoverinfo="skip",
        )
    )
    title = (
        "seconds of training and validation"
        if cost == COST
        else f"{words(cost)} ({'higher' if higher else 'lower'} is better)"
    )
    figure.update_xaxes(title=title, rangemode="normal" if cost in list(Metric) else "tozero")
    figure.update_yaxes(title=axis_title(metric), **around_equal(frame["score"]))
    return figure
