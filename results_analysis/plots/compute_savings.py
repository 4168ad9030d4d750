"""Compute time of the search by purpose, and the time that pruning and cached features saved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from results_analysis.plots.style import BLUE, GREEN, GREY, ORANGE, SKY, new_figure
from results_analysis.tables.run_snapshot import Snapshot, records
from trainables.core.vocabulary import TrialStatus

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

FROZEN_ANYWHERE = "nothing is frozen"
"""Value of `uncached` in epochs in which there is nothing to cache."""


def savings(snapshot: Snapshot) -> pd.DataFrame:
    """Table with one row a purpose: `what`, `kind` (`spent` or `saved`), `seconds`, `epochs`, `how` (how it is computed).

    `seconds` is missing where it cannot be known: for instance, the remaining epochs of pruned trials are unknown until a trial
    has finished.
    """
    import pandas as pd

    curves = snapshot.curves.assign(
        **{name: snapshot.curves[name].astype("float64").fillna(0.0) for name in ("train_s", "val_s", "cache_s")}
    )
    computed = curves["cache_s"].sum()
    rows = [
        ("training", "spent", max(curves["train_s"].sum() + curves["val_s"].sum() - computed - _validation(curves), 0.0),
         len(curves), "time of training, measured"),
        ("validation", "spent", _validation(curves), len(curves), "time of validation, measured"),
        ("computing cached features", "spent", computed, int((curves["cache_s"] > 0).sum()),
         "time in which features of frozen blocks were computed, measured; not included in the two above"),
        ("pruning", "saved", *_pruned(snapshot, curves)),
        ("cached features", "saved", *_cached(curves)),
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["what", "kind", "seconds", "epochs", "how"]).astype({"seconds": "float64"})


def _validation(curves: pd.DataFrame) -> float:
    """Seconds of validation, without its proportional part of the time in which features were computed."""
    both = curves["train_s"] + curves["val_s"]
    share = (curves["val_s"] / both.where(both > 0)).fillna(0.0)
    return float((curves["val_s"] - share * curves["cache_s"]).clip(lower=0).sum())


def _pruned(snapshot: Snapshot, curves: pd.DataFrame) -> tuple[float | None, int, str]:
    """Seconds saved by pruning: epochs that finished trials ran in each stage and pruned ones did not, times their cost."""
    finished, pruned = (snapshot.of_status(status) for status in (TrialStatus.FINISHED, TrialStatus.PRUNED))
    if not len(pruned):
        return 0.0, 0, "no trial was pruned"
    ways = snapshot.ways  # epochs that a trial inherits need not be run
    of_finished = ways[ways["trial"].isin(finished["trial"])]
    if not len(of_finished):
        return (
            None,
            0,
            "unknown until a trial has finished, because nothing shows how many epochs the pruned ones had left",
        )
    typical = of_finished.groupby("stage_index").size() / of_finished["trial"].nunique()
    cost = (curves["train_s"] + curves["val_s"] - curves["cache_s"]).groupby(curves["stage_index"]).median()
    of_pruned = ways[ways["trial"].isin(pruned["trial"])]
    ran = of_pruned.groupby(["trial", "stage_index"]).size().unstack(fill_value=0)
    ran = ran.reindex(index=pruned["trial"], columns=typical.index, fill_value=0)
    left = (typical - ran).clip(lower=0)
    # A stage that a trial has left is over, however short it was.
    last = of_pruned.groupby("trial")["stage_index"].max().reindex(pruned["trial"]).fillna(-1)
    for stage in left.columns:
        left.loc[(last > stage).to_numpy(), stage] = 0
    how = "epochs that finished trials had on average in each stage and pruned ones did not run, times a stage's median epoch"
    return float((left * cost).sum().sum()), round(float(left.sum().sum())), how


def _cached(curves: pd.DataFrame) -> tuple[float | None, int, str]:
    """Seconds saved by the cache: epochs that read features, times the cost of computing them, less the time spent on that."""
    taken = curves[curves["uncached"].isna() & curves["open_from"].notna()]
    if not len(taken):
        return 0.0, 0, "no epoch read its features from the cache"
    # The slowest epoch of a depth computed its features, once for training and validation images.
    price = taken[taken["cache_s"] > 0].groupby("open_from")["cache_s"].max()
    known = taken[taken["open_from"].isin(price.index)]
    if not len(known):
        return (
            None,
            len(taken),
            "unknown, because all features were cached before the search began",
        )
    saved = known["open_from"].map(price).sum() - known["cache_s"].sum()
    how = "epochs that read features from the cache, times the time to compute them once, less that time"
    if len(known) < len(taken):
        how += f"; {len(taken) - len(known)} epochs whose features were cached before the search are not counted"
    return max(float(saved), 0.0), len(known), how


def draw_savings(frame: pd.DataFrame) -> Figure:
    """Draws two bars: the time spent, and the time without savings."""
    from plotly import graph_objects as go

    unit, size = _unit_of(float(frame["seconds"].sum()))
    colours = dict(zip(frame["what"], (BLUE, SKY, GREY, ORANGE, GREEN), strict=False))
    figure = new_figure(height=210, barmode="stack", bargap=0.35)
    for row in records(frame[frame["seconds"] > 0]):
        spent = row["kind"] == "spent"
        figure.add_trace(
            go.Bar(
                y=["spent", "without savings"] if spent else ["without savings"],
                x=[row["seconds"] / size] * (2 if spent else 1),
                orientation="h",
                name=row["what"] if spent else f"saved by {row['what']}",
                marker={
                    "color": colours[row["what"]],
                    "opacity": 1 if spent else 0.75,
                    "pattern": {"shape": "" if spent else "/", "size": 6},
                    "line": {"width": 0},
                },
                hovertemplate=f"%{{x:.1f}} {unit}<extra>%{{fullData.name}}</extra>",
            )
        )
    figure.update_xaxes(title=f"{unit} of compute", rangemode="tozero")
    figure.update_yaxes(categoryorder="array", categoryarray=["without savings", "spent"])
    return figure


def _unit_of(seconds: float) -> tuple[str, int]:
    """Unit for an axis of this length, and its seconds."""
    return next((unit for unit in (("hours", 3600), ("minutes", 60)) if seconds >= 3 * unit[1]), ("seconds", 1))
