"""Timeline of the stages of each trial: what was unfrozen when, with the validation loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from results_analysis.plots.style import STAGES, escaped, new_figure, whole
from results_analysis.tables.run_snapshot import Snapshot, records

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

TOP = 20
"""Number of best trials that are drawn."""


def stage_timeline(snapshot: Snapshot, *, top: int = TOP) -> pd.DataFrame:
    """Table of runs of epochs that trained the same blocks, of the `top` best trials, the best first.

    Columns: `trial`, `stage`, `stage_index`, `open_from` (first block that trained), `head_frozen`, `first_epoch`,
    `last_epoch`, `val_loss` and `score` (of the last epoch), `seconds`.
    """
    shown = list(snapshot.trials.loc[snapshot.trials["epochs"] > 0, "trial"].iloc[:top])
    curves = snapshot.curves[snapshot.curves["trial"].isin(shown)].sort_values(["trial", "epoch"])
    same = ["trial", "stage_index", "stage", "open_from", "head_frozen"]
    seconds = curves[["train_s", "val_s"]].astype("float64").sum(axis=1)
    what = curves[same].astype("object").where(curves[same].notna(), None).apply(tuple, axis=1)
    stretch = (what != what.shift()).to_numpy(dtype=bool).cumsum()
    groups = curves.assign(seconds=seconds, stretch=stretch).groupby("stretch")
    frame = groups.agg(
        **{name: (name, "first") for name in same},
        first_epoch=("epoch", "first"),
        last_epoch=("epoch", "last"),
        val_loss=("val_loss", "last"),
        score=("score", "last"),
        seconds=("seconds", "sum"),
    )
    order = {number: position for position, number in enumerate(shown)}
    return frame.sort_values(["trial", "first_epoch"]).sort_values(
        "trial", key=lambda trials: trials.map(order), kind="stable", ignore_index=True
    )


def draw_stage_timeline(frame: pd.DataFrame) -> Figure:
    """Draws a bar for each stretch of epochs, one row a trial."""
    from plotly import graph_objects as go

    trials = list(dict.fromkeys(frame["trial"]))
    figure = new_figure(
        height=96 + 26 * max(len(trials), 2), barmode="overlay", bargap=0.25, uniformtext={"mode": "hide", "minsize": 9}
    )
    for _, rows in frame.groupby(["stage_index", "stage", "head_frozen"], dropna=False):
        first, *_ = records(rows)
        head_frozen = str(first["head_frozen"]) == "True"  # missing in older reports
        figure.add_trace(
            go.Bar(
                y=[f"trial {number}" for number in rows["trial"]],
                base=rows["first_epoch"] - 1,
                x=rows["last_epoch"] - rows["first_epoch"] + 1,
                orientation="h",
                name=escaped(first["stage"]) + (", head frozen" if head_frozen else ""),
                marker={
                    "color": STAGES[int(first["stage_index"]) % len(STAGES)],
                    # Overlaid, so that the number is readable on the stage's colour in both themes.
                    "pattern": {
                        "shape": "/" if head_frozen else "",
                        "fillmode": "overlay",
                        "fgcolor": "#fff",
                        "fgopacity": 0.6,
                        "size": 5,
                    },
                    "line": {"width": 0},
                },
                text=["" if loss != loss else f"{loss:.2f}" for loss in rows["val_loss"].astype("float64")],
                textposition="inside",
                insidetextanchor="end",
                insidetextfont={"color": "#111", "size": 11},
                textangle=0,
                customdata=[
                    [escaped(row["open_from"]), row["first_epoch"], row["last_epoch"], row["seconds"]]
                    for row in records(rows)
                ],
                hovertemplate=(
                    "%{y}, epochs %{customdata[1]}–%{customdata[2]}<br>open from %{customdata[0]}"
                    "<br>validation loss %{text} at the end<br>%{customdata[3]:.1f} s"
                ),
            )
        )
    figure.update_xaxes(title="epochs done", rangemode="tozero", **whole(frame["last_epoch"].max()))
    figure.update_yaxes(categoryorder="array", categoryarray=[f"trial {number}" for number in reversed(trials)])
    return figure
