"""Parallel coordinates: each trial is a line through its searched values, coloured by its rank."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from results_analysis.plots.style import FAINT, escaped, new_figure, subsampled
from results_analysis.tables.run_snapshot import Snapshot
from results_analysis.tables.search_ranges import Searched

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

LINES = 240
"""Number of trials that are drawn: the best, and others spread evenly over the rest."""
GROUPS = ("best tenth", "next 15%", "next 25%", "worse half")
_SHARES = (0.1, 0.25, 0.5, 1.0)


def parallel_coordinates(snapshot: Snapshot, *, lines: int = LINES) -> pd.DataFrame:
    """Table with one row a trial, best first: `trial`, `score`, `group` (one of `GROUPS`, by place) and a column for each path.

    The columns of paths hold the position of the value in its searched range, from 0 to 1; missing where a trial has no such
    value.

    Args:
        snapshot: the run.
        lines: largest number of trials.
    """
    import numpy as np
    import pandas as pd

    placed = snapshot.placed.reset_index(drop=True)
    ranks = (np.arange(len(placed)) + 0.5) / max(len(placed), 1)
    groups = [GROUPS[i] for i in np.searchsorted(_SHARES, ranks)]
    shares = {value.path: value.shares(placed[value.path]) for value in snapshot.searched}
    frame = pd.DataFrame({"trial": placed["trial"], "score": placed["score"], "group": groups, **shares})
    return subsampled(frame, lines, first=lines // 4).reset_index(drop=True)


def draw_parallel_coordinates(frame: pd.DataFrame, searched: Sequence[Searched]) -> Figure:
    """Draws plain lines: plotly's own parallel coordinates need WebGL, do not print and cannot be themed."""
    from plotly import graph_objects as go

    figure = new_figure(height=420)
    styles = (("#2f84c6", 2.2, 1.0), ("#149e77", 1.3, 0.7), ("#e09a1a", 1.0, 0.5), (FAINT, 1.0, 0.8))
    drawn = list(zip(GROUPS, styles, strict=True))
    for group, (colour, width, opacity) in reversed(drawn):
        rows = frame[frame["group"] == group]
        if not len(rows):
            continue
        xs: list[float | None] = []
        ys: list[float | None] = []
        for trial in rows[[value.path for value in searched]].to_numpy(dtype=float):
            xs += [*range(len(searched)), None]
            ys += [None if share != share else round(float(share), 4) for share in trial] + [None]
        figure.add_trace(
            go.Scatter(
                x=xs, y=ys, mode="lines+markers", name=f"{group} ({len(rows)})", legendrank=GROUPS.index(group),
                line={"color": colour, "width": width}, marker={"size": 3.5}, opacity=opacity, hoverinfo="skip",
            )
        )  # fmt: skip
    for i, value in enumerate(searched):
        figure.add_vline(i, line={"width": 1, "color": "rgba(140,145,155,0.6)"}, layer="below")
        places, texts = value.ticks() if value.scale == "choice" else value.end_ticks()
        low, high = value.ends
        for position, text in zip(places, texts, strict=True):
            share = (position - low) / (high - low)
            figure.add_annotation(
                x=i, y=share, text=escaped(text), showarrow=False, font_size=10, xanchor="left", xshift=4,
                yshift=-9 if share <= 0 else 9 if share >= 1 else 0,
            )  # fmt: skip
    names = ["<br>".join(escaped(piece) for piece in value.name.split(".")) for value in searched]
    figure.update_xaxes(
        tickvals=list(range(len(searched))),
        ticktext=names,
        tickangle=0,
        showgrid=False,
        range=[-0.45, len(searched) - 0.45],
    )
    figure.update_yaxes(visible=False, range=[-0.07, 1.07])
    return figure
