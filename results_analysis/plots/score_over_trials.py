"""Score of each trial in order, with the best score so far."""

from __future__ import annotations

from typing import TYPE_CHECKING

from results_analysis.plots.style import (
    BLUE,
    DRAWN,
    FRONT_LAST,
    around_equal,
    axis_title,
    marker_of,
    new_figure,
    subsampled,
    whole,
)
from results_analysis.tables.run_snapshot import Snapshot
from trainables.core.vocabulary import Metric, TrialStatus

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure


def score_over_trials(snapshot: Snapshot) -> pd.DataFrame:
    """Table of the trials with a score, by number: `trial`, `status`, `score`, `epochs`, `best_so_far`.

    `best_so_far` counts only finished trials; if none has finished, all that have a place.
    """
    columns = ["trial", "status", "score", "epochs"]
    table = snapshot.trials.loc[snapshot.trials["score"].notna(), columns].sort_values("trial").reset_index(drop=True)
    finished = table["status"] == TrialStatus.FINISHED.value
    counted = table["score"].where(finished if finished.any() else table["trial"].isin(snapshot.placed["trial"]))
    best = counted.cummin() if snapshot.metric.mode == "min" else counted.cummax()
    return table.assign(best_so_far=best.ffill())


def draw_score_over_trials(frame: pd.DataFrame, metric: Metric) -> Figure:
    """Draws a mark for each trial and a line for the best score so far."""
    import pandas as pd
    from plotly import graph_objects as go

    shown = subsampled(frame, DRAWN)
    steps = frame[frame["best_so_far"].ne(frame["best_so_far"].shift())]
    steps = pd.concat([steps, frame.tail(1)])
    figure = new_figure()
    for status in FRONT_LAST:
        rows = shown[shown["status"] == status.value]
        count = int((frame["status"] == status.value).sum())
        if count:
            figure.add_trace(
                go.Scatter(
                    x=rows["trial"],
                    y=rows["score"],
                    customdata=rows["epochs"],
                    mode="markers",
                    name=f"{status.value} ({count})",
                    marker=marker_of(status, opacity=0.9 if len(shown) < DRAWN else 0.5),
                    cliponaxis=False,
                    hovertemplate="trial %{x}: %{y:.4f} after %{customdata} epochs",
                )
            )
    line = {"shape": "hv", "color": BLUE, "width": 2}
    if frame["best_so_far"].notna().any():
        figure.add_trace(
            go.Scatter(
                x=steps["trial"], y=steps["best_so_far"], mode="lines", line=line, name="best so far", hoverinfo="skip"
            )
        )
    figure.update_xaxes(title="trial", rangemode="tozero", **whole(frame["trial"].max()))
    figure.update_yaxes(title=axis_title(metric), **around_equal(frame["score"]))
    return figure
